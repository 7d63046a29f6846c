"""The Linux calls that Python has no name for, and a walk over the process table.

Deadlines that kill need them: adopting orphans, dying with the parent, finding every descendant.
"""

from __future__ import annotations

import ctypes
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PR_GET_CHILD_SUBREAPER = 37
_PROC = Path("/proc")
_MACHINES_OWN_SPACE = 0xEFFFFFFC  # PROC_PID_INIT_INO of the kernel, the same after each boot

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
# One pool for all threads, and what is large or at its end goes back to the kernel at once.
_FRUGAL = {_M_ARENA_MAX: 1, _M_TRIM_THRESHOLD: 128 * 1024, _M_MMAP_THRESHOLD: 64 * 1024}

_libc = ctypes.CDLL(None, use_errno=True)


def adopt_orphans(adopts: bool = True) -> None:
    """Have this process be the new parent of each descendant whose parent dies (``PR_SET_CHILD_SUBREAPER``), or not."""
    _prctl(_PR_SET_CHILD_SUBREAPER, int(adopts))


def adopts_orphans() -> bool:
    """Return whether this process does so."""
    found = ctypes.c_int()
    _prctl(_PR_GET_CHILD_SUBREAPER, ctypes.addressof(found))
    return bool(found.value)


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when the thread that forked it ends; exits at once if it already has."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def give_memory_back() -> None:
    """Have the C library keep little of what this process, with its threads, does not need any more.

    For a process that lives for months and has its peaks; without glibc nothing changes. See ``mallopt(3)``.
    """
    mallopt = getattr(_libc, "mallopt", None)
    if mallopt is not None:
        for parameter, value in _FRUGAL.items():
            mallopt(ctypes.c_int(parameter), ctypes.c_int(value))


def descendants(root: int) -> list[int]:
    """Return the pid of every descendant of ``root``.

    Zombies too: a process whose first thread has ended looks like one while its other threads run on.
    """
    by_parent: dict[int, list[int]] = {}
    for pid, parent in _process_table():
        by_parent.setdefault(parent, []).append(pid)
    found: list[int] = []
    waiting = list(by_parent.get(root, ()))
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        waiting.extend(by_parent.get(pid, ()))
    return found


def children(root: int) -> list[int]:
    """Return the pid of every direct child of ``root``, zombies too."""
    return [pid for pid, parent in _process_table() if parent == root]


def resident_bytes(pids: Iterable[int]) -> int:
    """Return the memory these processes hold in all; a process that is gone counts as 0."""
    page = os.sysconf("SC_PAGE_SIZE")
    total = 0
    for pid in pids:
        try:
            total += int((_PROC / str(pid) / "statm").read_text().split()[1]) * page
        except (OSError, IndexError, ValueError):
            continue
    return total


def started_at(pid: int) -> str:
    """Return when the process began, in clock ticks since boot, or "" if it has ended or cannot be looked at.

    With the pid it names a process for good: a later process with the same pid has another start.
    """
    return _start(pid, _PROC) or ""


def is_running(pid: int, started: str, *, proc: Path = _PROC) -> bool:
    """Return whether the process that began then has not ended; one that cannot be looked at is taken for it."""
    found = _start(pid, proc)
    # ``proc`` may hide what other users run (``hidepid``).
    return _is_there(pid) if found is None else bool(found) and found == started


def _start(pid: int, proc: Path) -> str | None:
    """Return when a process began, "" if it has ended but its parent has not asked how, None if it is not seen."""
    try:
        stat = (proc / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] == "Z" else fields[19]


def _is_there(pid: int) -> bool:
    if pid <= 0:
        return False  # not one process, but a group
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # it is another user's
    return True


def process_space(*, proc: Path = _PROC) -> int:
    """Return the number of the PID namespace that this process is in, 0 if it is the machine's own or unknown.

    Two that live at the same time have different numbers; only within one does a pid name one process.
    """
    try:
        found = (proc / "self" / "ns" / "pid").stat().st_ino
    except OSError:
        return 0
    return 0 if found == _MACHINES_OWN_SPACE else found


def _process_table() -> Iterable[tuple[int, int]]:
    for entry in os.scandir(_PROC):
        name = entry.name
        if not name.isdigit():
            continue
        try:
            stat = (_PROC / name / "stat").read_text(errors="replace")
        except OSError:
            continue  # it ended while we looked
        # The command name is in parentheses and may hold anything, spaces and parentheses too.
        fields = stat.rpartition(")")[2].split()
        yield int(name), int(fields[1])


def _prctl(option: int, value: int) -> None:
    # Some values are addresses, of which ctypes would pass half.
    if _libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        errno = ctypes.get_errno()
        raise OSError(errno, f"prctl({option}): {os.strerror(errno)}")
