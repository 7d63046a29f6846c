"""What a leader needs of a worker, process or thread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from batchyard.engine.attempts import Order
    from batchyard.engine.ports import RuntimeEnvironment
    from batchyard.model.usage import Usage


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a new worker is for.

    It must be there by the monotonic instant ``until``, and is of no use once ``is_over``. ``late`` is called with an
    order's outcome that comes after the worker was given up.
    """

    runtime: RuntimeEnvironment
    until: float
    is_over: Callable[[], bool]
    late: Callable[[Order, str], None]


@dataclass(frozen=True, slots=True)
class Message:
    """A reply of the worker."""

    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Gone:
    """The worker is no more. ``status``: exit code, or minus the signal, None if unknown.

    ``confirmed``: not one of its processes is left.
    """

    status: int | None
    confirmed: bool


@dataclass(frozen=True, slots=True)
class Woken:
    """Someone asked the leader to look around."""


class LedWorker(Protocol):
    """A place that runs one attempt at a time, led by one thread."""

    def send(self, message: Mapping[str, Any]) -> None:
        """Send one message; waits neither for the reply nor for the worker to read it."""
        ...

    def wait(self, until: float | None, wake: int) -> Message | Gone | Woken | None:
        """Wait for whatever comes first; None when the monotonic instant ``until`` passed."""
        ...

    def is_fit(self) -> bool:
        """Return whether the worker, having answered everything, still waits for orders."""
        ...

    def node(self) -> tuple[str, float] | None:
        """Return the node that runs and the monotonic second it began."""
        ...

    def usage(self) -> tuple[Usage, float] | None:
        """Return what the running trial has used and the monotonic second it last moved (0.0: not yet).

        None if that cannot be read at the moment.
        """
        ...

    def ask_to_stop(self) -> None:
        """Ask the running trial to stop at its next node boundary."""
        ...

    def terminate(self) -> bool:
        """Ask the running code to end (TERM); return whether a signal was sent."""
        ...

    def kill(self) -> bool:
        """End the running code by force, or give it up; ``wait`` then says ``Gone``. Return as ``terminate``."""
        ...

    def force_gone(self) -> Gone:
        """Give the worker up when even ``kill`` was not confirmed."""
        ...

    def memory(self) -> int:
        """Return the bytes the worker holds."""
        ...

    def save_output(self, path: Path) -> None:
        """Write what the last trial printed to ``path``."""
        ...

    def last_words(self) -> str:
        """Return the last line the worker printed, or ""."""
        ...

    def close(self) -> None:
        """End the worker in good order."""
        ...
