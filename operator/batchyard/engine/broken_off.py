"""What becomes of an execution in whose move the adapter raised: it is refused, or its run broken off."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from batchyard.model.errors import StoreError
from batchyard.model.execution import ExecutionError, ExecutionStatus

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchyard.engine.ports import StateAdapter
    from batchyard.model.execution import Execution


def broken_off(adapter: StateAdapter, before: Execution, running: Execution, error: BaseException) -> Execution:
    """Return an execution as it was ``before``, or ``running`` paused at its last boundary if it came further."""
    if isinstance(error, ExecutionError):
        return before  # refused: the thread may be another's
    try:
        history = adapter.history(before.id)
    except StoreError:
        return before  # the error that ended the run is the one to be told
    if not history or history[-1].id == before.checkpoint:
        return before
    head = history[-1]
    return replace(running, status=ExecutionStatus.PAUSED, checkpoint=head.id, upcoming=head.next)


@contextmanager
def refusals_of(execution_id: str) -> Iterator[None]:
    """Have what the adapter refuses told as such, with whose execution it is."""
    try:
        yield
    except ValueError as error:
        raise ExecutionError(f"execution {execution_id}: {error}") from error
