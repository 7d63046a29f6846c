"""A real PostgreSQL of this machine that pods reach, as people name one: by a Secret with its URL."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from cluster.bed.layout import GATEWAY, PODS
from cluster.operator_bench import free_ports
from postgres_server import Network, running_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cluster.operator_bench import Object

PASSWORD = "of-no-use-anywhere"  # noqa: S105 - the server trusts the pods' network


@contextmanager
def database_for_pods(**metadata: str) -> Iterator[tuple[str, Object]]:
    """Yield a new database's URL for this machine, and a Secret of that metadata with the one for pods as ``url``."""
    network = Network(GATEWAY, free_ports()[0], PODS)
    with running_server(network) as server, server.database() as local:
        name = local.partition("@/")[2].partition("?")[0]
        url = f"postgresql://postgres:{PASSWORD}@{GATEWAY}:{network.port}/{name}"
        yield local, {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"url": url}}
