"""Workers and their zygote seen from outside: their ends, folders, output, and that nothing is left over."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from batchyard.linux import children, descendants
from batchyard.model.outcome import Outcome, Reason
from runner_bench import (
    GRACE,
    TRIAL,
    Bench,
    an_order,
    await_all_dead,
    await_true,
    by_process,
    is_alive,
    plain_zygote,
    run_all,
    run_hostile,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchyard.runners.process_worker import Zygote


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    with plain_zygote() as started:
        yield started
        await_true(lambda: not descendants(started.pid), "the end of every worker")


@pytest.fixture
def bench(zygote: Zygote, tmp_path: Path) -> Bench:
    return Bench(by_process(zygote), tmp_path)


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


def test_a_zygote_whose_runner_goes_with_an_answer_unread_ends_without_a_word() -> None:
    mine, its = socket.socketpair()
    words = [sys.executable, "-m", "batchyard.runners.zygote", str(its.fileno()), "plain_parts:PlainParts"]
    environment = {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(words, pass_fds=[its.fileno()], env=environment, stderr=subprocess.PIPE) as zygote:
        its.close()
        with mine:
            assert mine.recv(1, socket.MSG_PEEK)

        said = zygote.communicate()[1]

    assert (zygote.returncode, said) == (0, b"")


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


@pytest.mark.proves("workspaces")
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
def test_two_hundred_new_workers_leak_no_descriptor_thread_or_process(zygote: Zygote, tmp_path: Path) -> None:
    bench = Bench(by_process(zygote), tmp_path)
    rounds = 200
    with bench.runner(4) as runner:
        warm = run_all(runner, [an_order("os-exit", number) for number in range(8)])
        before = _held(zygote)
        seen = run_all(runner, [an_order("os-exit", 8 + number) for number in range(rounds)])
        after = _held(zygote)

    assert {ended.result.reason for ended in (warm.ended | seen.ended).values()} == {Reason.WORKER_LOST}
    # Others of this process's own may go meanwhile; what leaks is more than before.
    assert {what: count for what, count in after.items() if count > before[what]} == {}


def _held(zygote: Zygote) -> dict[str, int]:
    """Count what this process and the zygote hold, once all workers are gone that are going."""
    await_true(lambda: len(children(zygote.pid)) == 0, "the end of the workers")
    own, its = Path("/proc/self"), Path(f"/proc/{zygote.pid}")
    return {
        "descriptors": len(list((own / "fd").iterdir())),
        "zygote's descriptors": len(list((its / "fd").iterdir())),
        "threads": threading.active_count(),
        "children": len(children(os.getpid())),
        "zombies": sum(_is_zombie_of(path, {os.getpid(), zygote.pid}) for path in Path("/proc").glob("[0-9]*")),
    }


def _is_zombie_of(process: Path, parents: set[int]) -> bool:
    try:
        fields = (process / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return False
    return fields[0] == "Z" and int(fields[1]) in parents
