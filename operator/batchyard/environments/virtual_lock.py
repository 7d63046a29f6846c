"""The lock of one environment, between threads and processes: held with others to use it, alone to make or remove it.

The kernel lets go of it when its process ends, however it ends.
"""

from __future__ import annotations

import fcntl
import os
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from batchyard.environments.commands import Patience

_LOOK_SECONDS = 0.05


class EnvironmentLock:
    """One holder of the lock of the environment ``key``; nothing is held at first."""

    def __init__(self, root: Path, key: str) -> None:
        """Name the lock; its file is made when it is first asked for."""
        self._path = root / f"{key}.lock"
        self._fd: int | None = None

    def shared_if(self, there: Callable[[], bool], patience: Patience) -> bool:
        """Hold it with others and return True if what it guards is there; else hold nothing and return False."""
        self._take(fcntl.LOCK_SH, patience)
        if there():
            return True
        self.release()
        return False

    def alone(self, patience: Patience) -> None:
        """Hold it alone, as soon as nobody else does. Raises ``EnvironmentUnavailable`` when patience is at an end."""
        self._take(fcntl.LOCK_EX, patience)

    def alone_at_once(self) -> bool:
        """Hold it alone if nobody else holds it."""
        return self._try(fcntl.LOCK_EX)

    def remove(self) -> None:
        """Remove the lock's file; only while it is held alone."""
        self._path.unlink(missing_ok=True)

    def release(self) -> None:
        """Hold nothing any more."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _take(self, kind: int, patience: Patience) -> None:
        pause = threading.Event()
        while not self._try(kind):
            patience.check(f"waiting for another process that makes {self._path.with_suffix('')}")
            pause.wait(_LOOK_SECONDS)

    def _try(self, kind: int) -> bool:
        if self._fd is None:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        if self._is_current(self._fd):
            return True
        self.release()  # who removed the environment removed the file too
        return False

    def _is_current(self, fd: int) -> bool:
        try:
            return os.path.samestat(os.fstat(fd), self._path.stat())
        except FileNotFoundError:
            return False
