"""The InProcess provider in a cluster: a Job on an API server that behaves and misbehaves like a real one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from batchyard.apiserver.errors import Conflict, Unreachable
from batchyard.engine.cluster_ports import ClusterRef
from batchyard.engine.places import PlaceState
from batchyard.environments.manifests import token_name
from fake_cluster_api import JOBS, PODS, SECRETS
from place_bench import Bench, job_bench
from place_builders import REF, UID, foreign_job, request

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def bench() -> Iterator[Bench]:
    with job_bench() as made:
        yield made


def container(**state: Any) -> list[dict[str, Any]]:
    return [{"name": "runner", "state": state}]


# -- making ----------------------------------------------------------------------------------------------------------


def test_ensure_makes_the_job_and_a_secret_that_belongs_to_it(bench: Bench) -> None:
    bench.ensure()

    owner = bench.owner()
    assert bench.secret()["metadata"]["ownerReferences"] == [
        {"apiVersion": "batch/v1", "kind": "Job", "name": bench.name, "uid": owner["metadata"]["uid"]}
    ]


def test_ensure_again_changes_nothing(bench: Bench) -> None:
    bench.ensure()
    before = (bench.owner(), bench.secret())

    bench.ensure()

    assert (bench.owner(), bench.secret()) == before


@pytest.mark.parametrize("late", [False, True], ids=["unheard", "answer lost"])
@pytest.mark.parametrize("plural", ["jobs", "secrets"])
def test_ensure_after_a_broken_connection_completes_what_is_missing(bench: Bench, plural: str, late: bool) -> None:
    bench.cluster.fail("POST", plural, late=late)
    with pytest.raises(Unreachable):
        bench.ensure()

    bench.ensure()

    assert bench.cluster.names(JOBS) == [bench.name]
    assert bench.secret()["metadata"]["ownerReferences"][0]["uid"] == bench.owner()["metadata"]["uid"]


def test_a_job_without_its_secret_is_made_whole_by_the_next_operator(bench: Bench) -> None:
    """The pod would wait for the Secret until its deadline, and nothing else would tell."""
    bench.cluster.fail("POST", "secrets")
    with pytest.raises(Unreachable):
        bench.ensure()
    bench.pod(phase="Pending", containerStatuses=container(waiting={"reason": "ContainerCreating"}))

    assert bench.observe().state is PlaceState.ABSENT
    bench.ensure()

    assert bench.observe().state is PlaceState.PENDING
    assert bench.secret()


def test_a_secret_of_an_earlier_job_of_the_same_name_is_waited_out(bench: Bench) -> None:
    """Its owner is gone, so it would be collected under the new Job's pod."""
    bench.ensure()
    bench.cluster.remove(JOBS, bench.name)
    with pytest.raises(Conflict):
        bench.ensure()
    between = bench.observe().state
    bench.cluster.collect_garbage()

    bench.ensure()

    assert between is PlaceState.ABSENT
    assert bench.observe().state is PlaceState.PENDING
    assert bench.secret()["metadata"]["ownerReferences"][0]["uid"] == bench.owner()["metadata"]["uid"]


def test_nothing_is_needed_of_secrets_but_to_read_and_to_make_them(bench: Bench) -> None:
    bench.ensure()
    bench.pod(phase="Pending")
    bench.observe()
    bench.release()

    assert {one.method for one in bench.cluster.asked if "/secrets" in one.path} == {"POST", "GET"}


# -- what belongs to somebody else -----------------------------------------------------------------------------------


def test_somebody_elses_job_of_the_same_name_is_not_used_but_told_of(bench: Bench) -> None:
    bench.cluster.put(JOBS, bench.name, foreign_job())

    bench.ensure()

    seen = bench.observe()
    assert (seen.state, seen.reason) == (PlaceState.PENDING, "NameTaken")
    assert seen.message == f"Job {bench.name} in namespace team-a is not BatchTest docs-search's; delete it"
    assert bench.cluster.names(SECRETS) == []


