"""Worker processes under code that fights: every trial ends, none reaches another, nothing is left.

Without LangGraph, so that it is quick; ``integration/test_hostile.py`` does the same with real graphs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from batchyard.engine.attempts import Stop
from batchyard.linux import descendants
from batchyard.model.errors import EnvironmentUnavailable
from batchyard.model.outcome import Outcome, Reason
from batchyard.model.trial import Combination
from batchyard.runners.check import check_workflow
from batchyard.runners.worker import Setup
from runner_bench import (
    CLOCK,
    GRACE,
    LONG,
    TRIAL,
    Bench,
    FolderProvider,
    Seen,
    an_order,
    await_all_dead,
    await_true,
    by_process,
    is_alive,
    lines_of,
    plain_zygote,
    run_all,
    run_hostile,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from batchyard.model.errors import Fault
    from batchyard.model.trial import JSON
    from batchyard.runners.process_worker import Zygote


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    with plain_zygote() as started:
        started.spawn().close()  # it takes its time to start, and some tests have little
        yield started
        await_true(lambda: not descendants(started.pid), "the end of every worker")


@pytest.fixture
def bench(zygote: Zygote, tmp_path: Path) -> Bench:
    return Bench(by_process(zygote), tmp_path)


# -- acts that only a deadline ends ----------------------------------------------------------------------------------


@pytest.mark.hostile
@pytest.mark.parametrize(
    ("act", "signals"),
    [
        ("sleeps", ("TERM",)),
        ("sleeps-deaf", ("TERM", "KILL")),
        ("stops-itself", ("TERM",)),
        ("stops-keeper", ("TERM",)),
        ("prints-for-ever", ("TERM",)),
        ("half-a-frame", ("TERM",)),
        ("ends-on-term", ("TERM",)),
    ],
)
def test_it_times_out_soon_and_others_pass(bench: Bench, act: str, signals: tuple[str, ...]) -> None:
    for _ in range(3):  # of what ends on TERM one that is slow to, on a busy machine, is killed as well
        ended = run_hostile(bench, act)
        if ended.signals == signals:
            break

    assert (ended.result.outcome, ended.result.reason) == (Outcome.TIMED_OUT, Reason.TRIAL_DEADLINE_EXCEEDED)
    assert "'act'" in ended.result.message or act == "ends-on-term"
    assert ended.signals == signals
    assert ended.confirmed
    assert ended.overrun_seconds is not None
    assert ended.overrun_seconds < GRACE + 1


@pytest.mark.hostile
def test_every_process_of_a_trial_that_forked_fifty_dies_with_it(bench: Bench, tmp_path: Path) -> None:
    pids = tmp_path / "pids"

    ended = run_hostile(bench, "forks-much", trial=5.0, pids=str(pids))  # a hundred forks take their time

    assert ended.result.outcome is Outcome.TIMED_OUT
    assert ended.confirmed
    assert len(lines_of(pids)) == 100
    assert [pid for pid in map(int, lines_of(pids)) if is_alive(pid)] == []


@pytest.mark.hostile
def test_a_process_left_behind_by_a_trial_that_passed_is_gone_before_its_end_is_told(
    bench: Bench, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"

    ended = run_hostile(bench, "leaves-process", pids=str(pids))

    assert ended.result.outcome is Outcome.PASSED
    assert not is_alive(int(lines_of(pids)[0]))


@pytest.mark.hostile
def test_a_worker_that_kills_its_keeper_is_lost_and_what_it_left_dies_too(bench: Bench, tmp_path: Path) -> None:
    pids = tmp_path / "pids"

    ended = run_hostile(bench, "kills-keeper", pids=str(pids))

    assert (ended.result.outcome, ended.result.reason) == (Outcome.ERRORED, Reason.WORKER_LOST)
    assert not ended.confirmed
    await_all_dead(map(int, lines_of(pids)))


@pytest.mark.hostile
def test_a_stopped_keeper_does_not_hold_up_the_saving_of_output(bench: Bench) -> None:
    before = CLOCK.monotonic()

    ended = run_hostile(bench, "stops-keeper-and-raises")

    assert ended.result.outcome is Outcome.FAILED
    assert CLOCK.monotonic() - before < 4


@pytest.mark.hostile
def test_several_hostile_trials_at_once_leave_each_other_and_plain_ones_alone(bench: Bench, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    acts = ["sleeps-deaf", "pass", "leaves-process", "pass", "stops-itself", "pass", "os-exit", "pass"] * 2
    orders = [an_order(act, number, state={"pids": str(pids)}) for number, act in enumerate(acts)]

    with bench.runner(4, trial=TRIAL, grace=GRACE) as runner:
        seen = run_all(runner, orders)

    expected = {
        "pass": Outcome.PASSED, "leaves-process": Outcome.PASSED, "os-exit": Outcome.ERRORED,
        "sleeps-deaf": Outcome.TIMED_OUT, "stops-itself": Outcome.TIMED_OUT,
    }  # fmt: skip
    assert [seen[number].result.outcome for number in range(len(acts))] == [expected[act] for act in acts]
    await_all_dead(map(int, lines_of(pids)))


# -- acts that end by themselves -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("act", "outcome", "reason", "text"),
    [
        ("raises", Outcome.FAILED, Reason.NODE_RAISED, "raised on purpose"),
        ("raises-unreadable", Outcome.FAILED, Reason.NODE_RAISED, "Unreadable"),
        ("exits-politely", Outcome.FAILED, Reason.NODE_RAISED, "SystemExit: 3"),
        ("asks", Outcome.NEEDS_INPUT, Reason.INTERRUPTED_BY_GRAPH, "may I?"),
        ("os-exit", Outcome.ERRORED, Reason.WORKER_LOST, "ended in node 'act': exit code 7"),
        ("reports-too-much", Outcome.FAILED, Reason.STATE_NOT_SERIALISABLE, "over the limit"),
        ("returns-surrogate", Outcome.FAILED, Reason.STATE_NOT_SERIALISABLE, "surrogates"),
        ("returns-huge-integer", Outcome.FAILED, Reason.STATE_NOT_SERIALISABLE, "64-bit"),
        ("garbage", Outcome.ERRORED, Reason.WORKER_LOST, "in node 'act'"),
        ("announces-too-much", Outcome.ERRORED, Reason.WORKER_LOST, "in node 'act'"),
        ("closes-streams", Outcome.PASSED, "", ""),
        ("starts-timer", Outcome.PASSED, "", ""),
    ],
)
def test_it_ends_as_documented_and_others_pass(
    bench: Bench, act: str, outcome: Outcome, reason: str, text: str
) -> None:
    trial = LONG  # it is not a deadline that ends any of these
    orders = [an_order("pass", 0), an_order(act, 1), an_order("pass", 2), an_order("pass", 3)]

    with bench.runner(1, trial=trial) as runner:
        seen = run_all(runner, orders)

    result = seen[1].result
    assert (result.outcome, result.reason) == (outcome, reason)
    assert text in result.message
    assert [seen[n].result.outcome for n in (0, 2, 3)] == [Outcome.PASSED] * 3


def test_text_that_no_database_holds_is_escaped_in_messages(bench: Bench) -> None:
    with bench.runner() as runner:
        seen = run_all(runner, [an_order("raises", 0, state={"text": "a\0b"})])

    assert "a\N{SYMBOL FOR NULL}b" in seen[0].result.message


def test_an_answer_given_twice_is_not_taken_for_the_next_trials(bench: Bench) -> None:
    orders = [an_order("answers-twice", 0), an_order("raises", 1)]

    with bench.runner() as runner:
        seen = run_all(runner, orders)

    assert seen[1].result.outcome is Outcome.FAILED
    assert "raised on purpose" in seen[1].result.message


@pytest.mark.hostile
def test_a_trial_over_its_memory_is_ended_as_out_of_memory(bench: Bench, tmp_path: Path) -> None:
    provider = FolderProvider(tmp_path / "workspaces", memory_bytes=300_000_000)

    with bench.runner(provider=provider) as runner:
        seen = run_all(runner, [an_order("eats", 0), an_order("pass", 1)])

    assert (seen[0].result.outcome, seen[0].result.reason) == (Outcome.ERRORED, Reason.OUT_OF_MEMORY)
    assert seen[1].result.outcome is Outcome.PASSED


# -- making a worker ready -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("factory", "text"),
    [
        ("setup-exits", "ended (exit code 9) when it was to start; its last words: 'setup said its last words'"),
        ("setup-raises", "its last words: 'OSError: no room on the device'"),
    ],
)
def test_a_worker_that_dies_in_its_setup_is_an_error_that_quotes_it(
    zygote: Zygote, tmp_path: Path, factory: str, text: str
) -> None:
    with Bench(by_process(zygote), tmp_path, factory).runner() as runner:
        result = run_all(runner, [an_order()])[0].result

    assert (result.outcome, result.reason) == (Outcome.ERRORED, Reason.ENVIRONMENT_FAILED)
    assert text in result.message


@pytest.mark.parametrize(
    ("build", "outcome", "reason"),
    [
        ("hangs", Outcome.ERRORED, Reason.ENVIRONMENT_FAILED),
        ("exits", Outcome.ERRORED, Reason.ENVIRONMENT_FAILED),
        ("wrong", Outcome.FAILED, Reason.WORKFLOW_INVALID),
    ],
)
def test_a_workflow_that_does_not_get_built_ends_only_its_own_trials(
    bench: Bench, build: str, outcome: Outcome, reason: str
) -> None:
    orders = [an_order("pass", 0, variants={"build": build}, combination=build), an_order("pass", 1)]

    with bench.runner(environment=0.5) as runner:
        seen = run_all(runner, orders)

    assert (seen[0].result.outcome, seen[0].result.reason) == (outcome, reason)
    assert seen[1].result.outcome is Outcome.PASSED


def test_a_stop_while_a_workflow_is_built_is_not_waited_out(bench: Bench, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    with bench.runner() as runner:
        runner.submit(an_order("pass", 0, variants={"build": "hangs", "mark": str(mark)}, combination="hangs"))
        await_true(mark.exists, "the building")

        runner.stop(Stop(Outcome.CANCELLED, Reason.INTERRUPTED))
        seen = Seen().hear(runner, lambda seen: 0 in seen.ended)

    assert seen[0].result.outcome is Outcome.NOT_RUN


def check(
    bench: Bench, *variants: dict[str, str], inputs: list[tuple[str, JSON]] | None = None, seconds: float = LONG
) -> list[Fault]:
    return check_workflow(
        lambda _runtime: bench.worker(),
        Setup(bench.factory, "", "", [], 0.5, 100, "sync", input_schema="schema" if inputs else ""),
        FolderProvider(bench.folder),
        [Combination(str(number), one) for number, one in enumerate(variants)],
        inputs or [],
        seconds=seconds,
        clock=CLOCK,
    )


def test_a_check_finds_each_fault_of_workflow_and_inputs_once(bench: Bench) -> None:
    assert check(bench, {"act": "pass"}) == []
    assert [fault.message for fault in check(bench, {"build": "wrong"}, {"build": "wrong"})] == ["the factory is wrong"]
    faults = check(bench, {"act": "pass"}, inputs=[("case a", {}), ("case b", {"wrong": True})])
    assert [fault.path for fault in faults] == ["case b"]


def test_a_check_of_more_inputs_than_one_message_holds_checks_them_all(bench: Bench) -> None:
    inputs: list[tuple[str, JSON]] = [(f"case {n}", {"wrong": n % 400 == 0, "text": "x" * 50_000}) for n in range(1600)]

    faults = check(bench, {"act": "pass"}, inputs=inputs)

    assert [fault.path for fault in faults] == ["case 0", "case 400", "case 800", "case 1200"]


@pytest.mark.parametrize(
    ("build", "text"), [("hangs", "took over 1 s; raise spec.deadlines.environmentSeconds"), ("exits", "died")]
)
def test_a_check_that_cannot_be_made_says_so(bench: Bench, build: str, text: str) -> None:
    with pytest.raises(EnvironmentUnavailable, match=text):
        check(bench, {"build": build}, seconds=1.0)
