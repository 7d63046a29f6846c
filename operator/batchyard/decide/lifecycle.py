"""What to do next about one BatchTest in a cluster, from what is known of it. Pure; one step at a time.

The caller gathers the facts anew after every step, so that a crash between any two steps is healed by the next look.
Not for what the worker decides by itself: trials, their deadlines and their retries.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

from batchyard.model.outcome import Phase, Reason

if TYPE_CHECKING:
    from datetime import datetime

PATIENCE_SECONDS = 10.0
"""How long beyond its grace a worker may take to end what it was told to end, before its place is taken away."""

_LOOK_SECONDS = 2.0
# What a worker has to say comes by itself, and what happens to its place is mostly told by a watch.
_CALM_SECONDS = 10.0
_SILENT_SECONDS = 20.0
_LONGEST_HOLD_SECONDS = 300.0
_CANCELLED_BY = "spec.cancel is true"


class Seen(StrEnum):
    """What can be seen of an attempt's place."""

    ABSENT = "Absent"
    QUEUED = "Queued"
    PENDING = "Pending"
    READY = "Ready"
    RUNNING = "Running"
    ENDED = "Ended"
    LOST = "Lost"
    STRANDED = "Stranded"


@dataclass(frozen=True, slots=True)
class Attempt:
    """The newest attempt at giving the batch a place.

    ``ensured`` is whether this operator had all of the place made, or found it made. ``refused_at`` is when that was
    last refused. ``queued`` is whether it was last said that a queue holds the place back, and ``admitted_at`` when it
    was last said that none does any more. ``done`` is why the worker said that it stopped ("" if all trials were
    settled), with what it said more, None while it has not said so. ``asked_at`` is when the worker was first told to
    stop. ``seen`` is None if the place was not looked at, or could not be.
    """

    number: int
    requested_at: datetime
    ensured: bool = False
    refused_at: datetime | None = None
    queued: bool = False
    admitted_at: datetime | None = None
    started: bool = False
    ended_at: datetime | None = None
    released: bool = False
    done: str | None = None
    done_message: str = ""
    heard_at: datetime | None = None
    asked_at: datetime | None = None
    seen: Seen | None = None
    seen_reason: str = ""
    seen_message: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything a decision may depend on. ``barren`` counts the newest attempts in a row that came to nothing.

    ``listening_since`` is since when this operator could have heard the worker; None if it always could.
    ``reason`` and ``message`` are why a batch in phase ``Evaluating`` is being ended. ``amends`` is whether it has yet
    to be told what was carried over from the batch that it amends. ``ended_by`` is why the results that there are end
    the batch, whatever is left to run; "" if they do not.
    """

    now: datetime
    phase: Phase
    deadline_at: datetime
    open_trials: int
    environment_seconds: float
    grace_seconds: float
    exists: bool = True
    suspend: bool = False
    cancel: bool = False
    attempt: Attempt | None = None
    barren: int = 0
    max_barren: int = 2
    retry_seconds: float = 1.0
    longest_retry_seconds: float = 30.0
    listening_since: datetime | None = None
    reason: str = ""
    message: str = ""
    amends: bool = False
    ended_by: str = ""


@dataclass(frozen=True, slots=True)
class CarryOver:
    """Take over what stands for trials from the batch that is amended, and tell how much that was."""


@dataclass(frozen=True, slots=True)
class Provision:
    """Write down attempt ``number`` and make its place."""

    number: int


@dataclass(frozen=True, slots=True)
class Ensure:
    """Make the attempt's place, or what is missing of it: it was written down."""


@dataclass(frozen=True, slots=True)
class Queue:
    """Say that a queue holds the place back."""


@dataclass(frozen=True, slots=True)
class Admit:
    """Say that the queue lets the place be made: its time begins."""


@dataclass(frozen=True, slots=True)
class Start:
    """The place is ready: start the worker in it."""


@dataclass(frozen=True, slots=True)
class EndAttempt:
    """This place is of no more use; what is not finished needs another one."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Conclude:
    """End the batch: what has no result is not run. ``reason`` "" leaves the verdict to the results."""

    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Release:
    """Give the newest attempt's place back."""


