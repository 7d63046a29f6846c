"""Simulated nodes, by kwok: their pods become ready at once and run nothing. For tests of scale."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from cluster.bed import layout
from cluster.bed.probes import answers
from cluster.bed.programs import Program
from cluster.bed.running import BedFailed, holds_within, run

if TYPE_CHECKING:
    from pathlib import Path

    from cluster.bed.tools import Tools

FAKE = "kwok.x-k8s.io/node"
TAINT = {"key": FAKE, "value": "fake", "effect": "NoSchedule"}
"""Keeps all pods away that do not tolerate it; a pod that does should also select the label ``type: kwok``."""
_STAGES = (
    "fast-node-initialize.yaml",
    "heartbeat-with-lease-node-heartbeat-with-lease.yaml",
    "fast-pod-ready.yaml",
    "fast-pod-delete.yaml",
)


class FakeNodes:
    """The simulated nodes of one cluster and the program that plays them."""

    def __init__(self, tools: Tools, state: Path, kubeconfig: Path) -> None:
        """Know the cluster; nothing is started."""
        self._tools = tools
        self._state = state
        self._kubeconfig = kubeconfig

    def add(self, count: int, pods: int = 500) -> list[str]:
        """Let there be this many simulated nodes, all ready, each with room for so many pods; return their names."""
        program = self.program()
        program.start()
        program.await_ready()
        names = [f"fake-{number}" for number in range(count)]
        nodes = {"apiVersion": "v1", "kind": "List", "items": [_node(name, pods) for name in names]}
        self._kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(nodes))
        if not holds_within(60, lambda: self._ready() >= set(names), every=0.5):
            raise BedFailed(
                f"the simulated nodes were not ready within 60 s; the end of {program.log}:\n{program.tail()}"
            )
        return names

    def remove(self) -> None:
        """Remove the simulated nodes and stop the program."""
        self._kubectl("delete", "nodes", "-l", "type=kwok", "--wait=false")
        self.program().stop()

    def program(self) -> Program:
        """Return the program that plays the nodes."""
        command = (
            self._tools.program("kwok", "kwok"),
            f"--kubeconfig={self._kubeconfig}",
            f"--manage-nodes-with-annotation-selector={FAKE}=fake",
            "--cidr=10.89.0.0/16",
            "--node-lease-duration-seconds=40",
            f"--server-address={layout.LOOPBACK}:{layout.KWOK_PORT}",
            *(f"--config={self._tools.files('kwok') / stage}" for stage in _STAGES),
        )
        ready = f"http://{layout.LOOPBACK}:{layout.KWOK_PORT}/healthz"
        return Program("kwok", command, self._state, lambda: answers(ready))

    def _ready(self) -> set[str]:
        condition = '{range .items[*]}{.metadata.name}={.status.conditions[?(@.type=="Ready")].status} {end}'
        said = self._kubectl("get", "nodes", "-l", "type=kwok", "-o", f"jsonpath={condition}")
        return {name for name, _, status in (word.partition("=") for word in said.split()) if status == "True"}

    def _kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        return run(self._tools.program("kube", "kubectl"), f"--kubeconfig={self._kubeconfig}", *arguments, stdin=stdin)


def _node(name: str, pods: int) -> dict[str, object]:
    room = {"cpu": "1000", "memory": "1Ti", "pods": str(pods)}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {FAKE: "fake", "node.alpha.kubernetes.io/ttl": "0"},
            "labels": {"type": "kwok", "kubernetes.io/hostname": name, "kubernetes.io/os": "linux"},
        },
        "spec": {"taints": [TAINT]},
        "status": {"allocatable": room, "capacity": room},
    }
