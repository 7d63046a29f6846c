"""A one-node Kubernetes of this machine's own programs: brought up, looked at, repaired, taken down. Linux and root."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.bed import archives, control_plane, keys, layout, network, node, remains
from cluster.bed.fake_nodes import FakeNodes
from cluster.bed.kuberay import KubeRay
from cluster.bed.kueue import Kueue
from cluster.bed.running import BedFailed, holds_within, run, say

if TYPE_CHECKING:
    from cluster.bed.programs import Program
    from cluster.bed.tools import Tools


class OneNode:
    """The cluster whose state lies in one folder. Two objects of the same folder are the same cluster."""

    def __init__(self, state: Path, tools: Tools) -> None:
        """Know where it is or would be; nothing is started."""
        self.state = state
        self.kubeconfig = self.state / "kubeconfig"
        self._tools = tools
        self.kuberay = KubeRay(tools, self.state, self.kubeconfig)
        self.kueue = Kueue(tools, self.state, self.kubeconfig)
        self.fake_nodes = FakeNodes(tools, self.state, self.kubeconfig)

    @property
    def kubectl(self) -> str:
        """The path of the client that fits this cluster."""
        return self._tools.program("kube", "kubectl")

    def up(self) -> None:
        """Bring it up, or repair what of it is down; what cannot be repaired is taken down and made anew.

        Raises:
            BedFailed: It does not come up.
        """
        fresh = not (self.state / "run").is_dir()
        try:
            self._start()
        except BedFailed as err:
            if fresh:
                raise
            say(f"the running cluster cannot be repaired, so it is made anew ({str(err).splitlines()[0]})")
            self.down()
            self._start()

    def down(self) -> None:
        """Stop everything and remove all but the logs."""
        programs = {program.name: program for program in self.programs()}
        for name in ("kuberay", "kwok", "kubelet", "kube-proxy", "coredns"):
            programs[name].stop(grace=3)
        remains.end_containers(node.socket(self.state))
        # What they wanted to write down is thrown away next: no reason to wait for it.
        for program in programs.values():
            program.stop(grace=0)
        remains.unmount(self.state)
        network.remove()
        remains.forget_pods(self.state)
        for entry in self.state.iterdir() if self.state.is_dir() else ():
            if entry.is_dir() and entry.name != "logs":
                shutil.rmtree(entry)
            elif not entry.is_dir():
                entry.unlink()

    def programs(self) -> list[Program]:
        """Return every program of the cluster, running or not."""
        return [*self._core(self._configuration()), self.kuberay.program(), self.fake_nodes.program()]

    def program(self, name: str) -> Program:
        """Return one program by its name, such as ``kube-apiserver``."""
        return next(program for program in self.programs() if program.name == name)

    def node_ready(self) -> bool:
        """Tell whether the node takes pods."""
        condition = 'jsonpath={.status.conditions[?(@.type=="Ready")].status}'
        get = (self.kubectl, f"--kubeconfig={self.kubeconfig}", "get", "node", layout.NODE, "-o", condition)
        try:
            return run(*get, timeout=10) == "True"
        except BedFailed:
            return False

    def _start(self) -> None:
        self.state.mkdir(parents=True, exist_ok=True)
        network.ensure()
        keys.ensure(self.state / "keys", self.kubeconfig)
        control_plane.write_configuration(self.state)
        node.write_configuration(self.state, self.kubeconfig)
        etcd, api_server, *others = self._core(self._configuration())
        runtime = next(program for program in others if program.name == "containerd")
        for program in (etcd, api_server, runtime):
            program.start()
        runtime.await_ready()
        self._import_pause_image()
        for program in (etcd, api_server):
            program.await_ready()
        for program in others:
            program.start()
        for program in others:
            program.await_ready()
        if not holds_within(60, self.node_ready, every=0.25):
            kubelet = self.program("kubelet")
            raise BedFailed(f"the node was not ready within 60 s; the end of {kubelet.log}:\n{kubelet.tail()}")

    def _import_pause_image(self) -> None:
        listed = ("ctr", "-a", node.socket(self.state), "-n", archives.NAMESPACE, "images", "list", "-q")
        if f"docker.io/{node.PAUSE_IMAGE}" in run(*listed).split():
            return
        archive = self.state / "pause.tar"
        program = Path(self._tools.program("pause", "pause"))
        archives.write_single_program_image(program, node.PAUSE_IMAGE, archive)
        archives.import_into(node.socket(self.state), archive)

    def _core(self, configuration: str) -> list[Program]:
        return [
            *control_plane.programs(self._tools, self.state, self.kubeconfig, configuration),
            node.containerd(self.state, configuration),
            *node.programs(self._tools, self.state, self.kubeconfig, configuration),
        ]

    def _configuration(self) -> str:
        """Return a digest of the files that the programs read at their start."""
        digest = hashlib.sha256()
        patterns = ("keys/*.crt", "keys/sa.key", "cni/*", "registries/*/*")
        files = [file for pattern in patterns for file in self.state.glob(pattern)]
        files += [self.state / name for name in ("audit-policy.json", "containerd.toml", "kubelet.json", "Corefile")]
        for file in sorted(files):
            digest.update(file.read_bytes() if file.is_file() else b"")
        return digest.hexdigest()
