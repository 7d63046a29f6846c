"""Jobs that are refused, given back, and found again when nobody needs them any more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from batchyard.apiserver.errors import ApiError, Conflict, Unreachable
from batchyard.engine.places import PlaceState
from fake_cluster_api import JOBS, PODS, SECRETS
from place_bench import Bench, job_bench
from place_builders import UID, foreign_job

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def bench() -> Iterator[Bench]:
    with job_bench() as made:
        yield made


# -- what the API server refuses -------------------------------------------------------------------------------------


def test_a_job_that_the_api_server_finds_invalid_has_ended_with_its_words(bench: Bench) -> None:
    async def scenario() -> Any:
        async with bench.cluster.client() as api:
            place = bench.place(api)
            await place.ensure(bench.asked)
            return await place.observe(bench.asked, "")

    bench.cluster.fail("POST", "jobs", 422, reason="Invalid", message='Job "x" is invalid: spec.tolerations: must be')

    seen = bench.do(lambda _: scenario())

    assert (seen.state, seen.reason) == (PlaceState.ENDED, "Invalid")
    assert seen.message == 'Job "x" is invalid: spec.tolerations: must be'


def test_a_job_that_is_forbidden_is_tried_again_and_its_reason_kept_meanwhile(bench: Bench) -> None:
    async def scenario() -> list[Any]:
        async with bench.cluster.client() as api:
            place = bench.place(api)
            with pytest.raises(ApiError):
                await place.ensure(bench.asked)
            first = await place.observe(bench.asked, "")
            await place.ensure(bench.asked)
            bench.cluster.remove(JOBS, bench.name)
            return [first, await place.observe(bench.asked, "")]

    bench.cluster.fail("POST", "jobs", 403, reason="Forbidden", message="exceeded quota: count/jobs.batch=1")

    refused, made = bench.do(lambda _: scenario())

    assert (refused.state, refused.reason) == (PlaceState.ABSENT, "Forbidden")
    assert "count/jobs.batch=1" in refused.message
    assert (made.state, made.reason) == (PlaceState.ABSENT, "")


# -- giving back -----------------------------------------------------------------------------------------------------


def test_release_is_over_only_when_the_pod_is_gone(bench: Bench) -> None:
    bench.ensure()
    bench.pod(phase="Running")

    answers = [bench.release()]
    bench.cluster.collect_garbage()
    answers.append(bench.release())
    bench.cluster.end_pods()
    answers.append(bench.release())

    assert answers == [False, False, True]
    assert [bench.cluster.names(kind) for kind in (JOBS, PODS, SECRETS)] == [[], [], []]


def test_release_waits_for_a_job_that_takes_its_time_and_deletes_it_once(bench: Bench) -> None:
    bench.cluster.put(JOBS, bench.name, {"metadata": {"ownerReferences": [{"uid": UID}], "finalizers": ["x"]}})

    assert [bench.release(), bench.release()] == [False, False]

    assert bench.cluster.count("DELETE", "jobs") == 1


def test_release_of_what_was_never_made_is_over_at_once(bench: Bench) -> None:
    assert bench.release() is True


def test_release_does_not_delete_what_took_the_jobs_name_in_between(bench: Bench) -> None:
    bench.ensure()
    bench.cluster.fail("DELETE", "jobs", 409, reason="Conflict", message="the UID does not match")

    assert bench.release() is False

    assert bench.cluster.asked[-1].body["preconditions"] == {"uid": bench.owner()["metadata"]["uid"]}


def test_release_after_a_lost_answer_finds_it_done(bench: Bench) -> None:
    bench.ensure()
    bench.cluster.fail("DELETE", "jobs", late=True)
    with pytest.raises(Unreachable):
        bench.release()

    assert bench.release() is True


# -- children --------------------------------------------------------------------------------------------------------


def test_children_are_the_jobs_that_belong_to_batchtests_and_that_nobody_deletes(bench: Bench) -> None:
    bench.ensure()
    owner = {"kind": "BatchTest", "uid": "gone"}
    labels = {"app.kubernetes.io/managed-by": "batchyard"}
    bench.cluster.put(JOBS, "left", {"metadata": {"labels": labels, "ownerReferences": [owner]}})
    going = {"labels": labels, "ownerReferences": [owner], "deletionTimestamp": "2026-01-02T03:05:00Z"}
    bench.cluster.put(JOBS, "going", {"metadata": going})
    bench.cluster.put(JOBS, "copied", foreign_job())
    bench.cluster.put(JOBS, "unrelated")

    found = bench.do(lambda place: place.children(None))
    elsewhere = bench.do(lambda place: place.children("team-b"))

    assert {(one.name, one.owner_uid) for one in found} == {(bench.name, UID), ("left", "gone")}
    assert elsewhere == []


def test_a_child_is_removed_only_if_it_is_still_the_same(bench: Bench) -> None:
    bench.ensure()
    (child,) = bench.do(lambda place: place.children("team-a"))
    bench.cluster.remove(JOBS, bench.name)
    bench.cluster.collect_garbage()
    bench.ensure()

    with pytest.raises(Conflict):
        bench.do(lambda place: place.remove(child))
    (again,) = bench.do(lambda place: place.children("team-a"))
    bench.do(lambda place: place.remove(again))

    assert bench.cluster.names(JOBS) == []
