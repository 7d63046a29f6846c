"""The Secret by which people read results: it is of the store that the operator has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from batchyard.engine.remote import READ_SECRET
from cluster.operator_bench import OperatorProcess

if TYPE_CHECKING:
    from pathlib import Path

    from cluster.bed.client import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(200)]


def test_an_operator_with_a_new_store_replaces_the_token_of_the_one_before(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    tokens: list[str] = []

    for name in ("before", "after"):
        (tmp_path / name).mkdir()
        with OperatorProcess(cluster, namespace, tmp_path / name) as operator:
            operator.until(30, "a token of its own", lambda: _token(cluster, namespace) not in {"", *tokens})
            tokens.append(_token(cluster, namespace))
            operator.stop()

    assert len(set(tokens)) == 2


def _token(cluster: Cluster, namespace: str) -> str:
    listed = cluster.read(f"/api/v1/namespaces/{namespace}/secrets", fieldSelector=f"metadata.name={READ_SECRET}")
    return str(next((one["data"]["token"] for one in listed["items"]), ""))
