"""The KubeRay provider: a RayCluster on a fake API server, whose fake head answers as Ray does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from batchyard.apiserver.errors import Unreachable
from batchyard.engine.places import Observation, PlaceState
from batchyard.environments.kuberay import dashboard_url
from batchyard.environments.manifests import token_name
from fake_cluster_api import CLUSTERS, PODS, SECRETS
from place_bench import RayBench, ray_bench
from place_builders import UID, head_status

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def bench() -> Iterator[RayBench]:
    with ray_bench() as made:
        yield made


# -- making ----------------------------------------------------------------------------------------------------------


@pytest.mark.proves("providers")
def test_ensure_makes_the_raycluster_and_a_secret_that_belongs_to_it(bench: RayBench) -> None:
    bench.ensure()

    owner = bench.owner()
    assert owner["metadata"]["ownerReferences"][0]["uid"] == UID
    assert bench.secret()["metadata"]["ownerReferences"] == [
        {"apiVersion": "ray.io/v1", "kind": "RayCluster", "name": bench.name, "uid": owner["metadata"]["uid"]}
    ]


@pytest.mark.parametrize("late", [False, True], ids=["unheard", "answer lost"])
@pytest.mark.parametrize("plural", ["rayclusters", "secrets"])
def test_ensure_after_a_broken_connection_completes_what_is_missing(bench: RayBench, plural: str, late: bool) -> None:
    bench.cluster.fail("POST", plural, late=late)
    with pytest.raises(Unreachable):
        bench.ensure()

    bench.ensure()

    assert bench.cluster.names(CLUSTERS) == [bench.name]
    assert bench.secret()["metadata"]["ownerReferences"][0]["uid"] == bench.owner()["metadata"]["uid"]


def test_a_raycluster_without_its_secret_is_made_whole_by_the_next_operator(bench: RayBench) -> None:
    bench.ensure()
    bench.cluster.remove(SECRETS, token_name(bench.name))
    bench.take_up()
    bench.head(ready=False)

    assert bench.observe().state is PlaceState.ABSENT
    bench.ensure()

    assert bench.observe().state is PlaceState.PENDING


def test_somebody_elses_raycluster_of_the_same_name_is_neither_used_nor_deleted(bench: RayBench) -> None:
    theirs = {"kind": "RayCluster", "metadata": {"labels": {"batchyard.dev/uid": UID}}, "spec": {}}
    bench.cluster.put(CLUSTERS, bench.name, theirs)

    bench.ensure()

    seen = bench.observe()
    assert (seen.state, seen.reason) == (PlaceState.PENDING, "NameTaken")
    assert bench.name in seen.message
    assert bench.release() is True
    assert bench.cluster.names(CLUSTERS) == [bench.name]
    assert bench.cluster.names(SECRETS) == []


@pytest.mark.parametrize("group", ["of the group", "of the kind"])
def test_without_kuberay_the_place_waits_and_says_so(bench: RayBench, group: str) -> None:
    bench.cluster.kinds.discard(CLUSTERS)
    if group == "of the kind":
        bench.cluster.kinds.add(("ray.io/v1", "rayservices"))

    bench.ensure()

    seen = bench.observe()
    assert (seen.state, seen.reason) == (PlaceState.PENDING, "KubeRayMissing")
    assert "install KubeRay" in seen.message
    assert bench.release() is True
    assert bench.do(lambda place: place.children(None)) == []


def test_once_kuberay_is_installed_the_place_is_made(bench: RayBench) -> None:
    bench.cluster.kinds.discard(CLUSTERS)
    bench.ensure()
    bench.cluster.kinds.add(CLUSTERS)

    assert bench.observe().state is PlaceState.ABSENT
    bench.ensure()

    assert bench.owner()


def test_a_namespace_that_is_gone_is_not_taken_for_a_missing_kuberay(bench: RayBench) -> None:
    bench.cluster.fail("POST", "rayclusters", 404, reason="NotFound", message='namespaces "team-a" not found')

    with pytest.raises(Exception, match='namespaces "team-a" not found'):
        bench.ensure()


# -- becoming ready --------------------------------------------------------------------------------------------------


def test_a_raycluster_is_ready_when_its_head_its_workers_and_its_dashboard_are(bench: RayBench) -> None:
    seen = [bench.observe().state]
    bench.ensure()
    seen.append(bench.observe().state)
    bench.take_up()
    seen.append(bench.observe().state)
    bench.head(ready=False)
    seen.append(bench.observe().state)
    bench.cluster.remove(PODS, f"{bench.name}-head")
    head = bench.head()["metadata"]["uid"]
    seen.append(bench.observe().state)
    bench.worker("one")
    bench.worker("two", ready=False)
    seen.append(bench.observe().state)
    bench.worker("three")
    ready = bench.observe()

    assert seen == ["Absent", "Pending", "Pending", "Pending", "Pending", "Pending"]
    assert (ready.state, ready.identity) == (PlaceState.READY, f"session_1@{head}")


def with_a_head(bench: RayBench) -> None:
    """Bring the RayCluster to where its head is ready, and its workers are not."""
    bench.ensure()
    bench.take_up()
    bench.head()
    bench.worker("one")


def test_the_driver_may_begin_with_the_head_and_is_no_sign_that_the_place_is_ready(bench: RayBench) -> None:
    with_a_head(bench)
    first = bench.observe()
    bench.start()
    second = bench.observe()

    assert (first.state, first.may_begin) == (PlaceState.PENDING, True)
    assert (second.state, second.may_begin) == (PlaceState.PENDING, False)
    assert second.message == "the head is ready; 1 of 2 workers are ready"

    bench.worker("two")
    ready = bench.observe()
    assert ready.state is PlaceState.READY
    bench.start()
    assert bench.observe(ready.identity).state is PlaceState.RUNNING
    assert list(bench.ray.jobs) == [bench.name]


def test_a_driver_that_fails_before_the_workers_are_there_has_ended(bench: RayBench) -> None:
    with_a_head(bench)
    bench.start()
    bench.ray.end(bench.name, "FAILED", "no such program")

    seen = bench.observe()

    assert (seen.state, seen.reason, seen.may_begin) == (PlaceState.ENDED, "DriverFailed", False)


def test_a_head_that_is_started_anew_before_the_workers_are_there_gets_another_driver(bench: RayBench) -> None:
    with_a_head(bench)
    bench.start()
    bench.ray.restart()

    seen = bench.observe()

    assert (seen.state, seen.may_begin) == (PlaceState.PENDING, True)


def test_progress_is_told_while_nothing_is_the_matter(bench: RayBench) -> None:
    bench.ensure()
    bench.take_up()
    bench.head(ready=False)
    bench.worker("one")
    first = bench.observe()
    bench.cluster.remove(PODS, f"{bench.name}-head")
    bench.head()

    assert first == Observation(PlaceState.PENDING, "", "the head starts; 1 of 2 workers are ready")
    assert bench.observe().message == "the head is ready; 1 of 2 workers are ready"


def test_what_kuberay_says_of_the_whole_cluster_is_not_believed(bench: RayBench) -> None:
    """It is latched: it still says ready after its pods have died."""
    bench.ensure()
    bench.take_up()
    bench.cluster.change(
        CLUSTERS,
        bench.name,
        status={
            "state": "ready",
            "readyWorkerReplicas": 2,
            "conditions": [
                {"type": "RayClusterProvisioned", "status": "True"},
                {"type": "HeadPodReady", "status": "True"},
            ],
            "head": {"podIP": "10.0.0.1"},
        },
    )
    bench.head(ready=False)
    bench.worker("one", ready=False)
    bench.worker("two", ready=False)

    assert bench.observe().state is PlaceState.PENDING


def test_a_dashboard_that_does_not_answer_yet_keeps_the_place_pending(bench: RayBench) -> None:
    bench.whole()
    bench.ray.answers["/api/version"] = (503, b"starting", {})

    seen = bench.observe()

    assert (seen.state, seen.reason) == (PlaceState.PENDING, "DashboardUnreachable")
    assert "answers 503 for /api/version: starting" in seen.message


def test_a_kuberay_that_makes_no_token_is_too_old_and_told_so(bench: RayBench) -> None:
    bench.whole()
    bench.cluster.remove(SECRETS, bench.name)

    seen = bench.observe()

    assert (seen.state, seen.reason) == (PlaceState.PENDING, "DashboardUnreachable")
    assert "KubeRay 1.5.1" in seen.message


@pytest.mark.parametrize("data", [{}, {"auth_token": "no base64!"}, {"auth_token": "/w=="}])
def test_a_secret_without_a_token_that_can_be_used_is_told_of(bench: RayBench, data: dict[str, str]) -> None:
    bench.whole()
    bench.cluster.change(SECRETS, bench.name, data=data)

    assert bench.observe().reason == "DashboardUnreachable"


def test_the_head_is_asked_where_it_is_now() -> None:
    with ray_bench(("10.0.0.1", "10.0.0.2")) as bench:
        bench.whole()
        bench.cluster.remove(PODS, f"{bench.name}-head")
        bench.cluster.change(CLUSTERS, bench.name, status={"head": {"podIP": "10.0.0.1"}})
        bench.head("another", address="10.0.0.2")

        assert bench.observe().state is PlaceState.READY

        assert bench.rays["10.0.0.1"].requests == []
        assert "GET /api/version" in bench.rays["10.0.0.2"].requests


def test_an_address_of_ipv6_makes_a_url_too() -> None:
    assert dashboard_url("10.0.0.1") == "http://10.0.0.1:8265"
    assert dashboard_url("fd00::1") == "http://[fd00::1]:8265"


# -- why it does not become ready ------------------------------------------------------------------------------------


def test_a_kuberay_that_does_nothing_is_told_of_after_a_while(bench: RayBench) -> None:
    bench.ensure()
    first = bench.observe()
    bench.clock.advance(16)

    second = bench.observe()

    assert first == Observation(PlaceState.PENDING, "", "the head starts; 0 of 2 workers are ready")
    assert (second.state, second.reason) == (PlaceState.PENDING, "KubeRaySilent")


def test_a_kuberay_that_refuses_the_cluster_is_quoted(bench: RayBench) -> None:
    bench.ensure()
    text = "The RayCluster spec is invalid team-a/x: authOptions.mode is 'token' but minimum Ray version is 2.52.0"
    bench.warn(bench.owner(), "InvalidRayClusterSpec", text)
    bench.clock.advance(60)

    assert bench.observe() == Observation(PlaceState.PENDING, "InvalidRayClusterSpec", text)


def test_a_pod_that_cannot_be_made_is_told_from_kuberays_condition(bench: RayBench) -> None:
    bench.ensure()
    bench.take_up()
    failure = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreateHeadPod", "message": "exceeded quota"}
    bench.cluster.change(CLUSTERS, bench.name, status={"conditions": [failure]})

    assert bench.observe() == Observation(PlaceState.PENDING, "FailedCreateHeadPod", "exceeded quota")


def test_a_pod_that_cannot_be_made_is_told_from_the_events_if_there_is_no_condition(bench: RayBench) -> None:
    bench.ensure()
    bench.take_up()
    quota = 'Failed to create head Pod team-a/x, pods "x" is forbidden: exceeded quota: small'
    bench.warn(bench.owner(), "FailedToCreateHeadPod", quota)

    assert bench.observe() == Observation(PlaceState.PENDING, "FailedToCreateHeadPod", quota)


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ({"containerStatuses": head_status(state={"waiting": {"reason": "ImagePullBackOff"}})}, "ImagePullBackOff"),
        (
            {"containerStatuses": head_status(state={"waiting": {"reason": "ErrImageNeverPull"}})},
            "ErrImageNeverPull",
        ),
        ({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]}, "Unschedulable"),
        ({"phase": "Failed", "reason": "Evicted", "message": "low on disk"}, "Evicted"),
    ],
)
def test_what_keeps_a_worker_from_starting_is_quoted(bench: RayBench, status: dict[str, Any], reason: str) -> None:
    bench.ensure()
    bench.take_up()
    bench.head()
    bench.worker("one")
    bench.worker("two", ready=False, **status)

    seen = bench.observe()

    assert (seen.state, seen.reason) == (PlaceState.PENDING, reason)
    assert f"pod {bench.name}-two" in seen.message


def test_a_pod_that_says_nothing_is_explained_by_the_events_about_it(bench: RayBench) -> None:
    bench.ensure()
    bench.take_up()
    bench.head()
    bench.worker("one")
    worker = bench.worker("two", ready=False)
    bench.warn(worker, "Unhealthy", "Readiness probe failed: connection refused")

    seen = bench.observe()

    assert (seen.reason, seen.message) == ("Unhealthy", "Readiness probe failed: connection refused")


def test_a_raycluster_that_the_api_server_finds_invalid_has_ended_with_its_words(bench: RayBench) -> None:
    async def scenario(place: Any) -> Observation:
        await place.ensure(bench.asked)
        found: Observation = await place.observe(bench.asked, "")
        return found

    bench.cluster.fail("POST", "rayclusters", 422, reason="Invalid", message="spec.headGroupSpec: must be")

    assert bench.do(scenario) == Observation(PlaceState.ENDED, "Invalid", "spec.headGroupSpec: must be")
