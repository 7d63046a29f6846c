"""Real graphs whose nodes fight their deadline: each trial ends in time, others pass, nothing is left alive.

One batch runs every act of ``workflows/hostile.py`` beside plain trials; the tests look at what came of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from batch_bench import BatchBench, Ran
from batchyard.model.outcome import Outcome, Reason, Verdict
from runner_bench import await_all_dead, await_end_of_theirs, lines_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from batchyard.compose import LocalEngine
    from batchyard.model.trial import AttemptResult

pytestmark = pytest.mark.hostile

TRIAL, GRACE = 2.0, 0.3

TIMED_OUT = (
    "ignores_sigterm_and_sleeps",
    "sleeps_in_c",
    "spins",
    "holds_the_gil",
    "forks_grandchildren",
    "blocks_in_socket",
    "stops_itself",
    "slow_async",
    "prints_gigabytes",
)
ENDS = {
    "os_exit": (Outcome.ERRORED, Reason.WORKER_LOST, "exit code 7"),
    "kills_parent": (Outcome.ERRORED, Reason.WORKER_LOST, "'act'"),
    "raises": (Outcome.FAILED, Reason.NODE_RAISED, "raised on purpose"),
    "recursion": (Outcome.FAILED, Reason.RECURSION_LIMIT, "recursionLimit"),
    "unserialisable": (Outcome.FAILED, Reason.STATE_NOT_SERIALISABLE, "made"),
    "interrupts": (Outcome.NEEDS_INPUT, Reason.INTERRUPTED_BY_GRAPH, "may I go on?"),
    "daemon_left_behind": (Outcome.PASSED, "", ""),
    "blocks_sigterm_in_threads": (Outcome.PASSED, "", ""),
}


@pytest.fixture(scope="module")
def pids(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where each process of an act leaves its pid."""
    return tmp_path_factory.mktemp("pids")


@pytest.fixture(scope="module")
def ran(engine: LocalEngine, pids: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    """The batch of all acts, four trials at a time, with plain trials between."""
    bench = BatchBench(engine, tmp_path_factory.mktemp("batch"))
    combinations = []
    for act in (*TIMED_OUT, *ENDS):
        combinations.append({"name": name_of(act), "variants": {"act": act}})
        combinations.append({"name": f"ok-after-{name_of(act)}", "variants": {"act": "ok"}})
    loaded = bench.load(
        "hostile:build",
        variants={"include": combinations},
        cases=[{"name": "one", "input": {"pids": str(pids)}}],
        parallelism=4,
        limits={"recursionLimit": 12},
        deadlines={"batchSeconds": 120, "trialSeconds": TRIAL, "graceSeconds": GRACE},
    )
    yield bench.run(loaded)
    bench.store.close()


def name_of(act: str) -> str:
    return act.replace("_", "-")


def result_of(ran: Ran, act: str) -> AttemptResult:
    return ran.of(name_of(act))


@pytest.mark.parametrize("act", TIMED_OUT)
@pytest.mark.proves("p0-deadlines")
def test_it_times_out_within_its_deadline_the_grace_and_a_second(ran: Ran, act: str) -> None:
    result = result_of(ran, act)

    assert (result.outcome, result.reason) == (Outcome.TIMED_OUT, Reason.TRIAL_DEADLINE_EXCEEDED)
    assert TRIAL <= result.duration_seconds <= TRIAL + GRACE + 1
    assert "in node 'act'" in result.message
    assert "could not be confirmed" not in result.message


@pytest.mark.parametrize("act", TIMED_OUT)
def test_the_boundaries_up_to_the_kill_are_kept(ran: Ran, act: str) -> None:
    before, killed = result_of(ran, act).boundaries

    assert (before.node, before.status) == ("before", "completed")
    assert (killed.node, killed.status) == ("act", "running")
    assert before.exit_checkpoint is not None
    assert killed.entry_checkpoint == before.exit_checkpoint
    assert killed.exit_checkpoint is None
    assert killed.duration_seconds >= TRIAL / 2


@pytest.mark.parametrize("act", ENDS)
def test_it_ends_as_documented(ran: Ran, act: str) -> None:
    outcome, reason, text = ENDS[act]

    result = result_of(ran, act)

    assert (result.outcome, result.reason) == (outcome, reason)
    assert text in result.message
    assert result.duration_seconds <= TRIAL + GRACE + 1


@pytest.mark.proves("bug-11", "retry-exhaustion")
def test_a_lost_worker_is_tried_once_more_and_a_wrong_answer_is_not(ran: Ran) -> None:
    tries = {act: sum(r.combination == name_of(act) for r in ran.attempts) for act in (*TIMED_OUT, *ENDS)}

    assert {act for act, made in tries.items() if made == 2} == {"os_exit", "kills_parent"}
    assert set(tries.values()) == {1, 2}


@pytest.mark.proves("bug-01")
def test_every_other_trial_of_the_batch_passed(ran: Ran) -> None:
    plain = [result for result in ran.finals if result.combination.startswith("ok-")]

    assert [result.outcome for result in plain] == [Outcome.PASSED] * (len(TIMED_OUT) + len(ENDS))
    assert ran.finished.verdict is Verdict.SUCCEEDED


@pytest.mark.proves("p0-deadlines")
def test_not_one_process_of_theirs_is_alive(ran: Ran, pids: Path) -> None:
    assert ran.finished is not None
    await_end_of_theirs(pids, len(TIMED_OUT) + len(ENDS))


def test_how_each_was_ended_is_audited(ran: Ran) -> None:
    ended = {entry.entry.trial_id.split("/")[0]: entry.entry.details for entry in ran.audited("TrialTimedOut")}

    assert set(ended) == {name_of(act) for act in TIMED_OUT}
    assert ended["ignores-sigterm-and-sleeps"]["signals"] == ["TERM", "KILL"]
    assert ended["sleeps-in-c"]["signals"][0] == "TERM"
    assert all(details["overrunMilliseconds"] <= (GRACE + 1) * 1000 for details in ended.values())


def test_one_that_eats_memory_is_ended_at_its_bound_and_tried_once_more(engine: LocalEngine, tmp_path: Path) -> None:
    # In a batch of its own, with time enough: how fast memory is eaten is the machine's affair.
    pids = tmp_path / "pids"
    pids.mkdir()
    bench = BatchBench(engine, tmp_path)
    loaded = bench.load(
        "hostile:build",
        variants={
            "include": [{"name": name_of(act), "variants": {"act": act}} for act in ("eats_memory", "ok")],
            "overrides": [{"match": {"act": "eats_memory"}, "resources": {"memory": "400Mi"}}],
        },
        cases=[{"name": "one", "input": {"pids": str(pids)}}],
    )

    ran = bench.run(loaded)
    bench.store.close()

    attempts = [result for result in ran.attempts if result.combination == "eats-memory"]
    assert [result.outcome for result in attempts] == [Outcome.ERRORED] * 2
    assert {result.reason for result in attempts} == {Reason.OUT_OF_MEMORY}
    assert all("(environment resources.memory) in node 'act'" in result.message for result in attempts)
    assert ran.of("ok").outcome is Outcome.PASSED
    await_all_dead([int(file.read_text()) for file in pids.iterdir()])


def test_the_end_of_gigabytes_of_output_is_kept(ran: Ran, tmp_path_factory: pytest.TempPathFactory) -> None:
    found = tmp_path_factory.getbasetemp().glob("batch*/**/output.log")
    (log,) = {file.resolve() for file in found if file.parent.name.startswith("prints-gigabytes")}

    assert 0 < log.stat().st_size <= 256 * 1024
    assert set(lines_of(log)[-1]) == {"x"}
