"""Worker threads: cooperative only, and honest about it."""

from __future__ import annotations

import os
import select
import threading
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from batchyard.model.outcome import Outcome, Reason
from batchyard.runners.thread_worker import ThreadWorker
from batchyard.runners.worker import Setup
from batchyard.runners.workers import Gone, Message
from plain_parts import PlainParts
from runner_bench import (
    CLOCK,
    LONG,
    Bench,
    Seen,
    an_order,
    await_true,
    by_thread,
    lines_of,
    run_all,
)

if TYPE_CHECKING:
    from batchyard.engine.attempts import Order


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(by_thread(), tmp_path)


def waiting(ordinal: int, folder: Path) -> Order:
    """An order whose node waits, deaf to any stop, until ``release`` is touched."""
    state = {"started": str(folder / "started"), "until": str(folder / "release"), "marks": str(folder / "marks")}
    return an_order("waits", ordinal, state=state)


def test_a_thread_over_its_deadline_is_abandoned_unconfirmed_and_the_next_trial_runs(
    bench: Bench, tmp_path: Path
) -> None:
    with bench.runner(trial=0.3, grace=0.1) as runner:
        seen = run_all(runner, [waiting(0, tmp_path), an_order("pass", 1)])
        (tmp_path / "release").touch()

    assert (seen[0].result.outcome, seen[0].confirmed) == (Outcome.TIMED_OUT, False)
    assert seen[0].signals == ()
    assert "in node 'act'; its end could not be confirmed" in seen[0].result.message
    assert seen[0].overrun_seconds is not None
    assert seen[0].overrun_seconds < 1.1
    assert seen[1].result.outcome is Outcome.PASSED
    assert seen[1].confirmed


def test_what_an_abandoned_thread_returns_later_is_told_as_late_under_its_own_name(
    bench: Bench, tmp_path: Path
) -> None:
    with bench.runner(trial=0.3, grace=0.1) as runner:
        # Not the first order of its worker: the late one must be named, not the worker's first.
        orders = [an_order("pass", 0), waiting(1, tmp_path), an_order("pass", 2)]
        seen = run_all(runner, orders)
        (tmp_path / "release").touch()
        seen.hear(runner, lambda seen: bool(seen.late), "the late result")

    (late,) = seen.late
    assert (late.order.ordinal, late.outcome) == (1, "Cancelled")  # it stopped at its next boundary, as asked
    assert seen[1].result.outcome is Outcome.TIMED_OUT
    assert [seen[n].result.outcome for n in (0, 2)] == [Outcome.PASSED] * 2


def test_a_thread_that_stops_at_a_boundary_in_time_is_kept(bench: Bench, tmp_path: Path) -> None:
    with bench.runner(trial=0.3, grace=20.0) as runner:
        runner.submit(waiting(0, tmp_path))
        runner.submit(an_order("pass", 1))
        await_true(lambda: lines_of(tmp_path / "started"), "the begin")
        begun = CLOCK.monotonic()
        await_true(lambda: CLOCK.monotonic() > begun + 0.4, "the deadline")
        (tmp_path / "release").touch()
        seen = Seen().hear(runner, lambda seen: len(seen.ended) == 2)

    assert (seen[0].result.outcome, seen[0].confirmed) == (Outcome.TIMED_OUT, True)
    assert [boundary.node for boundary in seen[0].result.boundaries] == ["before", "act"]
    assert lines_of(tmp_path / "marks") == []
    assert seen[1].result.worker == seen[0].result.worker


@pytest.mark.parametrize(
    ("act", "outcome", "reason"),
    [
        ("raises", Outcome.FAILED, Reason.NODE_RAISED),
        ("raises-unreadable", Outcome.FAILED, Reason.NODE_RAISED),
        ("exits-politely", Outcome.FAILED, Reason.NODE_RAISED),
        ("asks", Outcome.NEEDS_INPUT, Reason.INTERRUPTED_BY_GRAPH),
        ("reports-too-much", Outcome.FAILED, Reason.STATE_NOT_SERIALISABLE),
        ("returns-surrogate", Outcome.FAILED, Reason.STATE_NOT_SERIALISABLE),
    ],
)
def test_a_trial_ends_as_it_does_in_a_process(bench: Bench, act: str, outcome: Outcome, reason: str) -> None:
    with bench.runner() as runner:
        seen = run_all(runner, [an_order(act, 0), an_order("pass", 1)])

    assert (seen[0].result.outcome, seen[0].result.reason) == (outcome, reason)
    assert seen[1].result.outcome is Outcome.PASSED


def test_a_worker_that_breaks_in_its_setup_is_told_at_once(tmp_path: Path) -> None:
    with Bench(by_thread(), tmp_path, "setup-raises").runner() as runner:
        result = run_all(runner, [an_order()])[0].result

    assert (result.outcome, result.reason) == (Outcome.ERRORED, Reason.ENVIRONMENT_FAILED)
    assert "OSError: no room on the device" in result.message


def test_a_workflow_whose_building_hangs_does_not_hang_the_runner(bench: Bench) -> None:
    orders = [an_order("pass", 0, variants={"build": "hangs"}, combination="hangs"), an_order("pass", 1)]

    with bench.runner(environment=0.3) as runner:
        seen = run_all(runner, orders)

    assert seen[0].result.reason == Reason.ENVIRONMENT_FAILED
    assert seen[1].result.outcome is Outcome.PASSED


def test_the_process_keeps_its_environment_folder_and_timers(bench: Bench) -> None:
    order = an_order("environment", 0, state={"names": ["BATCHYARD_WORKSPACE"]})

    with bench.runner() as runner:
        output = run_all(runner, [order])[0].result.output

    assert output["seen"] == {"BATCHYARD_WORKSPACE": "$BATCHYARD_WORKSPACE"}
    assert output["cwd"] == str(Path.cwd())


def test_a_closed_worker_leaves_no_thread(tmp_path: Path) -> None:
    before = threading.active_count()
    worker = ThreadWorker(PlainParts(), lambda _order, _outcome: None, CLOCK)

    worker.close()

    assert threading.active_count() == before
    assert not worker.is_fit()


def test_a_result_that_was_there_before_the_thread_was_given_up_is_heard(tmp_path: Path) -> None:
    worker = ThreadWorker(PlainParts(), lambda _order, _outcome: None, CLOCK)
    wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    worker.send({"op": "setup", "setup": asdict(Setup("f", "", "", [], 0.5, 100, "sync"))})
    answered = worker.wait(CLOCK.monotonic() + 20, wake)
    worker.send({"op": "prepare", "variants": {"act": "pass"}})
    assert select.select([wake], [], [], LONG)[0], "no answer"

    worker.kill()

    assert isinstance(answered, Message)
    assert isinstance(worker.wait(CLOCK.monotonic(), wake), Message)
    assert worker.wait(CLOCK.monotonic(), wake) == Gone(None, confirmed=False)
    worker.close()
    os.close(wake)
