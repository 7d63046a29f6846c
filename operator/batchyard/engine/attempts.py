"""What passes between the engine and a runner: orders in, what happened out. Plain data and one Protocol."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from batchyard.model.execution import Keep
from batchyard.model.trial import NodeBoundary

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from batchyard.decide.forking import ForkPoint
    from batchyard.model.outcome import Outcome
    from batchyard.model.trial import JSON, AttemptResult
    from batchyard.model.usage import Usage


@dataclass(frozen=True, slots=True)
class Beginning:
    """What another trial ran for this one too: its thread (base64), up to a checkpoint, and the nodes that ran."""

    thread: str
    checkpoint: str
    boundaries: Sequence[NodeBoundary]

    @classmethod
    def from_json(cls, body: Mapping[str, JSON]) -> Beginning:
        """Return the beginning that was sent as JSON."""
        return cls(body["thread"], body["checkpoint"], [NodeBoundary(**boundary) for boundary in body["boundaries"]])


@dataclass(frozen=True, slots=True)
class Start:
    """What an attempt goes on from, instead of beginning with its input: a thread that ran before.

    The thread is a piece, as ``workflows.thread_copy`` takes it out of a checkpoint file: here as base64, or in a file
    at ``path`` on the worker's machine. With neither it is the order's own thread, in the worker's own file. It may
    have run with other variants than the order's. First it is taken back to ``checkpoint``, if that is named, and
    ``edits`` are set, as if node ``as_node`` (the one that ran last) had left the state so. ``answer``, a list of one
    value, is for a graph that asked. With ``hold`` no node runs: the state is made as it is to be, and is the output.
    """

    piece: str = ""
    path: str = ""
    checkpoint: str = ""
    edits: Mapping[str, JSON] = field(default_factory=dict)
    as_node: str = ""
    answer: Sequence[JSON] = ()
    hold: bool = False

    @classmethod
    def from_piece(cls, piece: bytes, *, edits: Mapping[str, JSON] | None = None) -> Start:
        """Return the start from a thread that travels with the order."""
        return cls(piece=base64.b64encode(piece).decode(), edits=edits or {})


@dataclass(frozen=True, slots=True)
class Order:
    """Everything an attempt needs, as JSON, so that it can travel to any worker.

    ``state`` is the case's input with the batch's initial state merged under it; with ``start`` the attempt goes on
    from there. ``fork`` says where that is before it is fetched (``runners.keeping``). It pauses before and after the
    nodes named (``*`` is every node), with outcome ``NeedsInput`` and reason ``Paused``.
    ``keep`` says whether its thread comes back with its end (``Ended.thread``).
    ``answers`` has the fields of the case's ``ScriptedAnswer``s. ``beginning`` is what it need not run itself;
    ``share`` has, for each kind of trial that waits for this one, the nodes that both have in common.
    """

    trial_id: str
    ordinal: int
    combination: str
    variants: Mapping[str, str]
    case: str
    repeat: int
    attempt: int
    epoch: int
    thread_id: str
    state: Mapping[str, JSON]
    expected: JSON = None
    weight: float = 1.0
    deadline_seconds: float | None = None
    workspace: str = ""
    answers: Sequence[Mapping[str, JSON]] = ()
    start: Start | None = None
    pause_before: Sequence[str] = ()
    pause_after: Sequence[str] = ()
    keep: Keep = Keep.NEVER
    fork: ForkPoint | None = None
    beginning: Beginning | None = None
    share: Sequence[Sequence[str]] = ()

    @classmethod
    def from_json(cls, body: Mapping[str, JSON]) -> Order:
        """Return the order that was sent as JSON."""
        start, beginning = body.get("start"), body.get("beginning")
        return cls(
            **{
                **body,
                "start": None if start is None else Start(**start),
                "beginning": None if beginning is None else Beginning.from_json(beginning),
            }
        )


@dataclass(frozen=True, slots=True)
class Started:
    """An attempt began on a worker."""

    order: Order
    worker: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Prefix:
    """The beginning of a run for others to go on from: a piece of its thread, and the nodes that ran in it."""

    thread: bytes
    boundaries: tuple[NodeBoundary, ...]


@dataclass(frozen=True, slots=True)
class Ended:
    """An attempt ended. ``confirmed`` is False if its code may still run; ``signals`` were needed to end it.

    ``overrun_seconds`` is how long after its deadline it was over, None if no deadline passed. ``thread`` is the
    attempt's thread as a piece, to go on from (``Start``), if the order asked for it and there is any.
    ``kept`` is whether the thread was kept elsewhere, ``not_kept`` why it could not be. ``prefix`` is what it left for
    the trials that wait for it.
    """

    result: AttemptResult
    confirmed: bool = True
    signals: tuple[str, ...] = ()
    overrun_seconds: float | None = None
    thread: bytes | None = None
    kept: bool = False
    not_kept: str = ""
    prefix: Prefix | None = None


@dataclass(frozen=True, slots=True)
class Late:
    """A result that came after its attempt had been ended: it changes nothing and is told as such."""

    order: Order
    outcome: str


@dataclass(frozen=True, slots=True)
class Used:
    """What a running attempt has used so far; told now and then if the batch has a budget."""

    order: Order
    used: Usage


RunnerEvent = Started | Ended | Late | Used


@dataclass(frozen=True, slots=True)
class Stop:
    """Why everything that runs has to end now, and the outcome that its attempts get."""

    outcome: Outcome
    reason: str


class BatchTestRunner(Protocol):
    """Runs attempts in parallel. Every order submitted comes back as one ``Ended``, or from ``stop``."""

    def submit(self, order: Order) -> None:
        """Queue an attempt; never blocks."""
        ...

    def next_event(self, timeout: float | None) -> RunnerEvent | None:
        """Return the next event, or None if none came within ``timeout`` seconds."""
        ...

    def pause(self, ordinal: int) -> None:
        """Have the trial's attempt that runs, or begins, pause at its next node boundary; its deadlines hold on."""
        ...

    def stop(self, stop: Stop) -> Sequence[Order]:
        """End all that runs, softly first, and return the orders that had not begun."""
        ...

    def close(self) -> None:
        """End every worker; returns when none is left."""
        ...