def test_somebody_elses_job_of_the_same_name_is_not_deleted(bench: Bench) -> None:
    bench.cluster.put(JOBS, bench.name, foreign_job())

    assert bench.release() is True

    assert bench.cluster.names(JOBS) == [bench.name]


def test_the_place_is_made_once_the_name_is_free(bench: Bench) -> None:
    bench.cluster.put(JOBS, bench.name, foreign_job())
    bench.ensure()
    bench.cluster.remove(JOBS, bench.name)

    assert bench.observe().state is PlaceState.ABSENT
    bench.ensure()

    assert bench.owner()["metadata"]["ownerReferences"][0]["uid"] == UID


def test_somebody_elses_secret_of_the_tokens_name_is_neither_used_nor_replaced(bench: Bench) -> None:
    theirs = bench.cluster.put(SECRETS, token_name(bench.name), {"data": {}})

    bench.ensure()

    assert bench.secret()["metadata"]["uid"] == theirs["metadata"]["uid"]
    seen = bench.observe()
    assert (seen.state, seen.reason) == (PlaceState.PENDING, "NameTaken")
    assert f"Secret {token_name(bench.name)}" in seen.message


def test_a_job_of_another_batchtest_is_somebody_elses() -> None:
    with job_bench() as bench:
        bench.ensure()
        other = request(ClusterRef(REF.namespace, REF.name, "another-uid"))
        bench.asked = type(other)(**{name: getattr(other, name) for name in other.__slots__} | {"name": bench.name})

        assert bench.observe().reason == "NameTaken"
        assert bench.release() is True
        assert bench.cluster.names(JOBS) == [bench.name]


# -- looking ---------------------------------------------------------------------------------------------------------


def test_what_was_never_made_is_absent(bench: Bench) -> None:
    assert bench.observe().state is PlaceState.ABSENT


def test_a_job_goes_from_no_pod_by_starting_and_running_to_its_end(bench: Bench) -> None:
    bench.ensure()
    seen = [bench.observe()]
    uid = bench.pod(phase="Pending")["metadata"]["uid"]
    seen.append(bench.observe())
    bench.becomes(phase="Running", containerStatuses=container(running={}))
    seen.append(bench.observe())
    seen.append(bench.observe(uid))
    bench.becomes(phase="Succeeded", containerStatuses=container(terminated={"exitCode": 0}))
    seen.append(bench.observe(uid))

    assert [one.state for one in seen] == ["Pending", "Pending", "Running", "Running", "Ended"]
    assert [one.reason for one in seen] == ["NoPod", "", "", "", ""]
    assert [one.identity for one in seen] == ["", "", uid, uid, uid]


def test_a_runner_that_fails_says_how(bench: Bench) -> None:
    bench.ensure()
    bench.pod(phase="Failed", containerStatuses=container(terminated={"exitCode": 137, "reason": "OOMKilled"}))

    seen = bench.observe()

    assert (seen.state, seen.reason) == (PlaceState.ENDED, "OOMKilled")
    assert seen.message == "container runner ended with 137 (OOMKilled)"


@pytest.mark.parametrize(("code", "reason"), [(0, ""), (137, "OOMKilled")])
def test_a_runner_that_is_over_is_noticed_although_a_container_beside_it_goes_on(
    bench: Bench, code: int, reason: str
) -> None:
    bench.ensure()
    uid = bench.pod(
        phase="Running",
        containerStatuses=[
            *container(terminated={"exitCode": code, "reason": reason or "Completed"}),
            {"name": "proxy", "state": {"running": {}}},
        ],
    )["metadata"]["uid"]

    seen = bench.observe(uid)

    assert (seen.state, seen.reason) == (PlaceState.ENDED, reason)


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ({"containerStatuses": container(waiting={"reason": "ImagePullBackOff", "message": "no"})}, "ImagePullBackOff"),
        ({"containerStatuses": container(waiting={"reason": "ErrImageNeverPull"})}, "ErrImageNeverPull"),
        (
            {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1"}]},
            "Unschedulable",
        ),
    ],
)
def test_what_keeps_the_pod_from_starting_is_quoted(bench: Bench, status: dict[str, Any], reason: str) -> None:
    bench.ensure()
    bench.pod(phase="Pending", **status)

    seen = bench.observe()

    assert (seen.state, seen.reason) == (PlaceState.PENDING, reason)
    assert bench.name in seen.message


