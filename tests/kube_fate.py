"""What becomes of an operator's process at each of its acts: it dies there, meets an error, or is held."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Crash(BaseException):
    """The operator's process ends here, as by kill -9."""


class Gate:
    """Lets an operator's acts pass, but holds it before one of them, as SIGSTOP would, until it is opened."""

    def __init__(self, number: int | None = None) -> None:
        self._number, self._passed = number, 0
        self.is_reached, self._opened = asyncio.Event(), asyncio.Event()

    def open(self) -> None:
        self._opened.set()

    async def __call__(self) -> None:
        number, self._passed = self._passed, self._passed + 1
        if number == self._number:
            self.is_reached.set()
            await self._opened.wait()


@dataclass(slots=True)
class Fate:
    """One operator process. ``strikes`` maps the number of a write and a side of it to what happens there.

    Sides are "before" and "after"; what happens is "crash" or "error". Once it has crashed, nothing of it gets through.
    """

    strikes: dict[tuple[int, str], str] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)
    dead: bool = False
    gate: Gate = field(default_factory=Gate)

    def check(self) -> None:
        if self.dead:
            raise Crash

    def enter(self, what: str, error: Callable[[str], Exception]) -> None:
        self.check()
        self.done.append(what)
        self._strike("before", error)

    def leave(self, error: Callable[[str], Exception]) -> None:
        self._strike("after", error)

    def _strike(self, side: str, error: Callable[[str], Exception]) -> None:
        number = len(self.done) - 1
        match self.strikes.get((number, side)):
            case "crash":
                self.dead = True
                raise Crash
            case "error":
                raise error(f"{side} {self.done[number]}")
