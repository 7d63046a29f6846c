"""The rights in ``deploy/operator.yaml`` are those that operators used in all the tests before: no fewer, and no more.

Runs last, on the API server's audit log of this run: ``make test`` and ``make cluster`` begin it anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from cluster import rights
from cluster.account import rules
from cluster.bed.client import go_without
from cluster.rights import CLUSTER, Request, Right

if TYPE_CHECKING:
    from collections.abc import Callable

    from cluster.bed.client import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.alone]

HINT = "if not all cluster tests ran since `make cluster`, this says nothing: run `make test`"


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the operators of this run may do, asked for, and were refused."""

    granted: set[Right]
    requests: list[Request]
    refused: list[Request]


@pytest.fixture(scope="module")
def recorded(cluster: Cluster) -> Recorded:
    """What is in the audit log; without one, there is nothing to hold the rights against."""
    logs = [] if cluster.logs is None else sorted(cluster.logs.glob("audit*.log"))
    if not logs:
        go_without("this cluster keeps no audit log that a test could read")
    made = list(rights.requests(logs))
    refused = list(rights.refused(made, rights.Changes(logs)))
    return Recorded(rights.granted(rules("ClusterRole"), rules("Role")), made, refused)


def test_no_operator_was_refused_what_it_asked_for(recorded: Recorded) -> None:
    assert recorded.requests, HINT

    assert recorded.refused == []


def test_every_right_of_an_operator_was_used(recorded: Recorded, measured: Callable[[str], None]) -> None:
    unused = recorded.granted - rights.used(recorded.granted, recorded.requests)

    assert sorted(unused) == [], HINT
    measured(f"rights granted and used: {len(recorded.granted)}; requests of operators: {len(recorded.requests)}")


def test_every_right_of_an_operator_of_chosen_namespaces_was_used_by_one(recorded: Recorded) -> None:
    granted = {right for right in recorded.granted if right.where != CLUSTER}
    unused = granted - rights.used(granted, rights.of_some_namespaces(recorded.requests))

    assert sorted(unused) == [], HINT
