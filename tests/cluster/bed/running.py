"""Running commands, waiting for conditions and holding locks: what every part of the bed does. No cluster knowledge."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cluster.bed.settings import process_environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_TAIL = 40


class BedFailed(Exception):
    """The test bed could not do what it was asked to; the message says what, where and what now."""


def say(text: str) -> None:
    """Tell the person who waits what is going on."""
    sys.stderr.write(f"cluster: {text}\n")
    sys.stderr.flush()


def run(
    *command: str | Path, stdin: str | None = None, timeout: float = 120, cwd: Path | None = None, **env: str
) -> str:
    """Run a command to its end and return what it printed.

    Raises:
        BedFailed: It failed, could not be found or took too long; with the end of what it said.
    """
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            cwd=cwd,
            env=process_environment(**env),
            check=False,
        )
    except FileNotFoundError as err:
        raise BedFailed(f"{words[0]} is not installed") from err
    except subprocess.TimeoutExpired as err:
        raise BedFailed(f"{' '.join(words[:4])} ... did not end within {timeout:.0f} s") from err
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-_TAIL:])
        raise BedFailed(f"{' '.join(words)[:400]} failed with exit code {done.returncode}:\n{said}")
    return done.stdout


def succeeds(*command: str | Path, timeout: float = 30) -> bool:
    """Tell whether a command ends well."""
    try:
        run(*command, timeout=timeout)
    except BedFailed:
        return False
    return True


def holds_within(seconds: float, condition: Callable[[], bool], *, every: float = 0.1) -> bool:
    """Wait until a condition holds, and tell whether it did within the time."""
    give_up = time.monotonic() + seconds
    pause = threading.Event()
    while not condition():
        if time.monotonic() > give_up:
            return False
        pause.wait(every)
    return True


def path_of(program: str) -> str | None:
    """Return where a program is, or None; root's programs are found by everybody."""
    return shutil.which(program, path=process_environment()["PATH"])


@contextmanager
def locked(file: Path, waiting_for: str) -> Iterator[None]:
    """Hold a lock that other processes see; says so when it has to wait."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another process: {waiting_for}")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
