"""Worker processes under code that fights: every trial ends, none reaches another, nothing is left.

Without LangGraph, so that it is quick; ``integration/test_hostile.py`` does the same with real graphs.
"""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from batchyard.engine.attempts import Stop
from batchyard.model.errors import EnvironmentUnavailable
from batchyard.model.outcome import Outcome, Reason
from batchyard.model.trial import Combination
from batchyard.runners.check import check_workflow
from batchyard.runners.linux import children, descendants
from batchyard.runners.worker import Setup
from runner_bench import (
    CLOCK,
    LONG,
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
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchyard.engine.attempts import Ended
    from batchyard.model.errors import Fault
    from batchyard.model.trial import JSON
    from batchyard.runners.process_worker import Zygote

TRIAL, GRACE = 0.5, 0.2


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    with plain_zygote() as started:
        yield started
        await_true(lambda: not descendants(started.pid), "the end of every worker")


@pytest.fixture
def bench(zygote: Zygote, tmp_path: Path) -> Bench:
    return Bench(by_process(zygote), tmp_path)


def run_hostile(bench: Bench, act: str, **state: JSON) -> Ended:
    """Run the act between two plain trials on one worker; return its end, having seen that the others passed."""
    orders = [an_order("pass", 0), an_order(act, 1, state=state), an_order("pass", 2), an_order("pass", 3)]
    with bench.runner(1, trial=TRIAL, grace=GRACE) as runner:
        seen = run_all(runner, orders)
    assert [seen[n].result.outcome for n in (0, 2, 3)] == [Outcome.PASSED] * 3
    return seen[1]


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
    ended = run_hostile(bench, act)

    assert (ended.result.outcome, ended.result.reason) == (Outcome.TIMED_OUT, Reason.TRIAL_DEADLINE_EXCEEDED)
    assert "'act'" in ended.result.message or act == "ends-on-term"
    assert ended.signals == signals
    assert ended.confirmed
    assert ended.overrun_seconds is not None
    assert ended.overrun_seconds < GRACE + 1


@pytest.mark.hostile
def test_every_process_of_a_trial_that_forked_fifty_dies_with_it(bench: Bench, tmp_path: Path) -> None:
    pids = tmp_path / "pids"

    ended = run_hostile(bench, "forks-much", pids=str(pids))

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
        bench.worker,
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


# -- workers and the zygote from outside -----------------------------------------------------------------------------


def test_a_worker_killed_while_idle_costs_no_trial(bench: Bench) -> None:
    with bench.runner() as runner:
        first = run_all(runner, [an_order("pass", 0)])[0].result
        os.kill(first.output["pid"], signal.SIGKILL)
        await_all_dead([first.output["pid"]])

        second = run_all(runner, [an_order("pass", 1)])[1].result

    assert second.outcome is Outcome.PASSED
    assert second.output["pid"] != first.output["pid"]


def test_a_worker_stopped_while_idle_cannot_hold_up_even_a_large_order(bench: Bench) -> None:
    with bench.runner(trial=TRIAL, grace=GRACE) as runner:
        pid = run_all(runner, [an_order("pass", 0)])[0].result.output["pid"]
        os.kill(pid, signal.SIGSTOP)

        seen = run_all(runner, [an_order("pass", 1, state={"large": "x" * 8_000_000}), an_order("pass", 2)])

    assert seen[1].result.outcome is Outcome.TIMED_OUT
    assert seen[2].result.outcome is Outcome.PASSED


def test_a_large_input_reaches_its_node_and_a_large_state_is_kept_as_its_digest(bench: Bench) -> None:
    with bench.runner() as runner:
        result = run_all(runner, [an_order("pass", 0, state={"large": "x" * 8_000_000})])[0].result

    assert result.outcome is Outcome.PASSED
    assert result.output["truncated"] is True
    assert result.output["bytes"] > 8_000_000
    assert len(result.output_digest) == 64


def test_a_zygote_that_was_killed_is_started_again(tmp_path: Path) -> None:
    with plain_zygote() as zygote:
        bench = Bench(by_process(zygote), tmp_path)
        with bench.runner() as runner:
            run_all(runner, [an_order("pass", 0)])
            killed = zygote.pid
            os.kill(killed, signal.SIGKILL)
            await_all_dead([killed])

            still = run_all(runner, [an_order("pass", 1)])[1].result
            new = run_all(runner, [an_order("os-exit", 2), an_order("pass", 3)])

        assert still.outcome is Outcome.PASSED
        assert new[3].result.outcome is Outcome.PASSED
        assert zygote.pid != killed


def test_a_zygote_that_cannot_start_is_an_error_of_the_environment(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with plain_zygote("no_such_module:Parts") as zygote, Bench(by_process(zygote), tmp_path).runner() as runner:
        result = run_all(runner, [an_order()])[0].result

    assert (result.outcome, result.reason) == (Outcome.ERRORED, Reason.ENVIRONMENT_FAILED)
    assert "did not start" in result.message
    assert "no_such_module" in capfd.readouterr().err


def test_a_module_in_the_current_folder_does_not_stand_in_for_one_of_pythons(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "types.py").write_text("raise SystemExit('wrong module')")
    monkeypatch.chdir(tmp_path)

    with plain_zygote() as zygote, Bench(by_process(zygote), tmp_path).runner() as runner:
        result = run_all(runner, [an_order()])[0].result

    assert result.outcome is Outcome.PASSED


def test_closing_a_zygote_that_is_still_starting_takes_no_time_and_says_nothing(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with plain_zygote() as zygote:
        pid = zygote.pid

    assert not is_alive(pid)
    assert capfd.readouterr().err == ""


# -- folders and output ----------------------------------------------------------------------------------------------


def test_each_trial_starts_in_an_empty_folder_that_is_named_in_its_environment(bench: Bench) -> None:
    with bench.runner() as runner:
        seen = run_all(runner, [an_order("folder", number) for number in range(3)])

    outputs = [seen[number].result.output for number in range(3)]
    assert [output["before"] for output in outputs] == [[], [], []]
    assert [output["cwd"] for output in outputs] == [output["named"] for output in outputs]
    assert len({output["cwd"] for output in outputs}) == 3


def test_what_a_failed_trial_printed_is_in_its_folder_and_nothing_of_other_trials(bench: Bench) -> None:
    orders = [
        an_order("prints", 0),
        an_order("prints", 1, state={"kibibytes": 2, "then": "raise"}),
        an_order("raises", 2),
    ]

    with bench.runner() as runner:
        run_all(runner, orders)

    output = (bench.folder / "workspaces" / "prints_case_1_1" / "output.log").read_text()
    assert output == "first line\n" + ("x" * 1023 + "\n") * 2 + "last line\n"
    assert not (bench.folder / "workspaces" / "prints_case_0_1" / "output.log").exists()
    assert not (bench.folder / "workspaces" / "raises_case_2_1" / "output.log").exists()


def test_of_very_long_output_the_end_is_kept(bench: Bench) -> None:
    with bench.runner() as runner:
        run_all(runner, [an_order("prints", 0, state={"kibibytes": 50_000, "then": "raise"})])

    log = bench.folder / "workspaces" / "prints_case_0_1" / "output.log"
    assert log.stat().st_size == 256 * 1024
    assert log.read_text().endswith("last line\n")


def test_a_pipe_in_the_outputs_place_does_not_hold_up_the_runner(bench: Bench) -> None:
    ended = run_hostile(bench, "makes-pipe")

    assert ended.result.outcome is Outcome.FAILED


def test_a_link_in_the_outputs_place_is_not_written_through(bench: Bench, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("as it was")

    run_hostile(bench, "makes-link", target=str(precious))

    assert precious.read_text() == "as it was"


# -- nothing is left over --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_five_hundred_new_workers_leak_no_descriptor_thread_or_process(zygote: Zygote, tmp_path: Path) -> None:
    bench = Bench(by_process(zygote), tmp_path)
    rounds = 500
    with bench.runner(4) as runner:
        warm = run_all(runner, [an_order("os-exit", number) for number in range(8)])
        before = _held(zygote)
        seen = run_all(runner, [an_order("os-exit", 8 + number) for number in range(rounds)])
        after = _held(zygote)

    assert {ended.result.reason for ended in (warm.ended | seen.ended).values()} == {Reason.WORKER_LOST}
    assert after == before


def _held(zygote: Zygote) -> dict[str, int]:
    """Count what this process and the zygote hold, once all workers are gone that are going."""
    await_true(lambda: len(children(zygote.pid)) == 0, "the end of the workers")
    own, its = Path("/proc/self"), Path(f"/proc/{zygote.pid}")
    return {
        "descriptors": len(list((own / "fd").iterdir())),
        "zygote's descriptors": len(list((its / "fd").iterdir())),
        "threads": threading.active_count(),
        "children": len(descendants(os.getpid())),
        "zombies": sum(_is_zombie_of(path, {os.getpid(), zygote.pid}) for path in Path("/proc").glob("[0-9]*")),
    }


def _is_zombie_of(process: Path, parents: set[int]) -> bool:
    try:
        fields = (process / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return False
    return fields[0] == "Z" and int(fields[1]) in parents