@dataclass(frozen=True, slots=True)
class Hold:
    """The batch is suspended, and nothing of it runs."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do for ``seconds``, unless something happens first."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Rest:
    """Nothing will ever have to be done again."""


Step: TypeAlias = (
    CarryOver | Provision | Ensure | Queue | Admit | Start | EndAttempt | Conclude | Release | Hold | Wait | Rest
)

_RETRIED = frozenset({Reason.ENVIRONMENT_FAILED, Reason.INTERRUPTED, Reason.SUSPENDED, ""})
"""Why a worker may stop with trials left that another place can still run."""


def next_step(facts: Facts) -> Step:
    """Return the one thing to do now."""
    step = _next_step(facts)
    if isinstance(step, Wait) and facts.now < facts.deadline_at:
        return Wait(min(step.seconds, (facts.deadline_at - facts.now).total_seconds()))
    return step


def hold_seconds(facts: Facts) -> float:
    """Return when to look again at a batch that is held: it has a deadline all the same."""
    return min(_LONGEST_HOLD_SECONDS, max(0.0, (facts.deadline_at - facts.now).total_seconds()))


def _next_step(facts: Facts) -> Step:
    attempt = facts.attempt
    if facts.phase.final:
        return Rest() if attempt is None or attempt.released else Release()
    if facts.phase is Phase.EVALUATING:
        # It was being ended when a crash came, and why is written down.
        return Conclude(facts.reason, facts.message)
    if not facts.exists:
        return Conclude(Reason.CANCELLED, "the BatchTest was deleted")
    done = attempt.done if attempt is not None and attempt.ended_at is None else None
    if facts.open_trials == 0 and facts.amends:
        return CarryOver()  # all of it was, and a crash came before that was told
    if facts.open_trials == 0:
        return (
            Conclude("") if attempt is None or done is None or done in _RETRIED else _after_the_worker(facts, attempt)
        )
    if attempt is not None and done is not None:
        return _after_the_worker(facts, attempt)
    if facts.now >= facts.deadline_at:
        return _past_deadline(facts)
    if facts.cancel:
        left = _patience_left(facts)
        return Wait(left) if left > 0 else Conclude(Reason.CANCELLED, _CANCELLED_BY)
    if attempt is None or attempt.ended_at is not None:
        return _without_place(facts)
    if facts.suspend:
        left = _patience_left(facts)
        return Wait(left) if left > 0 else EndAttempt(Reason.SUSPENDED, "spec.suspend is true")
    return _with_place(facts, attempt)


def _after_the_worker(facts: Facts, attempt: Attempt) -> Step:
    done, message = attempt.done or "", attempt.done_message
    if done == Reason.INTERRUPTED and (attempt.seen is Seen.QUEUED or attempt.seen_reason == Reason.PREEMPTED):
        # Its pod was told to end, and this is who did that.
        return EndAttempt(Reason.PREEMPTED, attempt.seen_message)
    if done in _RETRIED:
        return EndAttempt(done or Reason.ENVIRONMENT_FAILED, message or "the worker stopped with trials left")
    if done == Reason.CANCELLED and facts.cancel:
        message = message or _CANCELLED_BY
    return Conclude(done, message)


def _past_deadline(facts: Facts) -> Step:
    """The worker ends its trials itself; without one, or if it does not, the operator ends the batch."""
    attempt = facts.attempt
    # What a worker spooled while no operator listened is still on its way.
    over = (facts.now - _latest(facts.deadline_at, facts.listening_since)).total_seconds()
    patience = facts.grace_seconds + PATIENCE_SECONDS if attempt is not None and _is_alive(facts, attempt) else 0.0
    if over < patience:
        return Wait(patience - over)
    if attempt is None or attempt.ended_at is not None or attempt.heard_at is not None:
        return Conclude(Reason.BATCH_DEADLINE_EXCEEDED)
    # No worker was ever heard: this is all that explains it.
    return Conclude(Reason.BATCH_DEADLINE_EXCEEDED, _seen_of(attempt))


def _patience_left(facts: Facts) -> float:
    """Return how many seconds the worker still has to end by itself what it was told to end."""
    attempt = facts.attempt
    if attempt is None or not _is_alive(facts, attempt):
        return 0.0
    asked = attempt.asked_at or facts.now
    return facts.grace_seconds + PATIENCE_SECONDS - (facts.now - asked).total_seconds()


def _is_alive(facts: Facts, attempt: Attempt) -> bool:
    """Return whether a worker is likely to hear and to answer."""
    if attempt.ended_at is not None or attempt.seen in {Seen.ABSENT, Seen.QUEUED, Seen.ENDED, Seen.LOST}:
        return False
    if attempt.heard_at is None:
        return False
    return (facts.now - _latest(attempt.heard_at, facts.listening_since)).total_seconds() < _SILENT_SECONDS


def _latest(moment: datetime, other: datetime | None) -> datetime:
    return moment if other is None else max(moment, other)


def _without_place(facts: Facts) -> Step:
    attempt = facts.attempt
    if attempt is not None and not attempt.released:
        # Never two places at a time: what is left of the old one could take what the new one needs.
        return Release()
    if facts.suspend:
        return Hold()
    if facts.amends:
        return CarryOver()
    if facts.ended_by:
        return Conclude(facts.ended_by)
    if attempt is None or attempt.ended_at is None:
        return Provision(1)
    if facts.barren >= facts.max_barren:
        return Conclude(Reason.ENVIRONMENT_FAILED, attempt.seen_message)
    # Whoever resumes a batch has waited enough.
    waits = facts.barren > 0 and facts.phase is not Phase.SUSPENDED
    pause = facts.retry_seconds * 2 ** (facts.barren - 1) if waits else 0.0
    left = min(pause, facts.longest_retry_seconds) - (facts.now - attempt.ended_at).total_seconds()
    return Wait(left) if left > 0 else Provision(attempt.number + 1)


def _with_place(facts: Facts, attempt: Attempt) -> Step:
    # What a queue takes is not the place's time; nor is it while a queue may hold it back and nobody could look.
    waited = 0.0 if attempt.queued else (facts.now - (attempt.admitted_at or attempt.requested_at)).total_seconds()
    seen = _seen_of(attempt)
    # A node that is cut off from its cluster, and not dead, may have a worker that goes on.
    stranded = attempt.seen is Seen.STRANDED and not _is_alive(facts, attempt)
    if stranded or attempt.seen in {Seen.ENDED, Seen.LOST} or (attempt.started and attempt.seen is Seen.ABSENT):
        return EndAttempt(Reason.ENVIRONMENT_FAILED, seen or "the place is gone")
    if attempt.seen is Seen.QUEUED:
        return _in_a_queue(attempt)
    if attempt.queued and attempt.seen in {Seen.PENDING, Seen.READY, Seen.RUNNING}:
        return Admit()
    if attempt.heard_at is None and waited >= facts.environment_seconds and not _was_unheard(facts, attempt):
        return Conclude(Reason.ENVIRONMENT_DEADLINE_EXCEEDED, seen)
    if attempt.started:
        return Wait(_CALM_SECONDS if _is_alive(facts, attempt) else _LOOK_SECONDS)
    match attempt.seen:
        case Seen.ABSENT:
            return _make(facts, attempt)
        case Seen.PENDING if not attempt.ensured:
            # It is there, but perhaps not all of it: whoever made it may have ended half-way.
            return _make(facts, attempt)
        case Seen.READY | Seen.RUNNING:
            return Start()
        case _:
            return Wait(_LOOK_SECONDS)


def _seen_of(attempt: Attempt) -> str:
    return f"{attempt.seen_reason}: {attempt.seen_message}" if attempt.seen_reason else attempt.seen_message


def _in_a_queue(attempt: Attempt) -> Step:
    """A place whose worker has begun was taken back; any other one has yet to be given."""
    if attempt.started or attempt.heard_at is not None:
        return EndAttempt(Reason.PREEMPTED, attempt.seen_message)
    # Whether it is let in, a watch tells.
    return Wait(_CALM_SECONDS) if attempt.queued else Queue()


def _was_unheard(facts: Facts, attempt: Attempt) -> bool:
    """Return whether a worker that is there may have had nobody to speak to until now."""
    if facts.listening_since is None or attempt.seen not in {Seen.READY, Seen.RUNNING}:
        return False
    return (facts.now - facts.listening_since).total_seconds() < PATIENCE_SECONDS


def _make(facts: Facts, attempt: Attempt) -> Step:
    """Make the place, the more seldom the longer it has been refused."""
    if attempt.refused_at is None:
        return Ensure()
    tried = (attempt.refused_at - attempt.requested_at).total_seconds()
    pause = max(_LOOK_SECONDS, min(tried / 2, facts.environment_seconds - tried))
    left = pause - (facts.now - attempt.refused_at).total_seconds()
    return Wait(left) if left > 0 else Ensure()
