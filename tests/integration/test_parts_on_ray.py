"""Forks, files, deadlines, early endings and held executions on a local Ray: what worker processes here do too."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from batch_bench import BatchBench
from batchyard.compose import LocalEngine
from batchyard.config import RayConfig
from batchyard.engine.forks import bound
from batchyard.executions.running import Pausing
from batchyard.model.execution import ExecutionStatus
from batchyard.model.outcome import Outcome, Reason
from batchyard.model.trial import Combination
from held_bench import Desk
from ray_bench import actors_of, local_ray
from runner_bench import await_true, lines_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future
    from pathlib import Path

    from batchyard.executions.moves import Ran, Source

# As in test_agents: a Ray of its own process.
pytestmark = pytest.mark.alone

NAMES = ("a", "b")
FILES = {"paths": ["out/"], "maxFileBytes": 1000}


@pytest.fixture(scope="module")
def on_ray() -> Iterator[LocalEngine]:
    with local_ray(2.0), LocalEngine(ray=RayConfig()) as engine:
        yield engine


@pytest.fixture
def bench(on_ray: LocalEngine, tmp_path: Path) -> Iterator[BatchBench]:
    made = BatchBench(on_ray, tmp_path)
    yield made
    made.store.close()


def test_a_fork_begins_at_the_boundary_with_the_files_that_it_had(bench: BatchBench) -> None:
    spec: dict[str, Any] = {
        "cases": [{"name": name, "input": {"case": name}} for name in NAMES],
        "checkpoints": {"files": FILES, "keep": "Always"},
    }
    first = bench.run(bench.load("writing:build", name="first", **spec))

    fork = bench.load("writing:build", name="second", forkFrom={"batchTest": "first", "node": "one"}, **spec)
    forked = bench.run(bound(bench.store, fork))

    assert first.outcomes == forked.outcomes == {Outcome.PASSED: 2}
    assert [[boundary.node for boundary in final.boundaries] for final in forked.finals] == [["two"]] * 2
    assert [final.output["log"] for final in forked.finals] == [f"{name} one\n{name} two\n" for name in NAMES]


def test_a_trial_without_progress_is_ended(bench: BatchBench) -> None:
    ran = bench.run(
        bench.load(
            "hostile:build",
            variants={"matrix": {"act": ["ok", "ignores_sigterm_and_sleeps"]}},
            deadlines={"batchSeconds": 120, "trialSeconds": 60, "idleSeconds": 2, "graceSeconds": 0.3},
        )
    )

    assert ran.of("ok").outcome is Outcome.PASSED
    ended = ran.of("ignores-sigterm-and-sleeps")
    assert (ended.outcome, ended.reason) == (Outcome.TIMED_OUT, Reason.IDLE_DEADLINE_EXCEEDED)


def test_a_batch_ends_once_its_comparison_is_decided(bench: BatchBench) -> None:
    wanted = {"variants": {"side": "old"}}
    ran = bench.run(
        bench.load(
            "noop:build",
            variants={"matrix": {"side": ["old", "new"]}},
            cases=[{"name": f"case-{number}", "input": {}, "expected": wanted} for number in range(100)],
            evaluation={"evaluators": [{"name": "exactMatch", "config": {"field": "variants"}}]},
            gate={"baseline": {"combination": "old", "sequential": {}}},
            parallelism=1,  # of several actors one may be far ahead
        )
    )

    assert ran.finished.reason == Reason.GATE_FAILED
    assert [sealed.entry.message for sealed in ran.audited("DecidedEarly")] == ["look 1 of 8: Failed"]
    # Those of the first look, and of the next cases what ran or was about to.
    assert 60 <= sum(ran.outcomes.values()) - ran.outcomes[Outcome.NOT_RUN] <= 70


# -- executions that a person holds ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def desk(on_ray: LocalEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A batch that ran on Ray: one of its cases asks, one waits for a file, which is there while the batch runs."""
    bench = BatchBench(on_ray, tmp_path_factory.mktemp("held"))
    log, until = bench.folder / "log", bench.folder / "until"
    until.touch()
    states: dict[str, dict[str, Any]] = {"asks": {"asks": "well?"}, "plain": {}, "waits": {"until": str(until)}}
    loaded = bench.load(
        "steps:build",
        cases=[{"name": name, "input": {"log": str(log), **state}} for name, state in states.items()],
        variants={"matrix": {"last": ["three", "other", "again"]}},
        limits={"recursionLimit": 1_000_000},
    )
    yield Desk(bench, loaded, bench.run(loaded), log)
    bench.store.close()


@pytest.mark.proves("execution-controller")
def test_an_attempt_that_asked_is_answered_to_a_breakpoint_edited_and_gone_on_with(desk: Desk) -> None:
    before = len(lines_of(desk.log))

    answered = desk.moves.resume(desk.kept("three", "asks"), Pausing(before=("three",)), answer=["fine"]).held
    edited = desk.moves.edit(desk.now(answered), {"seen": ["edited"]}).held
    ended = desk.moves.resume(desk.now(edited))

    assert (answered.status, edited.status) == (ExecutionStatus.PAUSED, ExecutionStatus.PAUSED)
    assert ended.held.status is ExecutionStatus.COMPLETED
    assert ended.result is not None
    assert ended.result.output["seen"] == ["edited", "three"]
    assert desk.ran_since(before) == ["two", "three"]


def test_a_fork_on_ray_goes_its_own_way_as_another_combination(desk: Desk) -> None:
    before = len(lines_of(desk.log))

    forked = desk.moves.fork(desk.kept("three", "plain"), "one", Combination("other", {"last": "other"}), {})
    ended = desk.moves.resume(desk.now(forked.held))

    assert forked.result is not None
    assert forked.result.output["seen"] == ["one"]
    assert desk.ran_since(before) == ["two", "other"]
    assert ended.result is not None
    assert ended.result.output["seen"] == ["one", "two", "other"]


@contextmanager
def without_its_file(desk: Desk, combination: str) -> Iterator[tuple[Source, Future[Ran]]]:
    """Give an execution that goes on from node ``one``, and its run, while the file that ``two`` looks for is away."""
    until = desk.bench.folder / "until"
    until.unlink()
    back = desk.moves.roll_back(desk.kept(combination, "waits"), "one")
    with ThreadPoolExecutor(1) as pool:
        yield desk.now(back), pool.submit(desk.moves.resume, desk.now(back))
    until.touch()


def test_a_run_whose_actor_is_killed_stands_at_its_last_boundary_and_is_stopped(desk: Desk) -> None:
    before = len(lines_of(desk.log))
    with without_its_file(desk, "three") as (_, running):
        await_true(lambda: desk.ran_since(before) == ["two"], "the second node")
        for actor in actors_of(os.getpid()):
            os.kill(actor, signal.SIGKILL)
        lost = running.result().held
    stopped = desk.moves.stop(desk.now(lost))

    assert (lost.status, lost.reason) == (ExecutionStatus.PAUSED, Reason.WORKER_LOST)
    assert [point.nodes for point in desk.now(stopped).history][-1] == ("one",)
    assert stopped.status is ExecutionStatus.CANCELLED


def test_a_run_is_paused_from_outside(desk: Desk) -> None:
    before = len(lines_of(desk.log))
    with without_its_file(desk, "again") as (source, running):
        await_true(lambda: desk.ran_since(before)[:2] == ["two", "two"], "the second node again")
        desk.moves.pause(source)
        paused = running.result().held  # by itself it would not end

    assert (paused.status, paused.reason) == (ExecutionStatus.PAUSED, Reason.PAUSED)
    assert {*desk.ran_since(before)} == {"two"}
