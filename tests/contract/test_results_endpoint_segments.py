"""What the operator makes of segments: each taken once, in order, by the plan, and durable when answered."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from batchyard.engine.cluster_ports import EnvironmentState
from batchyard.model.audit import AuditEntry
from batchyard.model.errors import Fault
from batchyard.model.events import EventType, severity_of
from batchyard.model.outcome import Outcome, Phase, Reason
from batchyard.model.trial import NodeBoundary
from batchyard.model.wire import Done, Hello, Manifest, Segment
from worker_bench import BATCH, REF, OperatorBench

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CASES = [{"name": "one", "input": {}}, {"name": "two", "input": {}, "weight": 2}, {"name": "three", "input": {}}]
HELLO = Hello(1, "1.0", "3.11")


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[OperatorBench]:
    with OperatorBench(tmp_path, cases=CASES, parallelism=2) as made:
        yield made


def final(*results: Any) -> Segment:
    return Segment(results=tuple((result, True) for result in results))


def an_entry(kind: EventType = EventType.TRIAL_PASSED, batch_id: str = BATCH, message: str = "passed") -> AuditEntry:
    return AuditEntry(datetime(2026, 3, 1, tzinfo=UTC), kind, severity_of(kind), message, batch_id, 1, "left/one/0", 1)


# -- order -----------------------------------------------------------------------------------------------------------


def test_segments_in_order_are_written_down_before_they_are_answered(bench: OperatorBench) -> None:
    first = bench.post(1, replace(final(bench.result(0)), hello=HELLO, entries=(an_entry(),)))
    second = bench.post(2, final(bench.result(1), bench.result(2)), packed=True)

    assert (first.status, first.json) == (200, {"next": 2, "directive": ""})
    assert (second.status, second.json) == (200, {"next": 3, "directive": ""})
    assert bench.finals == [bench.result(0), bench.result(1), bench.result(2)]
    assert bench.told("TrialPassed") == ["passed"]
    assert bench.place.segments == 2
    assert bench.store.batch(BATCH).phase is Phase.RUNNING


def test_a_segment_that_comes_again_is_answered_and_not_taken_again(bench: OperatorBench) -> None:
    segment = replace(final(bench.result(0)), entries=(an_entry(),), retried=1)
    bench.post(1, segment)
    bench.post(2, final(bench.result(1)))

    again = bench.post(1, segment)

    assert (again.status, again.json) == (200, {"next": 3, "directive": ""})
    assert len(bench.finals) == 2
    assert bench.told("TrialPassed") == ["passed"]
    assert bench.told("LateResult") == []
    assert bench.batch.summary.retried == 1


def test_a_gap_is_refused_with_the_number_that_is_wanted_and_nothing_is_written(bench: OperatorBench) -> None:
    bench.post(1, final(bench.result(0)))

    refused = bench.post(3, replace(final(bench.result(1)), retried=1))

    assert (refused.status, refused.json["next"]) == (409, 2)
    assert len(bench.finals) == 1
    assert bench.place.segments == 1
    assert bench.batch.summary.retried == 0
    assert bench.post(2, final(bench.result(1))).status == 200


def test_another_operator_goes_on_where_the_last_one_was(bench: OperatorBench) -> None:
    bench.post(1, replace(final(bench.result(0)), entries=(an_entry(),)))
    bench.stop()
    bench.start()

    assert bench.post(1, replace(final(bench.result(0)), entries=(an_entry(),))).json["next"] == 2
    assert bench.post(3).json["next"] == 2
    assert bench.post(2, final(bench.result(1))).status == 200
    assert len(bench.finals) == 2
    assert bench.told("TrialPassed") == ["passed"]


def test_an_operator_that_has_just_begun_asks_workers_to_come_again_by_another_connection(bench: OperatorBench) -> None:
    bench.stop()
    bench.start(opened=False)

    for refused in (bench.ask("manifest"), bench.post(1), bench.ask("heartbeat", b'{"running": 1}')):
        assert refused.status == 503
        assert int(refused.headers["Retry-After"]) >= 1
        assert refused.headers["Connection"] == "close"


def test_a_store_that_takes_nothing_now_is_no_refusal_and_loses_nothing(bench: OperatorBench) -> None:
    bench.post(1, final(bench.result(0)))
    with closing(sqlite3.connect(bench.folder / "operator.db")) as database, database:
        database.execute("ALTER TABLE attempts RENAME TO away")

    refused = bench.post(2, final(bench.result(1)))

    assert refused.status == 503
    assert int(refused.headers["Retry-After"]) >= 1
    assert "operator.db" not in refused.body.decode()
    with closing(sqlite3.connect(bench.folder / "operator.db")) as database, database:
        database.execute("ALTER TABLE away RENAME TO attempts")
    bench.do(bench.batches.open(REF, BATCH))
    assert bench.post(2, final(bench.result(1))).json["next"] == 3
    assert len(bench.finals) == 2


# -- the plan --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"trial_id": "left/two/0"},
        {"trial_id": "x"},
        {"combination": "right"},
        {"case": "two"},
        {"repeat": 1},
        {"weight": 2.0},
        {"epoch": 2},
        {"ordinal": 1},
        {"ordinal": 3},
        {"ordinal": 9_999_999},
    ],
)
def test_a_result_that_contradicts_the_plan_is_refused(bench: OperatorBench, changes: dict[str, Any]) -> None:
    refused = bench.post(1, final(replace(bench.result(0), **changes)))

    assert refused.status == 400
    assert "has no trial" in refused.json["error"]
    assert bench.finals == []
    assert bench.place.segments == 0


@pytest.mark.parametrize("second", [{}, {"attempt": 2}])
def test_a_segment_in_which_a_trial_ends_twice_is_refused(bench: OperatorBench, second: dict[str, Any]) -> None:
    refused = bench.post(1, final(bench.result(0), bench.result(0, **second)))

    assert refused.status == 400
    assert "ends twice" in refused.json["error"]
    assert bench.batch.summary.finished == 0


def test_an_attempt_and_the_one_that_follows_it_may_come_together(bench: OperatorBench) -> None:
    lost = bench.result(0, outcome=Outcome.ERRORED, reason=Reason.WORKER_LOST)

    taken = bench.post(1, Segment(results=((lost, False), (bench.result(0, attempt=2), True)), retried=1))

    assert taken.status == 200
    assert [(result.attempt, result.outcome) for result in bench.attempts] == [(1, "Errored"), (2, "Passed")]
    assert [result.attempt for result in bench.finals] == [2]


def test_that_a_trial_was_not_run_is_not_for_a_worker_to_say(bench: OperatorBench) -> None:
    refused = bench.post(1, final(bench.result(0, outcome=Outcome.NOT_RUN)))

    assert refused.status == 400
    assert "not a worker's to tell" in refused.json["error"]


def test_an_entry_of_another_batch_is_refused(bench: OperatorBench) -> None:
    refused = bench.post(1, Segment(entries=(an_entry(batch_id="another"),)))

    assert refused.status == 400
    assert "of batch another" in refused.json["error"]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'"x"', b"[" * 100_000, b"\xff\xfe", b'{"results": 1}', b"1e400", b"9" * 5000]
)
def test_a_body_that_is_no_segment_is_refused_with_a_sentence(bench: OperatorBench, body: bytes) -> None:
    refused = bench.ask("segments/1", body)

    assert refused.status == 400
    assert refused.json["error"]
    assert "Traceback" not in refused.json["error"]


# -- what follows ----------------------------------------------------------------------------------------------------


def test_the_first_word_and_the_last_and_the_last_result_have_the_batch_looked_at(bench: OperatorBench) -> None:
    bench.post(1, replace(final(bench.result(0)), hello=HELLO))
    assert bench.woken == [REF.uid]
    bench.post(2, final(bench.result(1)))
    assert bench.woken == [REF.uid]

    bench.post(3, final(bench.result(2)))
    bench.post(4, Segment(done=Done("")))

    assert bench.woken == [REF.uid] * 3
    assert bench.place.done_stop == ""


def test_a_worker_that_is_quicker_than_the_next_look_at_its_place_makes_it_ready(bench: OperatorBench) -> None:
    bench.post(1, Segment(hello=HELLO))
    bench.post(2, final(bench.result(0)))

    assert bench.place.ready_at is not None
    assert bench.place.state is EnvironmentState.RUNNING
    assert len(bench.told("EnvironmentReady")) == 1


def test_what_was_wrong_with_the_workflow_is_kept_with_the_place_and_bounded(bench: OperatorBench) -> None:
    faults = tuple(Fault("spec.workflow", str(number), "x" * 5000) for number in range(500))

    bench.post(1, Segment(done=Done(Reason.WORKFLOW_INVALID, "500 faults", faults)))

    assert bench.place.done_stop == Reason.WORKFLOW_INVALID
    assert "spec.workflow: 0: xxx" in bench.place.message
    assert "and 490 more" in bench.place.message
    assert len(bench.place.message) < 12_000


@pytest.mark.parametrize(("running", "shown"), [(0, 0), (1, 1), (2, 2), (10_000_000, 2)])
def test_how_much_runs_is_what_the_worker_says_within_reason(bench: OperatorBench, running: int, shown: int) -> None:
    bench.ask("heartbeat", json.dumps({"running": running}).encode())
    assert bench.batch.running == shown
    bench.post(1, Segment(running=running))
    assert bench.batch.running == shown
    assert bench.batch.heard_at is not None


def test_workers_that_were_given_up_are_counted_until_another_place_begins(bench: OperatorBench) -> None:
    bench.post(1, Segment(hello=HELLO, abandoned=1))
    bench.post(2, Segment(abandoned=2))
    assert bench.batch.abandoned == 3

    bench.next_place()
    bench.post(1, Segment(hello=HELLO), attempt=2)

    assert bench.batch.abandoned == 0


@pytest.mark.parametrize(
    ("asked", "directive"),
    [
        ({}, ""),
        ({"suspend": True}, "Suspend"),
        ({"cancel": True}, "Cancel"),
        ({"cancel": True, "suspend": True}, "Cancel"),
        ({"exists": False}, "Cancel"),
    ],
)
def test_what_the_user_wants_is_told_with_every_receipt_and_heartbeat(
    bench: OperatorBench, asked: dict[str, Any], directive: str
) -> None:
    bench.ask_of_worker(**asked)

    assert bench.post(1).json == {"next": 2, "directive": directive}
    assert bench.post(1).json == {"next": 2, "directive": directive}
    assert bench.ask("heartbeat", b'{"running": 0}').json == {"directive": directive}


def test_budgets_that_were_exceeded_are_counted_by_scope_and_kind(bench: OperatorBench) -> None:
    over = bench.result(0, outcome=Outcome.FAILED, reason=Reason.TOKEN_BUDGET_EXCEEDED)
    told = replace(an_entry(EventType.BUDGET_EXCEEDED), details={"scope": "batch", "kind": "cost"})
    segment = replace(final(over), entries=(told,))

    bench.post(1, segment)
    bench.post(1, segment)

    text = bench.metrics.render()[0].decode()
    assert 'batchyard_budget_exceeded_total{kind="tokens",scope="trial"} 1.0' in text
    assert 'batchyard_budget_exceeded_total{kind="cost",scope="batch"} 1.0' in text
    assert 'batchyard_budget_exceeded_total{kind="steps",scope="trial"} 0.0' in text


def test_the_next_place_is_told_what_the_batch_has_used_so_far(tmp_path: Path) -> None:
    with OperatorBench(tmp_path, cases=CASES, budgets={"batch": {"cost": 10}}) as bench:
        broken = bench.result(1, outcome=Outcome.ERRORED, reason=Reason.WORKER_LOST, metrics={"cost": 0.25})
        done = bench.result(0, metrics={"tokens": 40, "cost": 0.5, "steps": 3})
        bench.post(1, Segment(results=((done, True), (broken, False))))
        bench.next_place()

        manifest = Manifest.from_json(bench.ask("manifest", attempt=2).json)

    assert manifest.used == {"steps": 3, "tokens": 40, "cost": 0.75}


def test_a_batch_whose_budget_cut_it_short_ends_so_even_if_its_worker_never_says_why(bench: OperatorBench) -> None:
    cut = bench.result(0, outcome=Outcome.CANCELLED, reason=Reason.BATCH_BUDGET_EXCEEDED)
    bench.post(1, final(cut, bench.result(1), bench.result(2)))

    bench.conclude()

    ended = bench.store.batch(BATCH)
    assert (ended.phase, ended.reason) == (Phase.FAILED, Reason.BATCH_BUDGET_EXCEEDED)


def test_what_a_segment_tells_is_counted_once(bench: OperatorBench) -> None:
    boundaries = (NodeBoundary("n", "completed", 0.5, exit_checkpoint="c1"), NodeBoundary("m", "failed", 0.5))
    timed_out = bench.result(1, outcome=Outcome.TIMED_OUT, reason=Reason.BATCH_DEADLINE_EXCEEDED)
    segment = Segment(
        results=(
            (bench.result(0, outcome=Outcome.ERRORED, reason=Reason.WORKER_LOST), False),
            (timed_out, True),
            (bench.result(2, boundaries=boundaries), True),
        ),
        retried=1,
        dropped=4,
        kills={"TERM": 2, "KILL": 1},
        overruns=(("batch", 0.25),),
    )
    bench.post(1, segment)
    bench.post(1, segment)

    text = bench.metrics.render()[0].decode()
    samples = dict(line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#"))
    wanted = {
        'trials_total{outcome="Passed",runner="Threads"}': 1,
        'trials_total{outcome="TimedOut",runner="Threads"}': 1,
        'trial_retries_total{reason="WorkerLost"}': 1,
        'deadline_exceeded_total{scope="batch"}': 1,
        'deadline_exceeded_total{scope="trial"}': 0,
        'deadline_overrun_seconds_count{scope="batch"}': 1,
        'kills_total{signal="SIGTERM"}': 2,
        'kills_total{signal="SIGKILL"}': 1,
        "node_duration_seconds_count": 2,
        "checkpoints_total": 1,
        "audit_dropped_total": 4,
    }
    assert {name: float(samples[f"batchyard_{name}"]) for name in wanted} == wanted


# -- the manifest ----------------------------------------------------------------------------------------------------


def test_a_manifest_says_what_is_left_to_do(bench: OperatorBench) -> None:
    lost = bench.result(1, outcome=Outcome.ERRORED, reason=Reason.WORKER_LOST)
    bench.post(1, Segment(results=((bench.result(0), True), (lost, False))))
    bench.next_place()

    manifest = Manifest.from_json(bench.ask("manifest", attempt=2).json)

    assert (manifest.batch_id, manifest.name, manifest.attempt, manifest.protocol) == (BATCH, "bench", 2, 1)
    assert manifest.document == bench.loaded.to_json()
    assert manifest.deadline_at == bench.store.batch(BATCH).deadline_at
    assert manifest.finished == ((0, 0),)
    assert (manifest.attempts, manifest.errors) == ({1: 1}, {1: 1})
    assert manifest.runner == "Threads"


def test_a_driver_that_is_there_before_its_workers_is_too_early_and_not_heard_of(tmp_path: Path) -> None:
    with OperatorBench(tmp_path, provider="KubeRay") as bench:
        refused = bench.ask("manifest")
        assert (refused.status, refused.json["error"]) == (425, f"place 1 of batch {BATCH} is not ready yet")
        assert bench.batch.heard_at is None
        bench.change_place(started_at=bench.clock.now())

        assert bench.ask("manifest").status == 200


def test_the_driver_of_a_head_that_was_replaced_gets_no_manifest(tmp_path: Path) -> None:
    with OperatorBench(tmp_path, provider="KubeRay") as bench:
        bench.change_place(started_at=bench.clock.now(), identity="session_1@the-head")

        assert bench.ask("manifest", X_Batchyard_Pod="another-head").status == 410
        assert bench.ask("manifest", X_Batchyard_Pod="the-head").status == 200
        assert bench.ask("manifest").status == 200


def test_a_manifest_can_be_asked_for_until_its_worker_has_spoken_and_then_by_nobody(bench: OperatorBench) -> None:
    assert bench.ask("manifest").status == bench.ask("manifest").status == 200
    bench.post(1, Segment(hello=HELLO))

    refused = bench.ask("manifest")

    assert refused.status == 410
    assert "has a worker already" in refused.json["error"]
