"""A fake AgentGit: an emitter with its events' names and fields, and nothing behind them.

For tests of bridges. It checks its caller: a handler subscribed twice, or unsubscribed without having been subscribed,
is an error.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batchyard.events.bridges import ForeignHandler


@dataclass
class CheckpointCreatedEvent:
    """Says that a checkpoint was made. AgentGit's ids are numbers."""

    checkpoint_id: object
    session_id: object
    checkpoint_name: object = None
    is_auto: object = False
    tool_count: object = 0


@dataclass
class RollbackPerformedEvent:
    """Says that a session went back to a checkpoint."""

    checkpoint_id: object
    original_session_id: object
    new_session_id: object = None
    tools_reversed: object = 0


@dataclass
class SessionCreatedEvent:
    """Says that a session began, on its own or as a branch of another."""

    session_id: object
    is_branch: object = False
    parent_session_id: object = None


class FakeAgentGit:
    """Calls its subscribers like AgentGit's bus: at once, in order, and without catching what they raise."""

    def __init__(self) -> None:
        self._handlers: defaultdict[str, list[ForeignHandler]] = defaultdict(list)

    def subscribe(self, type_name: str, handler: ForeignHandler) -> None:
        """Call ``handler`` with every event of this type; twice the same is an error."""
        if handler in self._handlers[type_name]:
            raise AssertionError(f"{handler!r} is already subscribed to {type_name}")
        self._handlers[type_name].append(handler)

    def unsubscribe(self, type_name: str, handler: ForeignHandler) -> None:
        """Stop calling it; one that was not subscribed is an error."""
        if handler not in self._handlers[type_name]:
            raise AssertionError(f"{handler!r} is not subscribed to {type_name}")
        self._handlers[type_name].remove(handler)

    def emit(self, event: object, type_name: str | None = None) -> None:
        """Hand ``event`` to the subscribers of ``type_name``, by default its class's name."""
        for handler in tuple(self._handlers[type_name or type(event).__name__]):
            handler(event)

    @property
    def subscribed(self) -> int:
        """Return how many subscriptions stand."""
        return sum(len(handlers) for handlers in self._handlers.values())
