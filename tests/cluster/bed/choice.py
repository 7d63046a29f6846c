"""Which cluster the tests get: the one that the caller points at, one of kind's, or the one built on this machine."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Protocol

from cluster.bed.built import Built
from cluster.bed.given import Given
from cluster.bed.kind import Kind
from cluster.bed.running import BedFailed, path_of, succeeds

if TYPE_CHECKING:
    from pathlib import Path

    from cluster.bed.settings import Settings


class Bed(Protocol):
    """A cluster for the tests. Every method may be called again, by another process too."""

    kind: str
    """What it is, for people."""

    @property
    def kubeconfig(self) -> Path:
        """The file by which clients find it and are let in."""
        ...

    @property
    def kubectl(self) -> str:
        """The client to use."""
        ...

    @property
    def logs(self) -> Path | None:
        """The folder of its programs' logs, where they are ours."""
        ...

    def up(self) -> None:
        """Bring it up with KubeRay and the images of the checkout as it is now.

        Raises:
            BedFailed: It does not come up.
        """
        ...

    def load_images(self) -> None:
        """Build the images of the checkout as it is now, and make them known to the cluster."""
        ...

    def load_previous(self) -> None:
        """Make the images of the version before known to the cluster."""
        ...

    def down(self) -> None:
        """Stop it; a cluster that the caller points at is left alone."""
        ...

    def faults(self) -> list[str]:
        """Return what is missing for tests to run; empty when all is well."""
        ...


def choose(settings: Settings) -> Bed:
    """Return the first kind of cluster that this machine can have; nothing is started.

    Raises:
        BedFailed: It can have none.
    """
    if settings.kubeconfig:
        return Given(settings)
    if path_of("kind") and succeeds("docker", "info", timeout=20):
        return Kind(settings)
    if sys.platform == "linux" and os.geteuid() == 0:
        return Built(settings)
    raise BedFailed(
        "no cluster can be had: BATCHYARD_KUBECONFIG is not set, kind with a running Docker is not here, and a cluster"
        " of this machine's own needs Linux and root; set BATCHYARD_KUBECONFIG, or install kind, or run this as root"
    )
