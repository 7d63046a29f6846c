"""Jobs and RayClusters that a queue such as Kueue holds back, lets in and takes back, on a fake API server."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from batchyard.engine.places import PlaceState
from batchyard.environments.manifests import job as make_job
from batchyard.environments.manifests import ray_cluster, token_name, token_secret
from fake_cluster_api import PODS, SECRETS
from place_bench import Bench, RayBench, job_bench, ray_bench
from place_builders import DEFAULTS, request

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


# -- what the queue is told -------------------------------------------------------------------------------------------


def test_a_queue_of_the_batchtest_is_passed_on_so_that_kueue_admits_the_place() -> None:
    asked = {"kueue.x-k8s.io/queue-name": "nightly", "kueue.x-k8s.io/priority-class": "low"}
    wanted = request(labels={**asked, "team": "search", "not-kueue.x-k8s.io/queue-name": "x", "kueue": "x"})

    for made in (make_job(wanted, DEFAULTS, 60), ray_cluster(wanted, DEFAULTS)):
        labels = made["metadata"]["labels"]
        assert {key: value for key, value in labels.items() if "batchyard" not in key + value} == asked


def test_what_a_queue_is_told_in_annotations_is_passed_on_too() -> None:
    asked = request(annotations={"provreq.kueue.x-k8s.io/maxRunDurationSeconds": "600", "team": "search"})

    assert make_job(asked, DEFAULTS, 60)["metadata"]["annotations"] == {
        "provreq.kueue.x-k8s.io/maxRunDurationSeconds": "600"
    }
    assert "annotations" not in make_job(request(), DEFAULTS, 60)["metadata"]


def test_no_pod_and_no_secret_is_queued_by_itself() -> None:
    asked = request(labels={"kueue.x-k8s.io/queue-name": "nightly"})

    made = [make_job(asked, DEFAULTS, 60)["spec"], ray_cluster(asked, DEFAULTS)["spec"]]
    secret = token_secret(asked, {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a", "uid": "b"}})

    assert "kueue" not in json.dumps([made, secret])


def test_whether_a_place_is_held_back_is_left_to_the_queue() -> None:
    """Without Kueue nobody would ever let it go on."""
    asked = request(labels={"kueue.x-k8s.io/queue-name": "nightly"})

    assert "suspend" not in make_job(asked, DEFAULTS, 60)["spec"]
    assert "suspend" not in ray_cluster(asked, DEFAULTS)["spec"]


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
