"""A node that dies takes its kubelet with it: the pods on it go on being deleted for ever, and say that they run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from batchyard.engine.places import PlaceState
from fake_cluster_api import CLUSTERS, PODS
from place_bench import Bench, RayBench, job_bench, ray_bench

if TYPE_CHECKING:
    from collections.abc import Iterator

READY: dict[str, Any] = {"type": "Ready", "status": "True"}
UNREADY: dict[str, Any] = {"type": "Ready", "status": "False", "reason": "NodeNotReady"}
LONG_AFTER = 200.0


@pytest.fixture
def bench() -> Iterator[Bench]:
    with job_bench() as made:
        yield made


@pytest.fixture
def ray() -> Iterator[RayBench]:
    with ray_bench() as made:
        yield made


def evicted(bench: Bench, condition: dict[str, Any] = UNREADY) -> str:
    """Have a pod that runs be deleted; return its uid."""
    bench.ensure()
    uid: str = bench.pod(phase="Running", conditions=[condition])["metadata"]["uid"]
    bench.cluster.delete(PODS, f"{bench.name}-abc")
    return uid


def test_a_pod_that_should_have_ended_long_ago_and_of_which_nothing_is_heard_is_stranded(bench: Bench) -> None:
    uid = evicted(bench)

    at_once = bench.observe(uid)
    bench.clock.advance(LONG_AFTER)
    later = bench.observe(uid)

    assert (at_once.state, at_once.reason) == (PlaceState.RUNNING, "PodGoing")
    assert (later.state, later.reason, later.identity) == (PlaceState.STRANDED, "PodStranded", uid)
    assert f"pod {bench.name}-abc" in later.message
    assert "delete the Node" in later.message


def test_a_pod_that_is_stranded_before_its_worker_was_known_is_no_place_to_start_in(bench: Bench) -> None:
    evicted(bench)
    bench.clock.advance(LONG_AFTER)

    assert bench.observe().state is PlaceState.STRANDED


def test_a_pod_that_is_ready_is_not_stranded_however_long_it_takes_to_end(bench: Bench) -> None:
    uid = evicted(bench, READY)
    bench.clock.advance(LONG_AFTER)

    assert bench.observe(uid).reason == "PodGoing"
    assert bench.release() is False
    bench.cluster.collect_garbage()
    assert bench.release() is False


def test_a_place_that_a_queue_took_back_is_not_waited_for_on_a_node_that_died(bench: Bench) -> None:
    uid = evicted(bench)
    bench.hold()

    before = bench.observe(uid).state
    bench.clock.advance(LONG_AFTER)

    assert (before, bench.observe(uid).state) == (PlaceState.RUNNING, PlaceState.QUEUED)


def test_a_job_is_given_back_although_its_pod_is_stranded(bench: Bench) -> None:
    evicted(bench)

    answers = [bench.release(), bench.release()]
    bench.clock.advance(LONG_AFTER)
    answers.append(bench.release())

    assert answers == [False, False, True]
    assert bench.cluster.names(PODS) == [f"{bench.name}-abc"]


def test_a_raycluster_is_given_back_although_its_head_is_stranded(ray: RayBench) -> None:
    identity = ray.begun()
    ray.becomes("head", podIP="10.0.0.1", phase="Running", conditions=[UNREADY])
    ray.cluster.delete(PODS, f"{ray.name}-head")
    lost = ray.observe(identity)
    ray.release()
    ray.cluster.collect_garbage()
    for number in range(2):
        ray.cluster.remove(PODS, f"{ray.name}-worker-{number}")

    early = ray.release()
    ray.clock.advance(LONG_AFTER)

    assert lost.state is PlaceState.LOST
    assert (early, ray.release()) == (False, True)
    assert ray.cluster.names(CLUSTERS) == []


def test_a_raycluster_that_a_queue_took_back_is_not_waited_for_on_a_node_that_died(ray: RayBench) -> None:
    identity = ray.begun()
    ray.becomes("head", podIP="10.0.0.1", phase="Running", conditions=[UNREADY])
    ray.cluster.delete(PODS, f"{ray.name}-head")
    ray.hold()

    before = ray.observe(identity).state
    ray.clock.advance(LONG_AFTER)

    assert (before, ray.observe(identity).state) == (PlaceState.RUNNING, PlaceState.QUEUED)
