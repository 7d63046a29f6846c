"""Workers as real processes whose operator goes away: nothing is lost, nothing runs twice, no deadline waits for it."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import pytest

from batch_bench import cases
from batchyard.model.outcome import Outcome, Reason
from batchyard.model.wire import Segment
from runner_bench import CLOCK, await_all_dead, await_true, is_alive, lines_of
from worker_bench import OperatorBench, WorkerProcess

if TYPE_CHECKING:
    from pathlib import Path

GRACE = 0.3
DEADLINES = {"batchSeconds": 20, "trialSeconds": 20, "graceSeconds": GRACE}
MIB = 1024**2
LARGE = {"seen": {"x" * 60_000: True}}
"""A state that makes every result large."""


def begun(log: Path) -> list[str]:
    return [line.removeprefix("begin left/") for line in lines_of(log) if line.startswith("begin ")]


def spooled(worker: WorkerProcess) -> int:
    """Return how many bytes wait in the worker's spool."""
    files = (worker.folder / "spool" / "segments").glob("*.json")
    total = 0
    for file in files:
        try:
            total += file.stat().st_size
        except FileNotFoundError:
            continue  # it was just sent
    return total


def pause(seconds: float) -> None:
    """Let time pass, since that is what an outage is."""
    until = CLOCK.monotonic() + seconds
    await_true(lambda: CLOCK.monotonic() >= until, "the end of the outage")


# -- away for a while ------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("seconds", [8, 60])
def test_an_operator_that_is_away_for_a_while_loses_nothing_and_nothing_runs_twice(
    tmp_path: Path, seconds: float
) -> None:
    log = tmp_path / "log"
    names = [f"case-{number}" for number in range(24)]
    with OperatorBench(
        tmp_path, "observed:build", cases=cases(*names, log=str(log), seconds=seconds / 12), parallelism=2
    ) as bench:
        with WorkerProcess(bench) as worker:
            worker.until(lambda: len(bench.finals) >= 2, "the first results")
            bench.stop()
            before = len(bench.finals)
            for _ in range(int(seconds / 4)):
                pause(4)
            went_on = len(begun(log)) > before + 2
            bench.start()
            assert worker.wait(90) == 0, worker.words

        assert went_on
        assert [result.outcome for result in bench.finals] == [Outcome.PASSED] * len(names)
        assert len(bench.attempts) == len(names)
        assert sorted(begun(log)) == sorted(names)
        assert len(bench.told("TrialPassed")) == len(names)
        assert bench.told("LateResult") == []
        assert bench.place.done_stop == ""


@pytest.mark.slow
def test_trials_are_held_up_when_the_spool_is_full_and_go_on_when_the_operator_is_back(tmp_path: Path) -> None:
    log = tmp_path / "log"
    names = [f"case-{number}" for number in range(60)]
    with OperatorBench(tmp_path, "observed:build", cases=cases(*names, log=str(log)), initialState=LARGE) as bench:
        with WorkerProcess(bench, BATCHYARD_SPOOL_LIMIT=str(MIB)) as worker:
            worker.until(lambda: bench.place.segments, "the first word")
            bench.stop()
            worker.until(lambda: spooled(worker) >= MIB, "the spool to be full")
            pause(4)
            begun_before = len(begun(log))
            pause(2)
            held_up_at = len(begun(log))
            at_most = spooled(worker)
            bench.start()
            assert worker.wait(90) == 0, worker.words

        assert held_up_at == begun_before < len(names)
        assert at_most < 3 * MIB
        assert [result.outcome for result in bench.finals] == [Outcome.PASSED] * len(names)
        assert sorted(begun(log)) == sorted(names)


# -- away for good ---------------------------------------------------------------------------------------------------


@pytest.fixture
def hanging(tmp_path: Path) -> Path:
    """A folder with a workflow whose import does not end."""
    folder = tmp_path / "hanging"
    folder.mkdir()
    (folder / "hanging.py").write_text(
        "import os, pathlib, threading\n"
        f"pathlib.Path({str(tmp_path)!r}, 'imported').write_text(str(os.getpid()))\n"
        "threading.Event().wait()\n"
    )
    return folder


