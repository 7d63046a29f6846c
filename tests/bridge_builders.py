"""Build the bridges of more than one test module."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchyard.events import AgentGitBridge, EventBus
from event_builders import NOON

if TYPE_CHECKING:
    from datetime import datetime

    from batchyard.testing.foreign import FakeAgentGit


class StoppedClock:
    def now(self) -> datetime:
        return NOON

    def monotonic(self) -> float:
        return 0.0


def agentgit_bridge(bus: EventBus, emitter: FakeAgentGit | None) -> AgentGitBridge:
    return AgentGitBridge(bus, emitter, batch_id="batch", clock=StoppedClock(), epoch=2)
