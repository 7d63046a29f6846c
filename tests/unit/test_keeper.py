"""The keeper: whatever its worker starts dies with it, and what it printed last can be had."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from batchyard.linux import resident_bytes
from batchyard.runners.keeper import OUTPUT_MARK
from runner_bench import LONG, await_all_dead, await_true, is_alive, lines_of

if TYPE_CHECKING:
    from collections.abc import Iterator

CHILD = str(Path(__file__).parent.parent / "keeper_child.py")
MARK = OUTPUT_MARK.decode().replace("\0", "\\000")


class Kept:
    """A keeper as its runner sees it."""

    def __init__(self, process: subprocess.Popen[bytes], control: socket.socket) -> None:
        self.process = process
        self.control = control
        self._lines = control.makefile("r")
        self.worker = int(self.line().removeprefix("pid "))

    def line(self) -> str:
        return self._lines.readline().rstrip("\n")

    def tell(self, line: str) -> None:
        self.control.sendall(line.encode() + b"\n")

    def hang_up(self) -> None:
        self._lines.close()
        self.control.close()

    def output(self, path: Path) -> str:
        self.tell(f"O {path}")
        assert self.line() == "ok"
        return path.read_text(errors="replace") if path.exists() else ""


@contextmanager
def a_keeper(*arguments: str) -> Iterator[Kept]:
    ours, theirs = socket.socketpair()
    ours.settimeout(LONG)
    command = [sys.executable, CHILD, str(theirs.fileno()), *arguments]
    with subprocess.Popen(command, pass_fds=[theirs.fileno()]) as keeper:
        theirs.close()
        kept = Kept(keeper, ours)
        try:
            yield kept
        finally:
            kept.hang_up()
            assert keeper.wait(LONG) == 0


@pytest.mark.parametrize(("command", "status"), [("exit 0", 0), ("exit 7", 7), ("kill -SEGV $$", -signal.SIGSEGV)])
def test_it_tells_how_its_worker_ended_and_that_nothing_is_left(command: str, status: int) -> None:
    with a_keeper(command) as kept:
        told = kept.line()

    assert told == f"gone {status} 1"


def test_term_ends_the_workers_whole_group(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    with a_keeper(f"sleep 1000 & touch {ready}; wait") as kept:
        # A process that is born while the signal is on its way does not get it.
        await_true(ready.exists, "the whole group")
        kept.tell("T")

        assert kept.line() == f"gone {-signal.SIGTERM} 1"


def test_a_worker_that_ignores_term_needs_a_kill(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    with a_keeper(f"trap '' TERM; touch {ready}; while :; do sleep 1000; done") as kept:
        await_true(ready.exists, "the trap")
        kept.tell("T")
        kept.tell("K")

        assert kept.line() == f"gone {-signal.SIGKILL} 1"


def test_term_reaches_a_stopped_worker() -> None:
    with a_keeper("kill -STOP $$") as kept:
        await_true(lambda: _state(kept.worker) == "T", "the stop")

        kept.tell("T")

        assert kept.line() == f"gone {-signal.SIGTERM} 1"


def test_what_the_worker_detached_dies_with_it(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    detach = f"setsid sh -c 'trap \"\" TERM HUP; echo $$ >> {pids}; setsid sleep 1000 & echo $! >> {pids}; wait' &"

    with a_keeper(f"{detach} {detach} while [ $(cat {pids} | wc -l) -lt 4 ]; do sleep 0.01; done; exit 0") as kept:
        assert kept.line() == "gone 0 1"

        assert [int(pid) for pid in lines_of(pids) if is_alive(int(pid))] == []
        assert len(lines_of(pids)) == 4


def test_everything_dies_when_the_runner_hangs_up(tmp_path: Path) -> None:
    pids = tmp_path / "pids"

    with a_keeper(f"echo $$ >> {pids}; setsid sleep 1000 & echo $! >> {pids}; trap '' TERM HUP; wait") as kept:
        await_true(lambda: len(lines_of(pids)) == 2, "both processes")
        kept.hang_up()

        await_all_dead(map(int, lines_of(pids)))


def test_polite_signals_do_not_end_a_keeper() -> None:
    with a_keeper("sleep 1000") as kept:
        for polite in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(kept.process.pid, polite)
        kept.tell("K")

        assert kept.line() == f"gone {-signal.SIGKILL} 1"


def test_several_commands_may_come_in_pieces() -> None:
    with a_keeper("sleep 1000") as kept:
        kept.control.sendall(b"T\nK")
        kept.control.sendall(b"\n")

        assert kept.line() in {f"gone {-signal.SIGTERM} 1", f"gone {-signal.SIGKILL} 1"}


def test_only_what_was_printed_since_the_last_mark_is_written(tmp_path: Path) -> None:
    with a_keeper(f"printf 'old\\n{MARK}new\\n'; printf 'more\\n' >&2; exit 0") as kept:
        kept.line()

        assert kept.output(tmp_path / "output.log") == "new\nmore\n"


def test_nothing_is_written_if_nothing_was_printed(tmp_path: Path) -> None:
    with a_keeper(f"printf 'old\\n{MARK}\\n'; exit 0") as kept:
        kept.line()

        assert kept.output(tmp_path / "output.log") == ""
        assert not (tmp_path / "output.log").exists()


def test_of_endless_output_the_end_is_kept_in_bounded_memory(tmp_path: Path) -> None:
    command = "head -c 300000000 /dev/zero | tr '\\0' x; echo; echo the end; exec sleep 1000"
    with a_keeper(command) as kept:
        await_true(lambda: kept.output(tmp_path / "output.log").endswith("the end\n"), "the end of the output")

        assert (tmp_path / "output.log").stat().st_size == 256 * 1024
        assert resident_bytes([kept.process.pid]) < 100_000_000


def test_whoever_prints_without_end_holds_nothing_up(tmp_path: Path) -> None:
    with a_keeper("exec sleep 1000", "/dev/zero") as kept:
        assert set(kept.output(tmp_path / "output.log")) == {"\0"}

        kept.tell("K")
        told = kept.line()

    assert told == "gone -9 1"


def test_a_pipe_or_a_link_in_the_outputs_place_holds_nothing_up_and_is_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("as it was")
    (tmp_path / "link").symlink_to(precious)
    os.mkfifo(tmp_path / "pipe")

    with a_keeper("echo text; exit 0") as kept:
        kept.line()
        for name in ("pipe", "link", "no/such/folder/file"):
            kept.tell(f"O {tmp_path / name}")
            assert kept.line() == "ok"

    assert precious.read_text() == "as it was"


def _state(pid: int) -> str:
    stat = Path(f"/proc/{pid}/stat").read_text()
    return stat.rpartition(")")[2].split()[0]