def ended_by(bench: OperatorBench, pids: list[int]) -> float:
    """Wait until none of the processes runs; return how many seconds after the batch's deadline that was."""
    await_true(lambda: not any(map(is_alive, pids)), "the end of every process of a trial")
    return (bench.clock.now() - bench.store.batch(bench.batch.id).deadline_at).total_seconds()


@pytest.mark.slow
@pytest.mark.hostile
def test_a_batch_deadline_is_kept_by_the_worker_alone(tmp_path: Path) -> None:
    acts = ("ignores_sigterm_and_sleeps", "forks_grandchildren", "holds_the_gil")
    (tmp_path / "pids").mkdir()
    spec: dict[str, Any] = {
        "variants": {"include": [{"name": act.replace("_", "-"), "variants": {"act": act}} for act in acts]},
        "cases": [{"name": "one", "input": {"pids": str(tmp_path / "pids")}}],
        "deadlines": DEADLINES,
        "parallelism": 3,
    }
    with OperatorBench(tmp_path, "hostile:build", **spec) as bench:
        with WorkerProcess(bench, BATCHYARD_PATIENCE="3") as worker:
            worker.until(lambda: len([*(tmp_path / "pids").iterdir()]) == 5, "the acts and their grandchildren")
            bench.stop()
            late = ended_by(bench, [int(file.read_text()) for file in (tmp_path / "pids").iterdir()])
            code = worker.wait(30)
            below = worker.processes

        assert 0 <= late <= GRACE + 2
        assert code == 4
        assert below == []
        assert bench.finals == []


@pytest.mark.slow
@pytest.mark.hostile
def test_a_batch_deadline_is_kept_while_the_workflow_is_still_imported(tmp_path: Path, hanging: Path) -> None:
    with OperatorBench(tmp_path, "hanging:build", deadlines=DEADLINES) as bench:
        with WorkerProcess(bench, BATCHYARD_SOURCE=str(hanging), BATCHYARD_PATIENCE="3") as worker:
            worker.until(lambda: (tmp_path / "imported").exists(), "the import to hang")
            bench.stop()
            late = ended_by(bench, [int((tmp_path / "imported").read_text())])
            bench.start()
            assert worker.wait(30) == 0, worker.words

        assert 0 <= late <= 2
        assert bench.place.done_stop == Reason.BATCH_DEADLINE_EXCEEDED
        assert len(bench.told("DeadlineExceeded")) == 1


@pytest.mark.slow
@pytest.mark.hostile
def test_a_batch_deadline_is_kept_while_trials_are_held_up(tmp_path: Path) -> None:
    spec: dict[str, Any] = {
        "cases": cases(*[f"case-{number}" for number in range(60)]),
        "initialState": LARGE,
        "deadlines": DEADLINES,
    }
    with OperatorBench(tmp_path, "observed:build", **spec) as bench:
        with WorkerProcess(bench, BATCHYARD_PATIENCE="3", BATCHYARD_SPOOL_LIMIT=str(MIB)) as worker:
            worker.until(lambda: bench.place.segments, "the first word")
            bench.stop()
            worker.until(lambda: spooled(worker) >= MIB, "the spool to be full")
            code = worker.wait(50)
            late = (bench.clock.now() - bench.store.batch(bench.batch.id).deadline_at).total_seconds()

        assert code == 4
        assert 0 <= late <= GRACE + 3 + 4


@pytest.mark.slow
def test_a_worker_whose_operator_never_comes_back_gives_up_and_says_so(tmp_path: Path) -> None:
    with OperatorBench(tmp_path, "observed:build", cases=cases("one", until=str(tmp_path / "gate"))) as bench:
        with WorkerProcess(bench, BATCHYARD_PATIENCE="2") as worker:
            worker.until(lambda: bench.place.segments, "the first word")
            bench.stop()
            (tmp_path / "gate").touch()
            assert worker.wait() == 4

        assert "not every result could be sent" in worker.words
        assert bench.finals == []


def test_a_worker_that_never_finds_its_operator_gives_up(tmp_path: Path) -> None:
    with OperatorBench(tmp_path) as bench:
        bench.stop()
        with WorkerProcess(bench, BATCHYARD_PATIENCE="1") as worker:
            assert worker.wait(30) == 4
        assert "did not answer manifest" in worker.words


