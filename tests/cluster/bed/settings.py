"""What the test bed reads from its environment, and the folders it uses. The only module of it that reads either."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True, slots=True)
class Settings:
    """Where things are and what the caller wants."""

    cache: Path
    """Everything the bed makes; outside the checkout, so that all checkouts of a machine share it."""
    kubeconfig: str
    """A cluster that the caller points at, or an empty text."""
    required: bool
    """Whether not finding a cluster is a failure; else the tests that need one skip."""

    @property
    def tools(self) -> Path:
        """The folder of built programs."""
        return self.cache / "cluster-tools"

    @property
    def images(self) -> Path:
        """The folder of the base image, the image builder's storage and the built images."""
        return self.cache / "cluster-images"

    @property
    def state(self) -> Path:
        """The folder of the running cluster: keys, data, logs, process ids."""
        return self.cache / "cluster"


def read() -> Settings:
    """Read the settings from the environment."""
    environment = os.environ  # noqa: TID251
    home = environment.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    wanted = environment.get("BATCHYARD_REQUIRE_CLUSTER") or environment.get("CI") or ""
    return Settings(
        cache=Path(home) / "batchyard",
        kubeconfig=environment.get("BATCHYARD_KUBECONFIG", ""),
        required=wanted.lower() in {"1", "true", "yes"},
    )


def process_environment(**changes: str) -> dict[str, str]:
    """Return the environment of the bed's programs: the caller's, and a path with the folders of root's programs."""
    environment = dict(os.environ)  # noqa: TID251
    path = environment.get("PATH", "").split(os.pathsep)
    system = ("/usr/local/go/bin", "/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
    environment["PATH"] = os.pathsep.join([*path, *(folder for folder in system if folder not in path)])
    return environment | changes
