"""The product's custom resource definitions in a cluster of the tests, as this checkout has them in ``crds/``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cluster.bed.running import run
from cluster.bed.settings import CHECKOUT

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = CHECKOUT / "crds"


def apply(kubectl: str, kubeconfig: Path) -> None:
    """Let the cluster know them; where it does already, nothing changes.

    Raises:
        BedFailed: The cluster refuses them.
    """
    client = (kubectl, f"--kubeconfig={kubeconfig}")
    # Whoever applied an older one with another client has no say any more.
    run(*client, "apply", "--server-side", "--force-conflicts", "-f", FOLDER)
    run(*client, "wait", "--for=condition=Established", "-f", FOLDER, "--timeout=30s")
