"""Makes an attempt ready on its controller: to begin with its input, or to go on from a thread that ran before."""

from __future__ import annotations

import base64
import binascii
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from batchyard.engine.ports import RunOutput
from batchyard.model.errors import StoreError
from batchyard.model.execution import Breakpoints
from batchyard.model.questions import Answer

if TYPE_CHECKING:
    from collections.abc import Callable

    from batchyard.engine.attempts import Order, Start
    from batchyard.engine.controller import ExecutionController
    from batchyard.engine.ports import Probe


def ready(controller: ExecutionController, order: Order) -> Callable[[Probe], RunOutput]:
    """Return what runs the order.

    Raises ``WorkflowInvalid``; ``ExecutionError``, ``StoreError`` or ``OSError`` if it cannot begin where it is to.
    """
    breakpoints = Breakpoints(frozenset(order.pause_before), frozenset(order.pause_after))
    start, thread = order.start, order.thread_id
    workspace = Path(order.workspace) if order.workspace else None
    if start is None:
        controller.create(thread, order.variants, order.state, breakpoints=breakpoints, workspace=workspace)
        return partial(controller.run, thread)
    piece = _piece(start)
    if piece is None:
        controller.adopt(thread, order.variants, breakpoints=breakpoints)
    else:
        controller.take_up(thread, order.variants, piece, breakpoints=breakpoints)
    if start.checkpoint:
        controller.roll_back(thread, checkpoint=start.checkpoint)
    # After going back: a new folder is to have nothing that came later. Who only looks needs no files.
    if workspace is not None and (start.edits or not start.hold):
        controller.move_in(thread, workspace)
    if start.edits:
        controller.edit(thread, start.edits, as_node=start.as_node or None)
    if start.hold:
        return lambda _probe: _as_it_stands(controller, thread)
    return partial(controller.resume, thread, answers=[Answer(value) for value in start.answer])


def _piece(start: Start) -> bytes | None:
    if start.path:
        return Path(start.path).read_bytes()
    if not start.piece:
        return None
    try:
        return base64.b64decode(start.piece, validate=True)
    except binascii.Error as err:
        raise StoreError(f"a thread that was to be gone on with is damaged: {err}") from err


def _as_it_stands(controller: ExecutionController, thread: str) -> RunOutput:
    execution = controller.get(thread)
    return RunOutput(
        "paused", controller.state(thread), last_checkpoint=execution.checkpoint, upcoming=execution.upcoming
    )
