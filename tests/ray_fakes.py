"""Fake Ray actors: what the driver of the Ray runner asks of them, and answers that a test gives when it likes."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import batchyard
from batchyard.engine.attempts import Ended, Order, Started
from batchyard.model.outcome import Outcome
from batchyard.runners.finish import Finish
from runner_bench import CLOCK, await_true

if TYPE_CHECKING:
    from collections.abc import Callable


def started(order: Order, worker: str) -> Started:
    return Started(order, worker, CLOCK.now())


def passed(order: Order, worker: str) -> Ended:
    now = CLOCK.now()
    return Ended(Finish(order, worker, now, now, 0.0).result(Outcome.PASSED, "", ""))


class Lost(Exception):
    """What Ray says of an actor that is no more."""


@dataclass
class FakeActor:
    """Notes every call; ``answer`` gives one's result. Checks that it is never given two attempts at once."""

    number: int
    calls: list[tuple[str, tuple[object, ...], Future[Any]]] = field(default_factory=list)
    refuses: str = ""
    killed: bool = False

    def ask(self, method: str, *arguments: object) -> Future[Any]:
        if method == self.refuses:
            raise TypeError(f"cannot pickle what {method} is given")
        assert not (method == "run" and self.pending("run", "more")), "an actor was given a second attempt"
        future: Future[Any] = Future()
        self.calls.append((method, arguments, future))
        if method == "close":
            future.set_result(None)
        return future

    def kill(self) -> None:
        self.killed = True

    def asked(self, method: str) -> int:
        return sum(name == method for name, _, _ in self.calls)

    def pending(self, *methods: str) -> list[tuple[str, tuple[object, ...], Future[Any]]]:
        return [call for call in self.calls if call[0] in methods and not call[2].done()]

    def answer(self, method: str, result: Callable[[Any], object] | object = None) -> None:
        """Answer the method's call once it comes; a function gets what the call was given."""
        await_true(lambda: self.pending(method), f"a call of {method} on actor {self.number}")
        _, arguments, future = self.pending(method)[0]
        future.set_result(result(*arguments) if callable(result) else result)

    def die(self, text: str = "the node was lost") -> None:
        for _, _, future in self.pending("version", "live", "run", "more", "stop", "close"):
            future.set_exception(Lost(text))

    def get_ready(self, version: str = batchyard.__version__) -> None:
        self.answer("version", version)

    def begin(self) -> Order:
        """Say of the attempt that it began; return its order."""
        self.answer("run", lambda order: (started(order, f"s{self.number}"),))
        order: Order = next(arguments[0] for name, arguments, _ in reversed(self.calls) if name == "run")
        return order

    def run_through(self) -> None:
        """Say of the attempt that it began and passed."""
        self.answer("run", lambda order: (started(order, f"s{self.number}"), passed(order, f"s{self.number}")))


@dataclass
class FakeActors:
    """Makes fake actors; ``prompt`` ones answer by themselves. ``broken``: no actor can be asked for."""

    prompt: bool = False
    broken: str = ""
    made: list[FakeActor] = field(default_factory=list)
    refuses: str = ""

    def make(self, number: int) -> FakeActor:
        if self.broken:
            raise RuntimeError(self.broken)
        actor = FakeActor(number, refuses=self.refuses)
        self.made.append(actor)
        if self.prompt:
            threading.Thread(target=self._serve, args=[actor], daemon=True).start()
        return actor

    def room(self) -> str:
        return "each needs 4 CPU; the Ray cluster has 2, of which 2 are free"

    def nth(self, number: int) -> FakeActor:
        """The actor of this number, once it is asked for."""
        await_true(lambda: len(self.made) > number, f"actor {number}")
        return self.made[number]

    def _serve(self, actor: FakeActor) -> None:
        actor.get_ready()
        pause = threading.Event()
        while not actor.killed:
            if actor.pending("run"):
                actor.run_through()
            pause.wait(0.001)
