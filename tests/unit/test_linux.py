"""The process table as the runner reads it, and adoption of orphans."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from batchyard.linux import children, descendants, is_running, process_space, resident_bytes, started_at
from runner_bench import await_all_dead, await_true, is_alive

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GONE = 2**22 + 1
"""A pid that no Linux gives."""


@pytest.fixture
def family() -> Iterator[subprocess.Popen[bytes]]:
    """A shell with a child and a grandchild."""
    script = "sh -c 'sleep 1000 & wait' & wait"
    with subprocess.Popen(["sh", "-c", script]) as parent:
        await_true(lambda: any("sleep" in _name(pid) for pid in descendants(parent.pid)), "the grandchild")
        yield parent
        for pid in descendants(parent.pid):
            os.kill(pid, 9)
        parent.kill()


def test_descendants_are_found_over_generations(family: subprocess.Popen[bytes]) -> None:
    assert family.pid in descendants(os.getpid())
    assert set(descendants(family.pid)) < set(descendants(os.getpid()))


def test_children_are_only_the_direct_ones(family: subprocess.Popen[bytes]) -> None:
    direct = children(family.pid)

    assert set(direct) < set(descendants(family.pid))
    assert not any("sleep" in _name(pid) for pid in direct)


def test_a_process_whose_name_has_parentheses_and_spaces_is_read_right() -> None:
    code = "import ctypes; ctypes.CDLL(None).prctl(15, b') R 1 (x'); print(1, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    ) as named:
        assert named.stdout is not None
        named.stdout.readline()

        assert named.pid in children(os.getpid())
        assert started_at(named.pid).isdigit()
        named.kill()


def test_a_process_whose_first_thread_has_ended_is_still_a_descendant() -> None:
    code = (
        "import ctypes, threading\n"
        "threading.Thread(target=threading.Event().wait).start()\n"
        "print(flush=True)\n"
        "ctypes.CDLL(None).syscall(60, 0)\n"  # exit(2) ends the calling thread only
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as half:
        assert half.stdout is not None
        half.stdout.readline()
        try:
            # It looks like a zombie now, though its other thread runs.
            await_true(lambda: not is_alive(half.pid), "the end of its first thread")

            assert half.pid in descendants(os.getpid())
            assert half.pid in children(os.getpid())
        finally:
            half.kill()


def test_a_process_is_told_from_a_later_one_by_when_it_began() -> None:
    assert started_at(os.getpid()) == started_at(os.getpid()) != ""
    assert started_at(os.getpid()) != started_at(1)
    assert started_at(GONE) == ""


def test_a_process_runs_if_it_is_the_one_that_began_then() -> None:
    started = started_at(os.getpid())

    assert is_running(os.getpid(), started)
    assert not is_running(os.getpid(), f"{started}0")
    assert not is_running(GONE, started)


def test_a_process_that_proc_hides_is_not_taken_for_dead(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "1000"]) as child:
        alive = is_running(child.pid, "1", proc=tmp_path)
        child.kill()

    assert alive
    assert not is_running(child.pid, "1", proc=tmp_path)
    assert not is_running(0, "1", proc=tmp_path)
    assert not is_running(2**64, "1", proc=tmp_path)


def test_a_hidden_process_of_another_user_is_not_taken_for_dead(tmp_path: Path) -> None:
    assert is_running(1, "1", proc=tmp_path)


def test_only_a_pid_namespace_that_is_not_the_machines_own_has_a_number(tmp_path: Path) -> None:
    space = tmp_path / "self" / "ns" / "pid"
    space.parent.mkdir(parents=True)
    unknown = process_space(proc=tmp_path)
    space.touch()

    assert (unknown, process_space(proc=tmp_path)) == (0, space.stat().st_ino)


def test_memory_is_added_up_and_a_process_that_is_gone_counts_nothing() -> None:
    own = resident_bytes([os.getpid()])

    assert own > 5_000_000
    assert resident_bytes([GONE]) == 0
    assert resident_bytes([]) == 0


def test_a_process_can_adopt_what_its_child_leaves_behind() -> None:
    code = """
import os, subprocess, sys
from batchyard.linux import adopt_orphans, children
adopt_orphans()
parent = subprocess.Popen(["sh", "-c", "setsid sleep 1000 & echo $!"], stdout=subprocess.PIPE, text=True)
orphan = int(parent.stdout.readline())
parent.wait()
while orphan not in children(os.getpid()): pass
print(orphan, flush=True)
os.kill(orphan, 9)
print(os.waitpid(orphan, 0)[0], flush=True)
"""

    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)

    orphan, collected = map(int, told.stdout.split())
    assert orphan == collected


def test_a_process_that_is_to_die_with_its_parent_does() -> None:
    code = """
import os, time, select
from batchyard.linux import die_with_parent
pid = os.fork()
if pid == 0:
    die_with_parent(os.getppid())
    print(os.getpid(), flush=True)
    select.select([], [], [])
select.select([], [], [])
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, bufsize=1) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())

        parent.kill()

        await_all_dead([child])


def _name(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/comm") as file:  # noqa: PTH123
            return file.read()
    except OSError:
        return ""


def test_memory_that_threads_needed_once_goes_back() -> None:
    script = """
import sys, threading
from batchyard.linux import give_memory_back, resident_bytes
import os
if sys.argv[1] == "frugal":
    give_memory_back()
def need() -> None:
    blocks = [bytearray(60_000) for _ in range(400)]
    kept.append(blocks[-1])
kept = []
for _ in range(6):
    threads = [threading.Thread(target=need) for _ in range(6)]
    [one.start() for one in threads]; [one.join() for one in threads]
print(resident_bytes([os.getpid()]))
"""

    def left(how: str) -> int:
        done = subprocess.run([sys.executable, "-c", script, how], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return int(done.stdout)

    # How many of the threads are there at once is luck, so one run of each says little.
    frugal, as_it_is = (sum(left(how) for _ in range(6)) for how in ("frugal", "as it is"))
    assert frugal < as_it_is