def test_a_worker_that_is_earlier_than_its_operator_waits_for_it(tmp_path: Path) -> None:
    with OperatorBench(tmp_path) as bench:
        bench.stop()
        with WorkerProcess(bench) as worker:
            worker.until(lambda: "no manifest yet" in worker.words, "the worker to be in vain")
            bench.start(opened=False)
            worker.until(lambda: "503" in worker.words, "the operator that has just begun")
            bench.stop()
            bench.start()
            assert worker.wait() == 0, worker.words

        assert [result.outcome for result in bench.finals] == [Outcome.PASSED]


def test_a_worker_that_is_earlier_than_the_rest_of_its_place_waits_however_long_that_takes(tmp_path: Path) -> None:
    with OperatorBench(tmp_path, provider="KubeRay") as bench:
        with WorkerProcess(bench, BATCHYARD_PATIENCE="0") as worker:
            worker.until(lambda: bench.meter.answered.count(("manifest", 425)) >= 3, "the worker to ask again")
            bench.provider = "InProcess"
            bench.next_place()
            assert worker.wait() == 0, worker.words

        assert bench.finals == []
        assert "there is nothing to do for this worker" in worker.words


# -- ended from outside ----------------------------------------------------------------------------------------------


def waiting(tmp_path: Path) -> dict[str, Any]:
    """Return a trial that ends at once and one that waits."""
    log = str(tmp_path / "log")
    gate = str(tmp_path / "gate")
    return {"cases": [*cases("free", log=log), *cases("waits", log=log, until=gate)], "parallelism": 1}


def test_a_worker_that_is_told_to_end_ends_its_trials_and_sends_what_it_has(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with OperatorBench(tmp_path, "observed:build", **waiting(tmp_path)) as bench:
        with WorkerProcess(bench) as worker:
            worker.until(lambda: begun(log) == ["free", "waits"], "the second trial to wait")
            below = worker.processes
            worker.signal(signal.SIGTERM)
            assert worker.wait() == 0, worker.words

        await_all_dead(below)
        assert bench.place.done_stop == Reason.INTERRUPTED
        assert [result.case for result in bench.finals] == ["free"]
        assert [(r.case, r.outcome) for r in bench.attempts] == [("free", "Passed"), ("waits", "Cancelled")]
        assert bench.told("BatchInterrupted") == ["interrupted with 1 of 2 trials left"]


def test_a_worker_that_is_told_to_end_during_the_import_does_so(tmp_path: Path, hanging: Path) -> None:
    with OperatorBench(tmp_path, "hanging:build") as bench:
        with WorkerProcess(bench, BATCHYARD_SOURCE=str(hanging)) as worker:
            worker.until(lambda: (tmp_path / "imported").exists(), "the import to hang")
            worker.signal(signal.SIGTERM)
            assert worker.wait(25) == 0, worker.words

        await_all_dead([int((tmp_path / "imported").read_text())])
        assert bench.place.done_stop == Reason.INTERRUPTED


@pytest.mark.slow
def test_a_worker_that_is_told_to_end_while_its_operator_is_away_is_gone_before_it_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with OperatorBench(tmp_path, "observed:build", **waiting(tmp_path)) as bench, WorkerProcess(bench) as worker:
        worker.until(lambda: begun(log) == ["free", "waits"], "the second trial to wait")
        bench.stop()
        worker.signal(signal.SIGTERM)
        assert worker.wait(29) == 4


@pytest.mark.kill
def test_a_worker_that_is_killed_takes_every_process_of_its_trials_along(tmp_path: Path) -> None:
    (tmp_path / "pids").mkdir()
    spec: dict[str, Any] = {
        "variants": {"include": [{"name": "forks", "variants": {"act": "forks_grandchildren"}}]},
        "cases": [{"name": "one", "input": {"pids": str(tmp_path / "pids")}}],
    }
    with OperatorBench(tmp_path, "hostile:build", **spec) as bench:
        with WorkerProcess(bench) as worker:
            worker.until(lambda: len([*(tmp_path / "pids").iterdir()]) == 3, "the node and its grandchildren")
            below = {*worker.processes, *(int(file.read_text()) for file in (tmp_path / "pids").iterdir())}
            worker.signal(signal.SIGKILL)
            assert worker.wait() == -signal.SIGKILL

        await_all_dead(below)
        assert len(below) >= 5
        # What it had not told is not known; the next place runs it.
        bench.next_place()
        assert bench.post(2, Segment()).status == 410
