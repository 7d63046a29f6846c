"""Jobs and RayClusters that a queue such as Kueue holds back, lets in and takes back, on a fake API server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from batchyard.engine.places import PlaceState
from batchyard.environments.manifests import token_name
from fake_cluster_api import PODS, SECRETS
from place_bench import Bench, RayBench, job_bench, ray_bench

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fake_cluster_api import Object


@pytest.fixture
def job() -> Iterator[Bench]:
    with job_bench() as made:
        made.ensure()
        yield made


@pytest.fixture
def ray() -> Iterator[RayBench]:
    with ray_bench() as made:
        made.ensure()
        yield made


@pytest.fixture(params=["Job", "RayCluster"])
def held(request: pytest.FixtureRequest) -> Bench:
    """A place of each kind that a queue holds back."""
    bench: Bench = request.getfixturevalue("job" if request.param == "Job" else "ray")
    bench.hold("team-a")
    return bench


def workload_of(bench: Bench) -> Object:
    """Return what Kueue makes for an object of ours, as far as events name it."""
    name = f"{bench.owner()['kind'].lower()}-{bench.name}-1a2b3"
    return {"kind": "Workload", "metadata": {"uid": "workload-uid", "name": name}}


def ended(**status: Any) -> list[dict[str, Any]]:
    return [{"name": "runner", "state": {"terminated": {"exitCode": 143, **status}}}]


# -- held back -------------------------------------------------------------------------------------------------------


def test_a_place_that_kueue_holds_back_names_the_queue_that_it_waits_in(held: Bench) -> None:
    seen = held.observe()

    assert (seen.state, seen.reason) == (PlaceState.QUEUED, "Queued")
    assert seen.message == "queued by Kueue: waiting for quota in queue team-a"


def test_why_kueue_does_not_admit_it_is_quoted(held: Bench) -> None:
    held.warn(workload_of(held), "Pending", "insufficient unused quota for cpu in flavor small, 200m more needed")
    held.warn({"kind": "Workload", "metadata": {"uid": "other", "name": "job-other-1"}}, "Pending", "of another one")
    held.warn({**workload_of(held), "kind": "Pod"}, "Odd", "of another kind")

    assert held.observe().message == (
        "queued by Kueue: waiting for quota in queue team-a "
        "(insufficient unused quota for cpu in flavor small, 200m more needed)"
    )


def test_without_leave_to_read_events_the_queue_is_named_all_the_same(held: Bench) -> None:
    held.cluster.fail("GET", "events", 403, reason="Forbidden", message="events is forbidden")

    assert held.observe().message == "queued by Kueue: waiting for quota in queue team-a"


def test_a_queue_without_a_name_holds_a_place_back_too(job: Bench) -> None:
    job.hold()

    seen = job.observe()

    assert (seen.state, seen.message) == (PlaceState.QUEUED, "the Job is suspended: a queue has not admitted it yet")


def test_a_place_without_its_secret_is_made_whole_while_it_waits(held: Bench) -> None:
    held.cluster.remove(SECRETS, token_name(held.name))

    assert held.observe().state is PlaceState.ABSENT
    held.ensure()

    assert held.observe().state is PlaceState.QUEUED
    assert held.owner()["spec"]["suspend"] is True


def test_a_place_that_is_let_in_is_waited_for_like_any_other(held: Bench) -> None:
    held.hold("team-a", suspend=False)

    assert held.observe().state is PlaceState.PENDING


# -- taken back ------------------------------------------------------------------------------------------------------


def test_a_runner_whose_job_is_taken_back_goes_first_and_is_queued_then(job: Bench) -> None:
    uid = job.pod(phase="Running")["metadata"]["uid"]
    job.hold("team-a")
    job.cluster.delete(PODS, f"{job.name}-abc")

    going = job.observe(uid)
    job.becomes(phase="Running", containerStatuses=ended())
    over = job.observe(uid)
    job.cluster.end_pods()
    gone = job.observe(uid)

    assert [seen.state for seen in (going, over, gone)] == ["Running", "Queued", "Queued"]
    assert {seen.reason for seen in (going, over, gone)} == {"Preempted"}
    assert gone.message == f"Kueue took Job {job.name} back into queue team-a"


def test_a_runner_that_is_taken_back_before_its_worker_was_known_waits_again(job: Bench) -> None:
    job.pod(phase="Running")
    job.hold("team-a")
    job.cluster.delete(PODS, f"{job.name}-abc")

    going = job.observe()
    job.cluster.end_pods()

    assert going.state is PlaceState.PENDING
    assert (job.observe().state, job.observe().reason) == (PlaceState.QUEUED, "Queued")


def test_a_runner_that_fails_by_itself_was_not_taken_back(job: Bench) -> None:
    uid = job.pod(phase="Failed", containerStatuses=ended(reason="OOMKilled"))["metadata"]["uid"]

    assert (job.observe(uid).state, job.observe(uid).reason) == (PlaceState.ENDED, "OOMKilled")


def test_a_raycluster_that_is_taken_back_goes_first_and_is_queued_then(ray: RayBench) -> None:
    identity = ray.begun()
    ray.hold("team-a")

    told = ray.observe(identity)
    ray.cluster.delete(PODS, f"{ray.name}-head")
    going = ray.observe(identity)
    ray.cluster.end_pods()
    gone = ray.observe(identity)

    assert [seen.state for seen in (told, going, gone)] == ["Running", "Running", "Queued"]
    assert {seen.reason for seen in (told, going, gone)} == {"Preempted"}
    assert gone.message == f"Kueue took RayCluster {ray.name} back into queue team-a"


def test_a_raycluster_whose_workers_alone_are_left_is_queued(ray: RayBench) -> None:
    identity = ray.begun()
    ray.hold("team-a")
    ray.cluster.remove(PODS, f"{ray.name}-head")

    assert ray.observe(identity).state is PlaceState.QUEUED


def test_a_raycluster_that_is_taken_back_before_its_driver_began_waits_again(ray: RayBench) -> None:
    ray.whole()
    ray.hold("team-a")

    going = ray.observe()
    ray.cluster.remove(PODS, f"{ray.name}-head")

    assert going.state is PlaceState.PENDING
    assert (ray.observe().state, ray.observe().reason) == (PlaceState.QUEUED, "Queued")
