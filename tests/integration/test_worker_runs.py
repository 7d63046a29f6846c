"""``batchyard worker`` as its pod starts it, against a real endpoint: what arrives is what a local run gives."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pytest

from batch_bench import BatchBench, cases
from batchyard.engine.looking import case_by_case, looks_of
from batchyard.model.outcome import Outcome, Reason
from batchyard.model.wire import Hello, Segment
from runner_bench import await_all_dead, lines_of
from tls_authority import authority
from worker_bench import BATCH, OperatorBench, WorkerProcess

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from batchyard.compose import LocalEngine
    from batchyard.model.trial import AttemptResult

HOSTILE = ("ok", "ignores_sigterm_and_sleeps", "os_exit", "raises", "recursion", "unserialisable", "interrupts")


def what_came_out(results: Sequence[AttemptResult]) -> list[dict[str, Any]]:
    """Return all of each result but its times and places, which no two runs have alike."""
    found = []
    for result in results:
        fields = {**asdict(result), "boundaries": [(one.node, one.status, one.step) for one in result.boundaries]}
        for name in ("started_at", "ended_at", "duration_seconds", "thread_id", "worker", "epoch"):
            del fields[name]
        found.append(fields)
    return sorted(found, key=lambda fields: (fields["ordinal"], fields["attempt"]))


@pytest.mark.slow
def test_every_result_arrives_and_equals_that_of_a_local_run(engine: LocalEngine, tmp_path: Path) -> None:
    spec: dict[str, Any] = {
        "variants": {"matrix": {"side": ["left", "right"], "depth": ["1", "2"]}},
        "cases": [
            {"name": "right", "input": {"case": "größer 🙂"}, "expected": {"count": 5}, "weight": 2},
            {"name": "wrong", "input": {"case": "x"}, "expected": {"count": 6}},
        ],
        "evaluation": {"evaluators": [{"name": "exactMatch", "config": {"field": "count"}}]},
        "repeats": 3,
    }
    (tmp_path / "local").mkdir()
    local = BatchBench(engine, tmp_path / "local")
    ran = local.run(local.load("noop:build", **spec))
    local.store.close()

    with OperatorBench(tmp_path, "noop:build", **spec) as bench, WorkerProcess(bench) as worker:
        assert worker.wait() == 0, worker.words

        assert what_came_out(bench.attempts) == what_came_out(ran.attempts)
        assert [result.ordinal for result in bench.finals] == [*range(24)]
        assert Counter(result.outcome for result in bench.finals) == {Outcome.PASSED: 12, Outcome.FAILED: 12}
        assert len(bench.told("TrialPassed")) == len(bench.told("TrialFailed")) == 12
        assert (bench.place.done_stop, bench.batch.open_trials) == ("", 0)
        assert {result.epoch for result in bench.finals} == {1}


@pytest.mark.slow
@pytest.mark.hostile
def test_trials_that_fight_end_in_a_cluster_as_they_do_locally(engine: LocalEngine, tmp_path: Path) -> None:
    (tmp_path / "pids").mkdir()
    spec: dict[str, Any] = {
        "variants": {"include": [{"name": act.replace("_", "-"), "variants": {"act": act}} for act in HOSTILE]},
        "cases": [{"name": "one", "input": {"pids": str(tmp_path / "pids")}}],
        "limits": {"recursionLimit": 12},
        "deadlines": {"batchSeconds": 120, "trialSeconds": 2, "graceSeconds": 0.3},
    }
    (tmp_path / "local").mkdir()
    local = BatchBench(engine, tmp_path / "local")
    ran = local.run(local.load("hostile:build", **spec))
    local.store.close()

    with OperatorBench(tmp_path, "hostile:build", **spec) as bench, WorkerProcess(bench) as worker:
        assert worker.wait(90) == 0, worker.words

        assert [(r.combination, r.attempt, r.outcome, r.reason) for r in bench.attempts] == [
            (r.combination, r.attempt, r.outcome, r.reason) for r in ran.attempts
        ]
        assert len(bench.told("TrialRetried")) == bench.batch.summary.retried == 1
        samples = bench.metrics.render()[0].decode()
        assert 'batchyard_kills_total{signal="SIGKILL"} 1.0' in samples
        assert 'batchyard_deadline_exceeded_total{scope="trial"} 1.0' in samples
    await_all_dead([int(file.read_text()) for file in (tmp_path / "pids").iterdir()])


def test_a_second_place_runs_what_the_first_one_left_and_nothing_else(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with OperatorBench(tmp_path, "observed:build", cases=cases("one", "two", "three", log=str(log))) as bench:
        lost = bench.result(1, outcome=Outcome.ERRORED, reason=Reason.WORKER_LOST)
        bench.post(1, Segment(results=((bench.result(0), True), (lost, False)), hello=Hello(1, "1", "3")))
        bench.next_place()

        with WorkerProcess(bench, attempt=2) as worker:
            assert worker.wait() == 0, worker.words

        assert [(result.ordinal, result.attempt, result.epoch) for result in bench.finals] == [
            (0, 1, 1), (1, 2, 2), (2, 1, 2),
        ]  # fmt: skip
        assert sorted(lines_of(log)) == ["begin left/three", "begin left/two", "end left/three", "end left/two"]
        assert bench.told("BatchResumed") == ["resumed with 1 of 3 trials finished"]


def test_a_first_place_runs_nothing_that_was_carried_over_from_another_batch(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with OperatorBench(tmp_path, "observed:build", cases=cases("one", "two", log=str(log))) as bench:
        carried = bench.result(0, epoch=0, thread_id="other-1/left/one/0#1@1")
        bench.do(bench.batches.commit(bench.batch, results=[(carried, True)]))

        with WorkerProcess(bench) as worker:
            assert worker.wait() == 0, worker.words

        assert [(result.ordinal, result.epoch) for result in bench.finals] == [(0, 0), (1, 1)]
        assert sorted(lines_of(log)) == ["begin left/two", "end left/two"]


def test_a_failure_ends_the_batch_if_it_is_to_fail_fast(tmp_path: Path) -> None:
    names = [f"case-{number}" for number in range(6)]
    spec: dict[str, Any] = {"cases": cases(*names, error="wrong"), "failFast": True, "parallelism": 1}
    with OperatorBench(tmp_path, "observed:build", **spec) as bench, WorkerProcess(bench) as worker:
        assert worker.wait() == 0, worker.words

        assert bench.place.done_stop == Reason.FAIL_FAST
        assert 1 <= len(bench.finals) < len(names)


def test_a_workflow_that_cannot_be_built_is_told_with_every_fault(tmp_path: Path) -> None:
    with OperatorBench(tmp_path, "hostile:build", variants={"matrix": {"act": ["dances", "sings"]}}) as bench:
        with WorkerProcess(bench) as worker:
            assert worker.wait() == 0, worker.words

        assert bench.place.done_stop == Reason.WORKFLOW_INVALID
        assert "'dances' is not one of" in bench.place.message
        assert "'sings' is not one of" in bench.place.message
        assert bench.finals == []


def test_a_secret_that_is_mounted_is_masked_wherever_a_trial_says_it(tmp_path: Path) -> None:
    secrets = tmp_path / "secrets" / "0"
    secrets.mkdir(parents=True)
    (secrets / "plain-name").write_text("hunter2-hunter2\n")
    spec: dict[str, Any] = {"cases": cases("one", leak="PLAIN_NAME")}
    env: dict[str, Any] = {"BATCHYARD_SECRET_FILES": str(tmp_path / "secrets"), "PLAIN_NAME": "hunter2-hunter2"}
    with OperatorBench(tmp_path, "observed:build", **spec) as bench, WorkerProcess(bench, **env) as worker:
        assert worker.wait() == 0, worker.words

        (result,) = bench.finals
        assert "refused: [redacted]" in result.message
        assert "hunter2" not in repr(bench.finals) + repr(bench.trail) + worker.words


def test_a_worker_speaks_tls_if_the_operator_does(tmp_path: Path) -> None:
    from batchyard.kube.tls import TlsFiles

    trusted = authority(tmp_path / "ca")
    trusted.sign(tmp_path / "tls.crt", tmp_path / "tls.key")
    bench = OperatorBench(tmp_path)
    bench.tls = TlsFiles(tmp_path / "tls.crt", tmp_path / "tls.key").context
    with bench:
        url = f"https://localhost:{bench.port}"
        with WorkerProcess(bench, url=url, BATCHYARD_CA_FILE=str(trusted.certificate)) as worker:
            assert worker.wait() == 0, worker.words

        assert [result.outcome for result in bench.finals] == [Outcome.PASSED]


# -- told to stop ----------------------------------------------------------------------------------------------------


def gated(tmp_path: Path, *names: str) -> dict[str, Any]:
    """Return trials that log their begin and wait for a file; the first one does not wait."""
    gate = str(tmp_path / "gate")
    waiting = cases(*names, log=str(tmp_path / "log"), until=gate)
    return {"cases": [*cases("free", log=str(tmp_path / "log")), *waiting], "parallelism": 2}


@pytest.mark.slow
def test_a_suspended_batch_is_left_to_the_next_place_which_runs_no_finished_trial_again(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with OperatorBench(tmp_path, "observed:build", **gated(tmp_path, "one", "two", "three")) as bench:
        with WorkerProcess(bench) as worker:
            worker.until(lambda: bench.finals and "begin left/one" in lines_of(log), "the first trial to wait")
            bench.ask_of_worker(suspend=True)
            assert worker.wait() == 0, worker.words

        assert bench.place.done_stop == Reason.SUSPENDED
        assert [result.case for result in bench.finals] == ["free"]
        assert len(bench.told("BatchInterrupted")) == 1

        (tmp_path / "gate").touch()
        bench.ask_of_worker()
        bench.next_place()
        with WorkerProcess(bench, attempt=2) as worker:
            assert worker.wait() == 0, worker.words

        assert [result.outcome for result in bench.finals] == [Outcome.PASSED] * 4
        assert lines_of(log).count("begin left/free") == 1


def test_a_cancelled_batch_ends_with_its_running_trials_cancelled(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with OperatorBench(tmp_path, "observed:build", **gated(tmp_path, "one", "two", "three")) as bench:
        with WorkerProcess(bench) as worker:
            worker.until(lambda: bench.finals and "begin left/one" in lines_of(log), "the first trial to wait")
            bench.ask_of_worker(cancel=True)
            assert worker.wait() == 0, worker.words

        assert bench.place.done_stop == Reason.CANCELLED
        outcomes = Counter(result.outcome for result in bench.finals)
        assert outcomes[Outcome.PASSED] == 1
        assert outcomes[Outcome.CANCELLED] in {1, 2}
        assert set(outcomes) == {Outcome.PASSED, Outcome.CANCELLED}


def test_a_worker_whose_place_was_taken_away_ends_its_trials_and_itself_quietly(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with OperatorBench(tmp_path, "observed:build", **gated(tmp_path, "one", "two")) as bench:
        with WorkerProcess(bench) as worker:
            worker.until(lambda: bench.finals and "begin left/one" in lines_of(log), "the first trial to wait")
            below = worker.processes
            bench.next_place()
            assert worker.wait() == 0, worker.words

        await_all_dead(below)
        assert [result.case for result in bench.finals] == ["free"]
        assert "Traceback" not in worker.words


def test_a_worker_with_a_wrong_token_ends_loudly_at_once(tmp_path: Path) -> None:
    with OperatorBench(tmp_path) as bench:
        bench.key = b"another"
        with WorkerProcess(bench) as worker:
            assert worker.wait() == 4
        assert "refused manifest with 401" in worker.words or "manifest with 401" in worker.words
        assert bench.place.segments == 0


def test_a_worker_for_a_batch_that_is_over_has_nothing_to_do(tmp_path: Path) -> None:
    with OperatorBench(tmp_path) as bench:
        bench.conclude(Reason.CANCELLED)
        with WorkerProcess(bench) as worker:
            assert worker.wait() == 0, worker.words
        assert bench.place.segments == 0


def test_a_second_place_goes_on_with_what_is_left_of_the_batchs_budget(tmp_path: Path) -> None:
    spec: dict[str, Any] = {
        "variants": {"matrix": {"act": ["modest"]}},  # it uses 500 tokens
        "cases": cases("one", "two", "three", "four"),
        "parallelism": 1,
        "budgets": {"batch": {"tokens": 1300}},
    }
    with OperatorBench(tmp_path, "spending:build", **spec) as bench:
        lost = bench.result(0, outcome=Outcome.ERRORED, reason=Reason.WORKER_LOST, metrics={"tokens": 400})
        bench.post(1, Segment(results=((lost, False),), hello=Hello(1, "1", "3")))
        bench.next_place()

        with WorkerProcess(bench, attempt=2) as worker:
            assert worker.wait() == 0, worker.words
        stop = bench.place.done_stop
        bench.conclude(stop or "")

        assert stop == Reason.BATCH_BUDGET_EXCEEDED
        first, second, third, fourth = (result.outcome for result in bench.finals)
        assert (first, second, fourth) == (Outcome.PASSED, Outcome.PASSED, Outcome.NOT_RUN)
        # The one slot takes up its next trial by itself, so this one may just have begun, or be over.
        assert third in {Outcome.NOT_RUN, Outcome.CANCELLED, Outcome.PASSED}
        assert bench.told("BudgetExceeded") == ["the batch is over its budget: used 1,400 tokens of 1,300 allowed"]
        assert bench.store.batch(BATCH).reason == Reason.BATCH_BUDGET_EXCEEDED


def test_a_second_place_goes_by_what_the_first_one_found_and_ends_once_it_is_decided(tmp_path: Path) -> None:
    wanted: list[Any] = [
        {"name": f"case-{number}", "input": {}, "expected": {"variants": {"side": "old"}}} for number in range(40)
    ]
    spec: dict[str, Any] = {
        "variants": {"matrix": {"side": ["old", "new"]}},
        "cases": wanted,
        "parallelism": 1,
        "evaluation": {"evaluators": [{"name": "exactMatch", "config": {"field": "variants"}}]},
        "gate": {"baseline": {"combination": "old", "sequential": {}}},
    }
    with OperatorBench(tmp_path, "noop:build", **spec) as bench:
        looks = looks_of(bench.loaded.batch.spec, bench.loaded.plan)
        assert looks is not None
        # All of the cases that the first look is to see, but the last one's.
        line = case_by_case(bench.loaded.plan, looks.order)
        failed: dict[str, Any] = {"outcome": Outcome.FAILED, "reason": Reason.BELOW_THRESHOLD, "score": 0.0}
        results = tuple(
            (bench.result(ordinal, **({"score": 1.0} if ordinal < len(wanted) else failed)), True)
            for ordinal in line[: 2 * 31]
        )
        bench.post(1, Segment(results=results, hello=Hello(1, "1", "3")))
        bench.next_place()

        with WorkerProcess(bench, attempt=2) as worker:
            assert worker.wait() == 0, worker.words
        stop = bench.place.done_stop
        bench.conclude(stop or "")

        assert stop == Reason.DECIDED_EARLY
        assert bench.told("DecidedEarly") == ["look 1 of 3: Failed"]
        ended = {result.ordinal: result.outcome for result in bench.finals if result.epoch == 2}
        assert [ended[ordinal] for ordinal in line[62:64]] == [Outcome.PASSED, Outcome.FAILED]
        # The one slot takes up its next trial by itself, and that one may end before it is told to.
        unrun = sum(ended[ordinal] in {Outcome.NOT_RUN, Outcome.CANCELLED} for ordinal in line[65:])
        assert (len(ended), unrun) == (2 * len(wanted) - 62, 2 * len(wanted) - 65)
        assert bench.store.batch(BATCH).reason == Reason.GATE_FAILED
        checks = bench.store.batch(BATCH).status["gate"]["checks"]
        assert checks[0]["outcome"] == "Failed"


def test_each_line_of_a_workers_log_says_the_batch_and_the_place_and_the_trial_if_it_is_about_one(
    tmp_path: Path,
) -> None:
    with OperatorBench(tmp_path) as bench, WorkerProcess(bench, BATCHYARD_LOG_FORMAT="json") as worker:
        assert worker.wait() == 0, worker.words
        (ended,) = bench.finals

    lines = [json.loads(line) for line in worker.log.read_text().splitlines()]
    assert {(line["batch"], line["place"]) for line in lines} == {(BATCH, "1")}
    told = [(line["trial"], line["attempt"]) for line in lines if line.get("type") == "TrialPassed"]
    assert told == [(ended.trial_id, ended.attempt)]