def test_a_pod_that_says_nothing_is_explained_by_the_events_about_it(bench: Bench) -> None:
    bench.ensure()
    pod = bench.pod(phase="Pending", containerStatuses=container(waiting={"reason": "ContainerCreating"}))
    bench.warn(pod, "FailedMount", 'MountVolume.SetUp failed for volume "source": configmap "docs-code" not found')
    bench.warn(pod, "Pulling", "pulling", kind="Normal")

    seen = bench.observe()

    assert (seen.state, seen.reason) == (PlaceState.PENDING, "FailedMount")
    assert 'configmap "docs-code" not found' in seen.message


def test_a_quota_that_leaves_the_job_without_a_pod_is_quoted(bench: Bench) -> None:
    bench.ensure()
    quota = (
        'Error creating: pods "x" is forbidden: exceeded quota: small, requested: cpu=200m, used: cpu=1, limited: cpu=1'
    )
    bench.warn(bench.owner(), "FailedCreate", quota)

    seen = bench.observe()

    assert (seen.state, seen.reason) == (PlaceState.PENDING, "FailedCreate")
    assert seen.message == f"the Job has no pod: {quota}"


def test_without_leave_to_read_events_the_rest_is_told(bench: Bench) -> None:
    bench.ensure()
    bench.cluster.fail("GET", "events", 403, reason="Forbidden", message="events is forbidden")

    assert bench.observe().reason == "NoPod"


def test_a_job_that_failed_without_a_pod_left_has_ended(bench: Bench) -> None:
    bench.ensure()
    failed = {"type": "Failed", "status": "True", "reason": "DeadlineExceeded", "message": "Job was active too long"}
    bench.cluster.change(JOBS, bench.name, status={"conditions": [failed]})

    for identity in ("", "the-pods-uid"):
        seen = bench.observe(identity)
        assert (seen.state, seen.reason) == (PlaceState.ENDED, "DeadlineExceeded")
        assert seen.message == "the Job failed: Job was active too long"


# -- losing ----------------------------------------------------------------------------------------------------------


def test_a_pod_that_was_replaced_is_lost(bench: Bench) -> None:
    bench.ensure()
    bench.pod(phase="Running")

    seen = bench.observe("another-pods-uid")

    assert (seen.state, seen.reason) == (PlaceState.LOST, "PodReplaced")


def test_a_pod_that_was_deleted_is_lost_once_it_is_gone(bench: Bench) -> None:
    bench.ensure()
    uid = bench.pod(phase="Running")["metadata"]["uid"]
    bench.cluster.delete(PODS, f"{bench.name}-abc")

    going = bench.observe(uid)
    bench.cluster.end_pods()
    gone = bench.observe(uid)

    assert (going.state, going.reason, going.identity) == (PlaceState.RUNNING, "PodGoing", uid)
    assert (gone.state, gone.reason) == (PlaceState.LOST, "PodDeleted")


def test_a_pod_that_is_deleted_before_its_worker_was_known_is_no_place_to_start_in(bench: Bench) -> None:
    bench.ensure()
    bench.pod(phase="Running")
    bench.cluster.delete(PODS, f"{bench.name}-abc")

    assert bench.observe().state is PlaceState.PENDING


def test_a_job_that_was_deleted_is_absent_once_its_pod_is_gone(bench: Bench) -> None:
    bench.ensure()
    bench.pod(phase="Pending")
    bench.cluster.delete(JOBS, bench.name)

    going = bench.observe()
    bench.cluster.collect_garbage()
    bench.cluster.end_pods()

    assert (going.state, going.reason) == (PlaceState.PENDING, "PodGoing")
    assert bench.observe().state is PlaceState.ABSENT
