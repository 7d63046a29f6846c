"""The zygotes of one runner: one on its own Python, and one on each virtual environment that trials ask for.

An idle one is ended when many were made: each holds the memory of an interpreter with everything imported.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol
from weakref import WeakSet

from batchyard.runners.process_worker import ProcessWorker, Zygote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from batchyard.clock import Clock
    from batchyard.engine.ports import RuntimeEnvironment
    from batchyard.runners.workers import Wanted

_MOST_IDLE = 4


class Interpreters(Protocol):
    """Gives the Python that has the packages of an environment."""

    def python(self, runtime: RuntimeEnvironment, *, until: float, is_over: Callable[[], bool]) -> Path:
        """Return the interpreter, made now if need be, by the monotonic instant ``until`` and while not ``is_over``.

        Safe to call from any thread. Raises ``EnvironmentUnavailable``.
        """
        ...

    def close(self) -> None:
        """Let go of every interpreter that was given; nothing runs on them any more."""
        ...


@dataclass(eq=False, slots=True)
class _Room:
    zygote: Zygote
    workers: WeakSet[ProcessWorker] = field(default_factory=WeakSet)
    spawning: int = 0

    @property
    def idle(self) -> bool:
        return not self.spawning and all(worker.closed for worker in self.workers)


class Zygotes:
    """Makes workers in the environment that they are wanted for. ``spawn`` may be called from any thread."""

    def __init__(self, clock: Clock, parts: str, interpreters: Interpreters) -> None:
        """Start the zygote for trials without packages of their own; the others start when they are needed."""
        self._clock, self._parts = clock, parts
        self._interpreters = interpreters
        self._plain = Zygote(clock, parts)
        self._lock = threading.Lock()  # guards _rooms and what is in them
        self._rooms: OrderedDict[Path, _Room] = OrderedDict()

    def spawn(self, wanted: Wanted) -> ProcessWorker:
        """Fork a worker. Raises ``EnvironmentUnavailable``."""
        if not wanted.runtime.packages:
            return self._plain.spawn()
        python = self._interpreters.python(wanted.runtime, until=wanted.until, is_over=wanted.is_over)
        with self._room(python) as room:
            worker = room.zygote.spawn()
            room.workers.add(worker)
        return worker

    def close(self) -> None:
        """End every zygote; workers must have been closed before."""
        self._plain.close()
        with self._lock:
            while self._rooms:
                self._rooms.popitem()[1].zygote.close()
        self._interpreters.close()

    @contextmanager
    def _room(self, python: Path) -> Iterator[_Room]:
        with self._lock:
            room = self._rooms.get(python)
            if room is None:
                self._make_room()
                room = self._rooms[python] = _Room(Zygote(self._clock, self._parts, python))
            self._rooms.move_to_end(python)
            room.spawning += 1
        try:
            yield room
        finally:
            with self._lock:
                room.spawning -= 1

    def _make_room(self) -> None:
        """End those that have been idle for longest, if there are many."""
        idle = [python for python, room in self._rooms.items() if room.idle]
        for python in idle[: max(0, len(idle) - _MOST_IDLE + 1)]:
            self._rooms.pop(python).zygote.close()
