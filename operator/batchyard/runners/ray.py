"""RayBatchTestRunner: as many Ray actors as trials may run at once, each leading one warm worker.

Deadlines are kept in the actors (``ray_slot``). The driver hands out orders, one an actor at a time, and replaces an
actor that died or does not answer. Not for making or finding a Ray cluster; ``environments.ray`` does.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

import batchyard
from batchyard.engine.attempts import Ended, Order, RunnerEvent, Started, Stop
from batchyard.model.outcome import Outcome, Reason
from batchyard.runners.attempt import cut
from batchyard.runners.ray_flight import Flight, Stopped, unsent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from pathlib import Path

    from batchyard.clock import Clock
    from batchyard.engine.ports import EnvironmentProvider
    from batchyard.model.trial import NodeBoundary
    from batchyard.runners.leader import Limits
    from batchyard.runners.ray_actor import Actor, Actors
    from batchyard.runners.worker import Setup
    from batchyard.runners.zygotes import Interpreters

_log = structlog.get_logger(__name__)

_CLOSE_SECONDS = 10.0
_REST_SECONDS = 5.0
"""How long the runner goes on with the actors it has before it asks again for one that could not start."""


def open_ray_runner(
    *,
    provider: EnvironmentProvider,
    parts: str,
    setup: Setup,
    limits: Limits,
    parallelism: int,
    batch_id: str,
    clock: Clock,
    read_boundaries: Callable[[Path, str], tuple[NodeBoundary, ...]],
    interpreters: Callable[[], Interpreters],
    take_thread: Callable[..., bytes] | None = None,
    cpus: float = 1.0,
    pinned: bool = False,
) -> RayBatchTestRunner:
    """Return a runner on the Ray cluster that this process is connected to, each of its actors with ``cpus``.

    ``provider``, ``setup`` and ``interpreters`` are sent to the actors: their folders are made on each node, and
    ``provider`` must hold no secrets that a node does not have anyway. If ``pinned``, the actors are on this node.
    """
    from batchyard.runners.ray_actor import RayActors
    from batchyard.runners.ray_slot import SlotPlan

    plan = SlotPlan(
        batch_id=batch_id,
        parts=parts,
        provider=provider,
        setup=setup,
        limits=limits,
        batch_until=clock.now() + timedelta(seconds=limits.batch_until - clock.monotonic()),
        read_boundaries=read_boundaries,
        interpreters=interpreters,
        take_thread=take_thread,
    )
    return RayBatchTestRunner(
        actors=RayActors(plan, cpus, pinned=pinned),
        limits=limits,
        parallelism=parallelism,
        clock=clock,
        warm=parallelism,
    )


class RayBatchTestRunner:
    """Runs attempts in parallel on a Ray cluster. Use as a context manager: leaving it ends every actor."""

    def __init__(self, *, actors: Actors, limits: Limits, parallelism: int, clock: Clock, warm: int = 0) -> None:
        """Have up to ``parallelism`` actors: ``warm`` of them at once, others when there is an order for them."""
        self._events: queue.SimpleQueue[RunnerEvent] = queue.SimpleQueue()
        self._driver = _Driver(actors, limits, parallelism, clock, self._events.put)
        self._driver.do(lambda: self._driver.make(warm))
        self._driver.start()

    def submit(self, order: Order) -> None:
        """Queue an attempt; a free actor gets it."""
        self._driver.do(lambda: self._driver.take(order))

    def next_event(self, timeout: float | None) -> RunnerEvent | None:
        """Return the next event, or None if none came within ``timeout`` seconds."""
        try:
            return self._events.get(timeout=timeout)
        except queue.Empty:
            return None

    def pause(self, ordinal: int) -> None:
        """Have the trial's attempt pause at its next node boundary."""
        self._driver.do(lambda: self._driver.pause(ordinal))

    def stop(self, stop: Stop) -> Sequence[Order]:
        """End all that runs, softly first, and return the orders that had not begun."""
        returned: Future[Sequence[Order]] = Future()
        self._driver.do(lambda: returned.set_result(self._driver.halt(stop)))
        return returned.result()

    def close(self) -> None:
        """End what runs, then every worker and actor; returns when none is left."""
        if self._driver.is_alive():
            self.stop(Stop(Outcome.CANCELLED, Reason.INTERRUPTED))
            self._driver.do(self._driver.wind_up)
            self._driver.join()

    def __enter__(self) -> RayBatchTestRunner:
        """Return the runner itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the runner."""
        self.close()


@dataclass(eq=False, slots=True)
class _Slot:
    """An actor and what it is at. Its number is never used again: it names the checkpoint file."""

    number: int
    actor: Actor
    asked_for: float
    ready: bool = False
    closing: bool = False
    flight: Flight | None = None


@dataclass(frozen=True, slots=True)
class _Waiting:
    order: Order
    since: float
    at: datetime


