"""What an operator is told when it starts; the command line and its environment variables fill it in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class OperatorSettings:
    """How one operator runs.

    ``namespaces`` empty watches all of them. ``results_url`` is how worker pods reach the results endpoint.
    ``identity`` must differ between any two processes; ``lease_seconds`` is how long a silent leader is waited for.
    ``pod_env`` are environment variables of every pod that runs trials.
    """

    store: str
    namespace: str
    identity: str
    results_url: str
    namespaces: tuple[str, ...] = ()
    results_host: str = "0.0.0.0"  # noqa: S104 - pods have to reach it
    results_port: int = 8787
    metrics_host: str = "0.0.0.0"  # noqa: S104 - Prometheus has to reach it
    metrics_port: int = 9090
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    runner_image: str = ""
    ray_version: str = ""
    image_pull_policy: str = ""
    lease_name: str = "batchyard-operator"
    lease_seconds: float = 15.0
    context: str | None = None
    pod_env: Mapping[str, str] = field(default_factory=dict)
