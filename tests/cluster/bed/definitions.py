"""The product's custom resource definitions in a cluster of the tests, as this checkout has them in ``crds/``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cluster.bed.running import holds_within, run, succeeds
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
    wait = (*client, "wait", "--for=condition=Established", "-f", FOLDER, "--timeout=30s")
    # One that was made this moment has no conditions yet, which `kubectl wait` takes for a fault.
    if not holds_within(30, lambda: succeeds(*wait), every=0.5):
        run(*wait)