class _Driver(threading.Thread):
    """The one thread that knows the slots. All that happens comes to it as a call in its inbox."""

    def __init__(
        self, actors: Actors, limits: Limits, parallelism: int, clock: Clock, emit: Callable[[RunnerEvent], None]
    ) -> None:
        super().__init__(name="batchyard-ray-driver", daemon=True)
        self._actors, self._limits, self._parallelism = actors, limits, parallelism
        self._clock, self._emit = clock, emit
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._waiting: deque[_Waiting] = deque()
        self._slots: list[_Slot] = []
        self._pauses: set[int] = set()
        self._made = 0
        self._served_at = clock.monotonic()  # when an actor was last there to take orders
        self._rest_until = 0.0
        self._fault = ""
        self._stopped: Stopped | None = None
        self._close_until: float | None = None

    def do(self, call: Callable[[], None]) -> None:
        """Have the driver's thread make this call."""
        self._inbox.put(call)

    def run(self) -> None:
        """Work until wound up and no actor is left."""
        while self._close_until is None or self._slots:
            try:
                with contextlib.suppress(queue.Empty):
                    self._inbox.get(timeout=self._patience())()
                self._look_around()
            except Exception:  # of one call; the runner still owes an end to every other attempt
                _log.exception("the Ray runner broke over an answer")

    # -- what the runner asks ------------------------------------------------------------------------------------

    def take(self, order: Order) -> None:
        """Queue the order."""
        now = self._clock.monotonic()
        self._waiting.append(_Waiting(order, now, self._clock.now()))

    def pause(self, ordinal: int) -> None:
        """Tell the actor that runs the trial, or will run it."""
        self._pauses.add(ordinal)
        for slot in [*self._slots]:
            if slot.flight is not None and slot.flight.order.ordinal == ordinal:
                self._ask(slot, lambda _answer: None, "pause", ordinal)

    def halt(self, stop: Stop) -> list[Order]:
        """Tell every actor to stop; return the orders that none has."""
        self._stopped = self._stopped or Stopped(stop, self._clock.monotonic())
        returned = [waiting.order for waiting in self._waiting]
        self._waiting.clear()
        for slot in [*self._slots]:
            self._ask(slot, lambda _answer: None, "stop", stop)
        return returned

    def wind_up(self) -> None:
        """End every actor once nothing runs."""
        self._close_until = self._clock.monotonic() + self._limits.grace + _CLOSE_SECONDS

    # -- looking around ------------------------------------------------------------------------------------------

    def _look_around(self) -> None:
        now = self._clock.monotonic()
        for slot in [*self._slots]:
            if slot.flight is not None and now >= slot.flight.due(self._limits, self._stopped):
                self._give_up(slot, "its Ray actor did not answer and was killed", killed=True)
        over = self._is_over(now)
        if over and not any(slot.flight for slot in self._slots):
            while self._waiting:
                self._refuse(Outcome.NOT_RUN, "", "")
        if any(slot.ready for slot in self._slots):
            self._served_at = now
        if not over:
            self._hand_out(now)
            self._lose_patience(now)
            self._grow(now)
        if self._close_until is not None:
            self._end_actors(now)

    def _is_over(self, now: float) -> bool:
        """Return whether nothing may begin any more."""
        return self._stopped is not None or now >= self._limits.batch_until

    def _patience(self) -> float | None:
        """Return how many seconds nothing needs to be done, if nothing is heard."""
        looks = [slot.flight.due(self._limits, self._stopped) for slot in self._slots if slot.flight is not None]
        now = self._clock.monotonic()
        if self._waiting and not self._is_over(now):
            looks.append(self._limits.batch_until)
            if not any(slot.ready for slot in self._slots):
                looks.append(self._give_up_waiting_at())
            elif self._rest_until > now:
                looks.append(self._rest_until)
        if self._close_until is not None:
            looks.append(self._close_until)
        return max(0.0, min(looks) - now) if looks else None

    def _hand_out(self, now: float) -> None:
        free = deque(slot for slot in self._slots if slot.ready and slot.flight is None)
        while self._waiting and free:
            slot, order = free.popleft(), self._waiting.popleft().order
            slot.flight = Flight(order, self._clock.now(), now)
            if order.ordinal in self._pauses:
                self._ask(slot, lambda _answer: None, "pause", order.ordinal)
            self._ask(slot, partial(self._hear, slot), "run", order)

    def _grow(self, now: float) -> None:
        """Ask for an actor for each order that waits, up to the parallelism."""
        if now < self._rest_until and any(slot.ready for slot in self._slots):
            return
        starting = sum(not slot.ready for slot in self._slots)
        self.make(min(len(self._waiting) - starting, self._parallelism - len(self._slots)))

    def make(self, count: int) -> None:
        """Ask for so many actors more."""
        now = self._clock.monotonic()
        for _ in range(count):
            number, self._made = self._made, self._made + 1
            try:
                slot = _Slot(number, self._actors.make(number), now)
            except Exception as err:  # Ray's own, of whatever kind: there will be no such actor
                self._could_not_start(_text_of(err), now)
                return
            self._slots.append(slot)
            self._ask(slot, partial(self._welcome, slot), "version")
            self._ask(slot, lambda _answer: None, "live")

    def _give_up_waiting_at(self) -> float:
        return max(self._waiting[0].since, self._served_at) + self._limits.environment

    def _lose_patience(self, now: float) -> None:
        """Refuse the oldest orders if no actor has come for them within the environment's deadline."""
        seconds = self._limits.environment
        while self._waiting and not any(slot.ready for slot in self._slots) and now >= self._give_up_waiting_at():
            fault = f"; the last fault: {self._fault}" if self._fault else ""
            text = f"no Ray actor started within {seconds:g} s ({self._room()}){fault}"
            remedy = "give the cluster more processors, lower resources.cpu or raise spec.deadlines.environmentSeconds"
            self._refuse(Outcome.ERRORED, Reason.ENVIRONMENT_FAILED, f"{text}; {remedy}")
            for slot in [slot for slot in self._slots if now >= slot.asked_for + seconds]:
                self._drop(slot)  # it may be what hangs; the next order asks for another

    def _room(self) -> str:
        try:
            return self._actors.room()
        except Exception as err:  # Ray's own, of whatever kind: it may be the very fault
            return _text_of(err)

    def _refuse(self, outcome: Outcome, reason: str, message: str) -> None:
        waiting = self._waiting.popleft()
        self._emit(unsent(waiting.order, outcome, reason, message, waiting.at, self._clock.now()))

    def _end_actors(self, now: float) -> None:
        for slot in [*self._slots]:
            if slot.ready and now < (self._close_until or 0.0):
                if slot.flight is None and not slot.closing:
                    slot.closing = True
                    self._ask(slot, partial(self._closed, slot), "close")
            else:
                self._drop(slot)

    # -- what actors answer --------------------------------------------------------------------------------------

    def _ask(self, slot: _Slot, then: Callable[[Any], None], method: str, *arguments: object) -> None:
        """Ask the slot's actor; ``then`` gets its answer, unless the slot is given up or is now, for want of one."""
        try:
            future = slot.actor.ask(method, *arguments)
        except Exception as err:  # Ray's own, of whatever kind: the actor cannot be asked
            self._give_up(slot, f"its Ray actor cannot be asked to {method}: {_text_of(err)}")
            return
        future.add_done_callback(lambda done: self.do(lambda: self._answered(slot, then, done)))

    def _answered(self, slot: _Slot, then: Callable[[Any], None], done: Future[Any]) -> None:
        if slot not in self._slots:
            return
        err = done.exception()
        if err is None:
            then(done.result())
        else:
            self._give_up(slot, f"its Ray actor was lost: {_text_of(err)}")

    def _welcome(self, slot: _Slot, version: str) -> None:
        if version != batchyard.__version__:
            text = f"batchyard {version} is installed on its node and {batchyard.__version__} here; use one image"
            self._give_up(slot, text)
        else:
            slot.ready = True

    def _hear(self, slot: _Slot, events: Sequence[RunnerEvent]) -> None:
        for event in events:
            self._emit(event)
            if isinstance(event, Started) and slot.flight is not None:
                slot.flight.begins(event, self._clock.monotonic())
            if isinstance(event, Ended):
                slot.flight = None
                self._pauses.discard(event.result.ordinal)
        if slot.flight is not None:
            self._ask(slot, partial(self._hear, slot), "more")

    def _closed(self, slot: _Slot, _answer: object) -> None:
        self._drop(slot)

    def _give_up(self, slot: _Slot, text: str, *, killed: bool = False) -> None:
        """Do without the slot's actor, tell the end of what it was at, and let another take its place."""
        if slot not in self._slots:
            return
        self._drop(slot)
        now, flight = self._clock.monotonic(), slot.flight
        if flight is not None:
            cause = flight.cause(self._limits, self._stopped, now)
            self._emit(flight.lost(cause, text, self._clock.now(), now, ("KILL",) if killed else ()))
        elif not slot.ready:
            self._could_not_start(text, now)

    def _could_not_start(self, text: str, now: float) -> None:
        """Refuse an order if there is no other actor to take it, so that whoever made it decides how often to try."""
        self._fault, self._rest_until = text, now + _REST_SECONDS
        if self._waiting and not any(slot.ready for slot in self._slots):
            self._refuse(Outcome.ERRORED, Reason.ENVIRONMENT_FAILED, f"a Ray actor could not start: {text}")

    def _drop(self, slot: _Slot) -> None:
        self._slots.remove(slot)
        try:
            slot.actor.kill()
        except Exception:  # Ray's own, of whatever kind; the actor's end decides nothing any more
            _log.exception("a Ray actor could not be killed", slot=slot.number)


def _text_of(err: BaseException) -> str:
    return cut(" ".join(str(err).split()) or type(err).__name__)
