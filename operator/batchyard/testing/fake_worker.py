"""A worker that does nothing but what a test wrote down, on a ``FakeClock``: for leaders without processes or waiting.

Waiting for it moves the clock to whatever comes first, so that instants can be compared exactly.
"""

from __future__ import annotations

import os
import select
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from batchyard.model.usage import Usage
from batchyard.runners.workers import Gone, Message, Woken

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from batchyard.testing.fake_clock import FakeClock

Then: TypeAlias = tuple[float, Message | Gone]
"""What comes so many seconds after that which sets it off."""


def executed(outcome: str = "Passed", **fields: object) -> dict[str, object]:
    """Return what a worker says of an attempt, by default one that passed."""
    plain: dict[str, object] = {"outcome": outcome, "reason": "", "message": "", "stopped": False, "score": 1.0}
    return {**plain, "output": {"done": True}, "boundaries": [], **fields}


def reply(outcome: str = "Passed", *, left: bool = False, **fields: object) -> Message:
    """Return the message that ends an attempt."""
    return Message({"op": "ended", "executed": executed(outcome, **fields), "left": left})


@dataclass(frozen=True)
class Script:
    """What a worker will do.

    ``starts`` and ``prepares``: the error of setup and building ("" for none), a ``Gone``, or None for no answer.
    ``run``: what follows each order, None for nothing; ``on_stop``, ``on_term`` and ``on_kill``: what a soft stop,
    TERM and KILL bring. ``nodes``: what runs from how many seconds after the order on. ``usage``: what was
    used by then. ``memory``: by the same.
    ``unfit``: it ends as soon as it is idle. ``refuses``: what sending an order raises.
    """

    starts: str | Gone | None = ""
    prepares: str | Gone | None = ""
    run: Then | None = field(default_factory=lambda: (1.0, reply()))
    on_stop: Then | None = None
    on_term: Then | None = None
    on_kill: Then | None = (0.0, Gone(-9, confirmed=True))
    nodes: tuple[tuple[float, str], ...] = ()
    usage: tuple[tuple[float, Usage], ...] = ()
    memory: Callable[[float], int] = lambda _seconds: 0
    unfit: bool = False
    refuses: Exception | None = None


class FakeWorker:
    """Follows its script and notes, with the instant, all that is asked of it. See ``LedWorker``."""

    def __init__(self, script: Script, clock: FakeClock) -> None:
        """Do as ``script`` says by ``clock``."""
        self._script = script
        self._clock = clock
        self._coming: list[tuple[float, Message | Gone]] = []
        self._order_at = clock.monotonic()
        self.calls: list[tuple[float, str]] = []
        self.messages: list[Mapping[str, Any]] = []
        self.saved: list[Path] = []

    def send(self, message: Mapping[str, Any]) -> None:
        """Note the message and have what follows it come."""
        self.messages.append(message)
        script = self._script
        match message["op"]:
            case "setup":
                self._answer("ready", script.starts)
            case "prepare":
                self._answer("prepared", script.prepares)
            case "run":
                if script.refuses is not None:
                    raise script.refuses
                self._order_at = self._clock.monotonic()
                self._after(script.run)

    def wait(self, until: float | None, wake: int) -> Message | Gone | Woken | None:
        """Go on to what comes first: the next event, a wake-up that is already there, or ``until``."""
        if select.select([wake], [], [], 0)[0]:
            os.eventfd_read(wake)
            return Woken()
        self._coming.sort(key=lambda coming: coming[0])
        if self._coming and (until is None or self._coming[0][0] <= until):
            at, what = self._coming.pop(0)
            self._clock.advance_to(at)
            return what
        if until is None:
            raise AssertionError("the leader waits for ever for a worker that will say nothing")
        self._clock.advance_to(until)
        return None

    def is_fit(self) -> bool:
        """Say what the script says."""
        return not self._script.unfit

    def node(self) -> tuple[str, float] | None:
        """Return the script's node for now; "" is none."""
        now = self._clock.monotonic()
        running = [
            (name, self._order_at + since) for since, name in self._script.nodes if self._order_at + since <= now
        ]
        return running[-1] if running and running[-1][0] else None

    def usage(self) -> tuple[Usage, float] | None:
        """Return what the script says for now, and when it last changed."""
        now = self._clock.monotonic() - self._order_at
        begun = [(used, self._order_at + since) for since, used in self._script.usage if since <= now]
        return begun[-1] if begun else (Usage(), 0.0)

    def ask_to_stop(self) -> None:
        """Note it and have what follows come."""
        self._note("stop", self._script.on_stop)

    def terminate(self) -> bool:
        """Note it and have what follows come."""
        self._note("TERM", self._script.on_term)
        return True

    def kill(self) -> bool:
        """Note it and have what follows come."""
        self._note("KILL", self._script.on_kill)
        return True

    def force_gone(self) -> Gone:
        """Note it and be gone."""
        self._note("force", None)
        return Gone(None, confirmed=False)

    def memory(self) -> int:
        """Return what the script says for now."""
        return self._script.memory(self._clock.monotonic() - self._order_at)

    def save_output(self, path: Path) -> None:
        """Note where to."""
        self.saved.append(path)

    def last_words(self) -> str:
        """Return some."""
        return "alas"

    def close(self) -> None:
        """Note it."""
        self._note("close", None)

    @property
    def asked(self) -> list[str]:
        """Return what was asked of it, in order, without the instants."""
        return [what for _, what in self.calls]

    def _answer(self, op: str, error: str | Gone | None) -> None:
        if isinstance(error, Gone):
            self._after((0.0, error))
        elif error is not None:
            self._after((0.0, Message({"op": op, "error": error})))

    def _note(self, what: str, then: Then | None) -> None:
        self.calls.append((self._clock.monotonic(), what))
        self._after(then)

    def _after(self, then: Then | None) -> None:
        if then is not None:
            self._coming.append((self._clock.monotonic() + then[0], then[1]))
