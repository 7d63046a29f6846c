"""Goes on with a trial from where another one got to that had the same beginning. The end is the same as without."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from batchyard.decide.prefixes import as_shared
from batchyard.model.errors import StoreError
from batchyard.model.execution import Breakpoints

if TYPE_CHECKING:
    from collections.abc import Callable

    from batchyard.engine.attempts import Beginning, Order
    from batchyard.engine.controller import ExecutionController, RunSettings
    from batchyard.engine.ports import Probe, RunOutput, StateAdapter

_log = structlog.get_logger(__name__)

_STEPS_TO_END = 3
"""Steps that a run must still have to be gone on with: LangGraph counts the one that finds no more to do, and refuses
a limit below one. A run so near its limit ends as it would have, from its input."""


def gone_on(
    order: Order, adapter: StateAdapter, controller: ExecutionController, settings: RunSettings
) -> Callable[[Probe], RunOutput] | None:
    """Return what runs the rest of the order's trial, None if it has to run from its input. Raises ``WorkflowInvalid``.

    Whatever was damaged on the way costs the time that sharing would have saved, and nothing else.
    """
    beginning = order.beginning
    if beginning is None or order.start is not None:
        return None
    if beginning.boundaries[-1].step + _STEPS_TO_END > settings.recursion_limit:
        return None
    try:
        adapter.take_in(order.thread_id, base64.b64decode(beginning.thread))
    except StoreError as err:
        _log.warning("a shared beginning cannot be used", error=str(err))
        return None
    adapter.roll_back(order.thread_id, beginning.checkpoint)
    breakpoints = Breakpoints(frozenset(order.pause_before), frozenset(order.pause_after))
    controller.adopt(order.thread_id, order.variants, breakpoints=breakpoints)
    return lambda probe: _whole(beginning, controller.resume(order.thread_id, probe, steps_count=True))


def _whole(beginning: Beginning, rest: RunOutput) -> RunOutput:
    """Return how a run ended with all its nodes, those that ran elsewhere first."""
    return replace(rest, boundaries=(*as_shared(beginning.boundaries), *rest.boundaries))
