"""Talks to the Kubernetes API server. Not for what is said: that is for ``kube`` and ``environments``."""
