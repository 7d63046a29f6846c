"""Fencing: whoever is not the worker of the newest place of a batch that goes on changes nothing and is told to end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from batchyard.engine.cluster_ports import EnvironmentState
from batchyard.model.outcome import Outcome, Phase, Reason
from batchyard.model.wire import Done, Segment
from worker_bench import BATCH, REF, OperatorBench

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CASES = [{"name": name} for name in ("one", "two", "three")]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[OperatorBench]:
    with OperatorBench(tmp_path, cases=CASES) as made:
        yield made


def final(*results: Any) -> Segment:
    return Segment(results=tuple((result, True) for result in results))


def test_the_worker_of_an_older_place_is_told_to_end_whatever_it_asks(bench: OperatorBench) -> None:
    bench.next_place()

    for refused in (bench.ask("manifest"), bench.post(1), bench.ask("heartbeat", b'{"running": 1}')):
        assert refused.status == 410
        assert "this worker can end" in refused.json["error"]
    assert bench.post(1, attempt=2).status == 200


def test_a_place_that_was_ended_takes_nothing_before_there_is_another(bench: OperatorBench) -> None:
    bench.change_place(state=EnvironmentState.ENDED, ended_at=bench.clock.now())

    assert bench.post(1, final(bench.result(0))).status == 410
    assert bench.finals == []


def test_results_of_an_older_place_are_recorded_as_late_and_change_nothing(bench: OperatorBench) -> None:
    bench.post(1, final(bench.result(0)))
    bench.next_place()

    refused = bench.post(2, final(bench.result(1), bench.result(2, outcome=Outcome.FAILED)))

    assert refused.status == 410
    assert [result.ordinal for result in bench.finals] == [0]
    assert bench.told("LateResult") == [
        "2 results of place 1 came too late, and nothing changes: left/two/0#1 (Passed), left/three/0#1 (Failed)"
    ]
    assert bench.batch.summary.finished == 1
    assert bench.place.attempt == 2


def test_a_late_segment_that_comes_again_is_told_once(bench: OperatorBench) -> None:
    bench.next_place()
    late = final(bench.result(0))

    assert [bench.post(1, late).status for _ in range(3)] == [410, 410, 410]
    bench.stop()
    bench.start()
    assert bench.post(1, late).status == 410

    assert len(bench.told("LateResult")) == 1
    assert bench.finals == []


def test_what_an_older_place_had_delivered_in_time_is_not_late(bench: OperatorBench) -> None:
    bench.post(1, final(bench.result(0)))
    bench.next_place()

    assert bench.post(1, final(bench.result(0))).status == 410
    assert bench.told("LateResult") == []


def test_a_late_segment_without_results_is_nothing_to_tell(bench: OperatorBench) -> None:
    bench.next_place()

    bench.post(1, Segment(done=Done("")))

    assert bench.told("LateResult") == []
    assert bench.place.done_stop is None


def test_a_late_segment_that_contradicts_the_plan_is_refused(bench: OperatorBench) -> None:
    bench.next_place()

    assert bench.post(1, final(bench.result(0, trial_id="x"))).status == 400
    assert bench.told("LateResult") == []


def test_a_trial_that_is_final_keeps_its_outcome_and_the_second_one_is_late(bench: OperatorBench) -> None:
    bench.post(1, final(bench.result(0, outcome=Outcome.FAILED)))

    taken = bench.post(2, final(bench.result(0, attempt=2), bench.result(1)))

    assert taken.status == 200
    assert [(result.ordinal, result.outcome) for result in bench.finals] == [(0, "Failed"), (1, "Passed")]
    assert bench.told("LateResult") == ["a result of place 1 came too late, and nothing changes: left/one/0#2 (Passed)"]
    assert bench.batch.summary.finished == 2


@pytest.mark.parametrize("reason", ["", Reason.BATCH_DEADLINE_EXCEEDED, Reason.CANCELLED])
def test_results_after_the_end_of_the_batch_are_recorded_as_late(bench: OperatorBench, reason: str) -> None:
    bench.post(1, final(bench.result(0)))
    bench.conclude(reason)
    before = bench.store.batch(BATCH)

    refused = bench.post(2, final(bench.result(1)))

    after = bench.store.batch(BATCH)
    assert refused.status == 410
    assert "this worker can end" in refused.json["error"]
    assert len(bench.told("LateResult")) == 1
    assert bench.trail[-1].entry.type == "LateResult"
    assert (after.phase, after.reason, after.status) == (before.phase, before.reason, before.status)
    assert [result.outcome for result in bench.finals] == [Outcome.PASSED, Outcome.NOT_RUN, Outcome.NOT_RUN]


def test_the_worker_of_a_batch_that_is_over_is_told_to_end(bench: OperatorBench) -> None:
    bench.conclude()

    assert bench.store.batch(BATCH).phase is Phase.FAILED
    for refused in (bench.ask("manifest"), bench.post(1), bench.ask("heartbeat", b'{"running": 1}')):
        assert refused.status == 410


@pytest.mark.parametrize("restarted", [False, True])
def test_results_are_recorded_as_late_when_the_batch_was_put_away_long_ago(
    bench: OperatorBench, restarted: bool
) -> None:
    bench.conclude(Reason.BATCH_DEADLINE_EXCEEDED)
    bench.put_away()
    if restarted:
        bench.stop()
        bench.start(opened=False)

    answers = [bench.post(1, final(bench.result(0), bench.result(1))).status for _ in range(2)]

    assert answers == [410, 410]
    assert len(bench.told("LateResult")) == 1
    assert {result.outcome for result in bench.finals} == {Outcome.NOT_RUN}
    assert bench.batches.known(BATCH) is None
    assert bench.store.live_owner(BATCH) is None


def test_a_batch_whose_place_is_not_given_back_yet_stays_open_after_a_late_result(bench: OperatorBench) -> None:
    bench.conclude()
    bench.stop()
    bench.start(opened=False)

    assert bench.post(1, final(bench.result(0))).status == 410

    assert len(bench.told("LateResult")) == 1
    assert bench.batches.known(BATCH) is bench.do(bench.batches.open(REF, BATCH))


def test_an_operator_that_was_deposed_writes_nothing(bench: OperatorBench) -> None:
    bench.store.take_leadership("another", bench.clock.now())

    refused = bench.post(1, final(bench.result(0)))

    assert refused.status == 503
    assert bench.finals == []
    assert bench.place.segments == 0


def test_a_batch_that_the_store_does_not_know_is_over(bench: OperatorBench) -> None:
    token = bench.token(1, "gone-1a2b3c4d")
    path = bench.path("manifest", 1, "gone-1a2b3c4d")

    answered = bench.endpoint.ask(path, headers={"Authorization": f"Bearer {token}"})

    assert answered.status == 410
