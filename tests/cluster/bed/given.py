"""A cluster that the caller points at with ``BATCHYARD_KUBECONFIG``: used as it is, never started or stopped."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.bed import definitions
from cluster.bed.running import BedFailed, run

if TYPE_CHECKING:
    from cluster.bed.settings import Settings


class Given:
    """Somebody else's cluster. KubeRay and the images have to be there."""

    kind = "the given cluster"
    logs = None

    def __init__(self, settings: Settings) -> None:
        """Know where its kubeconfig is."""
        self.kubeconfig = Path(settings.kubeconfig).expanduser().absolute()
        self.kubectl = shutil.which("kubectl") or "kubectl"

    def up(self) -> None:
        """Check that it is up and has KubeRay, and let it know our definitions."""
        faults = self.faults()
        if faults:
            raise BedFailed(
                f"the cluster of BATCHYARD_KUBECONFIG={self.kubeconfig} cannot be used: {'; '.join(faults)}"
            )
        definitions.apply(self.kubectl, self.kubeconfig)

    def load_images(self) -> None:
        """Do nothing: whoever gives the cluster also gives it batchyard/operator:test and batchyard/runner:test."""

    def load_previous(self) -> None:
        """Do nothing: the images of the version before are given too, under its number."""

    def down(self) -> None:
        """Do nothing."""

    def faults(self) -> list[str]:
        """Return what is missing for tests to run."""
        if not self.kubeconfig.is_file():
            return [f"there is no file {self.kubeconfig}"]
        try:
            found = run(self.kubectl, f"--kubeconfig={self.kubeconfig}", "get", "crd", "-o", "name", timeout=30)
        except BedFailed as err:
            return [str(err)]
        return (
            []
            if "rayclusters.ray.io" in found
            else ["KubeRay's RayCluster is not known; install KubeRay 1.5.1 or later"]
        )
