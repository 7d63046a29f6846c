"""The bridge from AgentGit-shaped emitters, and what their three events mean here.

It is also the pattern for other frameworks. It does not import AgentGit and knows only its events' field names.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from batchyard.events.bridges import BridgeCounts, ForeignEmitter, ForeignHandler, Tally, bridge_failed
from batchyard.model.events import Event, EventType

if TYPE_CHECKING:
    from batchyard.clock import Clock
    from batchyard.events.bus import EventBus
    from batchyard.model.trial import JSON


class AgentGitBridge:
    """Carries the events of an AgentGit-shaped emitter onto the bus, as events of one batch.

    A checkpoint becomes CheckpointCreated, a rollback RollbackPerformed and a session that is a branch
    BranchCreated; other sessions are skipped. An event that does not have the expected fields is counted as failed
    and published as BridgeFailed; nothing is ever raised into the emitter.
    """

    name = "agentgit"

    def __init__(
        self, bus: EventBus, emitter: ForeignEmitter | None, *, batch_id: str, clock: Clock, epoch: int = 0
    ) -> None:
        """Carry from ``emitter``, which is None where AgentGit is not installed."""
        self._bus = bus
        self._emitter = emitter
        self._batch_id = batch_id
        self._clock = clock
        self._epoch = epoch
        self._tally = Tally()
        # Guards _subscribed, so that enable() and disable() from two threads do not interleave.
        self._lock = threading.Lock()
        self._subscribed: tuple[tuple[str, ForeignHandler], ...] = ()

    def enable(self) -> bool:
        """Subscribe to the emitter; return False if there is none."""
        if self._emitter is None:
            return False
        with self._lock:
            if self._subscribed:
                return True
            done: list[tuple[str, ForeignHandler]] = []
            try:
                for type_name, translate in _AGENTGIT.items():
                    handler = self._handler(type_name, translate)
                    self._emitter.subscribe(type_name, handler)
                    done.append((type_name, handler))
            except BaseException:
                self._unsubscribe(self._emitter, done)
                raise
            self._subscribed = tuple(done)
            return True

    def disable(self) -> None:
        """Unsubscribe from the emitter."""
        with self._lock:
            if self._emitter is not None:
                self._unsubscribe(self._emitter, self._subscribed)
            self._subscribed = ()

    def counts(self) -> BridgeCounts:
        """Return the totals by the emitter's type names."""
        return self._tally.counts()

    @staticmethod
    def _unsubscribe(emitter: ForeignEmitter, subscribed: Collection[tuple[str, ForeignHandler]]) -> None:
        for type_name, handler in subscribed:
            emitter.unsubscribe(type_name, handler)

    def _handler(self, type_name: str, translate: _Translate) -> ForeignHandler:
        def carry(foreign: object) -> None:
            try:
                translation = translate(foreign)
            except Exception as err:  # a foreign event's attributes may raise anything; its emitter must not suffer
                self._tally.failed(type_name)
                self._bus.publish(self._failure(type_name, err))
                return
            if translation is None:
                self._tally.skipped(type_name)
                return
            self._tally.crossed(type_name)
            self._bus.publish(
                Event(
                    type=translation.type,
                    at=self._clock.now(),
                    batch_id=self._batch_id,
                    message=translation.message,
                    epoch=self._epoch,
                    details=translation.details,
                    source=self.name,
                )
            )

        return carry

    def _failure(self, type_name: str, err: Exception) -> Event:
        return bridge_failed(
            self.name, type_name, str(err), batch_id=self._batch_id, epoch=self._epoch, at=self._clock.now()
        )


class _Untranslatable(Exception):
    """A foreign event lacks a field or has one of the wrong type."""


@dataclass(frozen=True, slots=True)
class _Translation:
    """A foreign event in the bus's terms."""

    type: EventType
    message: str
    details: Mapping[str, JSON]


_Translate: TypeAlias = Callable[[object], _Translation | None]

_T = TypeVar("_T")


def _checkpoint_created(foreign: object) -> _Translation:
    checkpoint, session = _id(foreign, "checkpoint_id"), _id(foreign, "session_id")
    name = _field(foreign, "checkpoint_name", str, "")
    details: dict[str, JSON] = {
        "checkpoint": checkpoint,
        "session": session,
        "name": name,
        "automatic": _field(foreign, "is_auto", bool, False),
        "toolCount": _field(foreign, "tool_count", int, 0),
    }
    shown = f" ({name})" if name else ""
    return _Translation(
        EventType.CHECKPOINT_CREATED, f"checkpoint {checkpoint}{shown} created in session {session}", details
    )


def _rollback_performed(foreign: object) -> _Translation:
    checkpoint, session = _id(foreign, "checkpoint_id"), _id(foreign, "original_session_id")
    reversed_tools = _field(foreign, "tools_reversed", int, 0)
    details: dict[str, JSON] = {
        "checkpoint": checkpoint,
        "session": session,
        "newSession": _optional_id(foreign, "new_session_id"),
        "toolsReversed": reversed_tools,
    }
    return _Translation(
        EventType.ROLLBACK_PERFORMED,
        f"session {session} rolled back to checkpoint {checkpoint}, {reversed_tools} tool calls reversed",
        details,
    )


def _session_created(foreign: object) -> _Translation | None:
    session, is_branch = _id(foreign, "session_id"), _field(foreign, "is_branch", bool, None)
    if is_branch is None:
        raise _Untranslatable("it has no is_branch")
    if not is_branch:
        return None
    parent = _optional_id(foreign, "parent_session_id")
    reason = "rollback" if parent else "variant_test"
    details: dict[str, JSON] = {"session": session, "parent": parent, "reason": reason}
    return _Translation(EventType.BRANCH_CREATED, f"session {session} branched off ({reason})", details)


_AGENTGIT: Mapping[str, _Translate] = {
    "CheckpointCreatedEvent": _checkpoint_created,
    "RollbackPerformedEvent": _rollback_performed,
    "SessionCreatedEvent": _session_created,
}


def _id(foreign: object, name: str) -> str:
    found = _optional_id(foreign, name)
    if not found:
        raise _Untranslatable(f"it has no {name}")
    return found


def _optional_id(foreign: object, name: str) -> str:
    value = getattr(foreign, name, None)
    # AgentGit counts from 1 and writes 0 for "none".
    if value is None or (type(value) is int and value == 0):
        return ""
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise _Untranslatable(f"its {name} is neither a number nor a text but {type(value).__name__}")
    return str(value)


def _field(foreign: object, name: str, kind: type[_T], default: _T | None) -> _T | None:
    value = getattr(foreign, name, None)
    if value is None:
        return default
    # bool is an int to Python, not to whoever reads the entry.
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise _Untranslatable(f"its {name} is not {kind.__name__} but {type(value).__name__}")
    return value
