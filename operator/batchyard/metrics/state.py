"""How things stand, read at the moment somebody asks, so that no gauge is ever left behind by what ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class StateSnapshot:
    """How everything stands now. What is not named counts as 0.

    ``trials_running`` is by runner (Threads, Ray), ``environments`` by provider and state, ``batches`` by phase.
    ``watch_last_event_age_seconds`` is None while nothing is watched.
    """

    batches: Mapping[str, int] = field(default_factory=dict)
    trials_running: Mapping[str, int] = field(default_factory=dict)
    trials_pending: int = 0
    abandoned_workers: int = 0
    environments: Mapping[tuple[str, str], int] = field(default_factory=dict)
    outbox_pending: int = 0
    outbox_oldest_seconds: float = 0.0
    reconcile_queue_depth: int = 0
    watch_last_event_age_seconds: float | None = None
