"""A cluster of kind's, where Docker runs. KubeRay runs beside it as a process of this machine, as in the built one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cluster.bed import definitions, tools
from cluster.bed.images import PREVIOUS, TARGETS, name, previous_version
from cluster.bed.kuberay import KubeRay
from cluster.bed.running import locked, run, say, succeeds
from cluster.bed.settings import CHECKOUT

if TYPE_CHECKING:
    from pathlib import Path

    from cluster.bed.settings import Settings

_NAME = "batchyard-test"
_BUILD_TIMEOUT = 1800.0


class Kind:
    """The cluster of that name; made if it is not there."""

    kind = "the cluster of kind"

    def __init__(self, settings: Settings) -> None:
        """Know where it is or would be."""
        self._settings = settings
        self._tools = tools.located(settings)
        self._state = settings.state.with_name("cluster-kind")
        self.kubeconfig: Path = self._state / "kubeconfig"
        self.kubectl = self._tools.program("kube", "kubectl")
        self.logs: Path = self._state / "logs"
        self.kuberay = KubeRay(self._tools, self._state, self.kubeconfig)

    def up(self) -> None:
        """Bring it up with KubeRay and the images."""
        tools.build(self._settings)
        with locked(self._state.with_name("cluster-kind.lock"), "it brings the cluster up"):
            self._state.mkdir(parents=True, exist_ok=True)
            if _NAME not in run("kind", "get", "clusters").split():
                say("making a cluster with kind")
                create = ("create", "cluster", f"--name={_NAME}", "--wait=180s")
                run("kind", *create, f"--kubeconfig={self.kubeconfig}", timeout=600)
            run("kind", "export", "kubeconfig", f"--name={_NAME}", f"--kubeconfig={self.kubeconfig}")
            self._reach_pods()
            definitions.apply(self.kubectl, self.kubeconfig)
            self.kuberay.start()
        self.load_images()

    def load_images(self) -> None:
        """Build the images and load them into the cluster's node."""
        for target in TARGETS:
            _load(name(target), f"--target={target}", CHECKOUT)

    def load_previous(self) -> None:
        """Build the images of the version before, and load them into the cluster's node."""
        file = f"--file={PREVIOUS / 'Containerfile'}"
        for target in TARGETS:
            _load(name(target, previous_version()), file, f"--build-arg=IMAGE={name(target)}", PREVIOUS)

    def down(self) -> None:
        """Remove the cluster."""
        self.kuberay.stop()
        run("kind", "delete", "cluster", f"--name={_NAME}", timeout=300)

    def faults(self) -> list[str]:
        """Return what is missing for tests to run."""
        if not self.kubeconfig.is_file():
            return ["it is not up: make cluster"]
        ready = succeeds(self.kubectl, f"--kubeconfig={self.kubeconfig}", "get", "--raw", "/readyz")
        running = [] if self.kuberay.running else ["KubeRay does not run: make cluster"]
        return running if ready else ["its API server does not answer: make cluster"]

    def _reach_pods(self) -> None:
        """Let this machine reach the pods by their addresses, as it does in the built cluster; needs root."""
        if os.geteuid() != 0:
            return
        inner = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        address = run("docker", "inspect", "-f", inner, f"{_NAME}-control-plane").strip()
        pods = run(
            self.kubectl, f"--kubeconfig={self.kubeconfig}", "get", "nodes", "-o", "jsonpath={.items[0].spec.podCIDR}"
        )
        run("ip", "route", "replace", pods.strip(), "via", address)


def _load(tag: str, *recipe: str | Path) -> None:
    say(f"building the image {tag}")
    run("docker", "build", f"--tag={tag}", *recipe, timeout=_BUILD_TIMEOUT)
    run("kind", "load", "docker-image", tag, f"--name={_NAME}", timeout=600)
