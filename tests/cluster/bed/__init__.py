"""The test bed: a real Kubernetes with KubeRay and the project's images, for the tests that need one."""
