"""KubeRay's operator as a process of this machine: which version runs, and whether one runs at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cluster.bed import layout
from cluster.bed.probes import answers
from cluster.bed.programs import Program
from cluster.bed.running import run
from cluster.bed.tools import KUBERAY

if TYPE_CHECKING:
    from pathlib import Path

    from cluster.bed.tools import Tools

DEFAULT = "1.6.2"
VERSIONS = tuple(KUBERAY)


class KubeRay:
    """The operator of KubeRay on one cluster."""

    def __init__(self, tools: Tools, state: Path, kubeconfig: Path) -> None:
        """Know the cluster; nothing is started."""
        self._tools = tools
        self._state = state
        self._kubeconfig = kubeconfig

    def start(self, version: str = DEFAULT) -> None:
        """Let this version run, with its custom resource definitions; does nothing when it runs already."""
        program = self.program(version)
        if not program.current:
            program.stop()
            self._apply_definitions(version)
            program.start()
        program.await_ready()

    def stop(self) -> None:
        """Let none run. The custom resource definitions and the RayClusters stay."""
        self.program().stop()

    @property
    def running(self) -> str | None:
        """The version that runs, or None."""
        return next((version for version in VERSIONS if self.program(version).current), None)

    def program(self, version: str = DEFAULT) -> Program:
        """Return the operator's program, to look at its log or to freeze it."""
        command = (
            self._tools.program(KUBERAY[version], "ray-operator"),
            f"-kubeconfig={self._kubeconfig}",
            "-enable-leader-election=false",
            f"-metrics-addr={layout.LOOPBACK}:{layout.KUBERAY_METRICS_PORT}",
            f"-health-probe-bind-address={layout.LOOPBACK}:{layout.KUBERAY_HEALTH_PORT}",
            "-reconcile-concurrency=4",
        )
        ready = f"http://{layout.LOOPBACK}:{layout.KUBERAY_HEALTH_PORT}/readyz"
        return Program("kuberay", command, self._state, lambda: answers(ready), configuration=version)

    def _apply_definitions(self, version: str) -> None:
        kubectl = self._tools.program("kube", "kubectl")
        # Too large for a client-side apply, which repeats the object in an annotation.
        apply = ("apply", "--server-side", "--force-conflicts", "-f", str(self._tools.files(KUBERAY[version])))
        run(kubectl, f"--kubeconfig={self._kubeconfig}", *apply)
        established = ("wait", "--for=condition=Established", "crd/rayclusters.ray.io", "--timeout=30s")
        run(kubectl, f"--kubeconfig={self._kubeconfig}", *established)
