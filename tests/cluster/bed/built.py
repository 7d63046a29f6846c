"""The cluster built on this machine, as a whole: packages, programs, the one node, KubeRay and the images."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from cluster.bed import control_plane, definitions, images, node, packages, tools
from cluster.bed.one_node import OneNode
from cluster.bed.running import BedFailed, locked, say

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from cluster.bed.settings import Settings


class Built:
    """The one-node cluster with all that the tests need in it."""

    kind = "the one-node cluster"

    def __init__(self, settings: Settings) -> None:
        """Know where it is or would be; nothing is started."""
        self._settings = settings
        self.one_node = OneNode(settings.state, tools.located(settings))

    @property
    def kubeconfig(self) -> Path:
        """The file by which clients find it and are let in."""
        return self.one_node.kubeconfig

    @property
    def kubectl(self) -> str:
        """The client that fits it."""
        return self.one_node.kubectl

    @property
    def logs(self) -> Path:
        """The folder of its programs' logs, the API server's audit log among them."""
        return self._settings.state / "logs"

    def up(self) -> None:
        """Bring it up with KubeRay and the images of the checkout as it is now."""
        packages.ensure(self._settings)
        with ThreadPoolExecutor(max_workers=1) as beside:
            # Both wait a lot for the network, and together need less than one after the other.
            building = beside.submit(images.build_all, self._settings)
            tools.build(self._settings)
            with self._locked():
                self.one_node.up()
                # It is of one run of the tests.
                control_plane.forget_requests(self._settings.state)
                definitions.apply(self.kubectl, self.kubeconfig)
                self.one_node.kuberay.start()
                self.one_node.kueue.start()
            say("the API server, the node and KubeRay are up")
            built = building.result()
        images.import_all(self._settings, node.socket(self._settings.state), built)

    def load_images(self) -> None:
        """Build the images anew where something changed, and import those that the node does not have."""
        images.import_all(self._settings, self._socket(), images.build_all(self._settings))

    def load_previous(self) -> None:
        """Build and import the images of the version before."""
        images.import_all(self._settings, self._socket(), images.build_previous(self._settings))

    def down(self) -> None:
        """Stop everything and leave nothing but logs, built programs and built images."""
        with self._locked():
            self.one_node.down()
        say("down; what was built is kept for the next time")

    def faults(self) -> list[str]:
        """Return what is missing for tests to run."""
        stopped = [program.name for program in self.one_node.programs() if program.name != "kwok" and not program.pid]
        if stopped:
            return [f"not running: {', '.join(stopped)}; bring it up with: make cluster"]
        return [] if self.one_node.node_ready() else ["its node is not ready; repair it with: make cluster"]

    def _socket(self) -> Path:
        socket = node.socket(self._settings.state)
        if not socket.exists():
            raise BedFailed("the cluster is not up, so it cannot take images: make cluster")
        return socket

    def _locked(self) -> AbstractContextManager[None]:
        return locked(self._settings.state.with_name("cluster.lock"), "it brings the cluster up or down")
