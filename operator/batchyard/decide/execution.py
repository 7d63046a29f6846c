"""Which moves an execution's status allows, and where they lead. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from batchyard.model.execution import (
    CheckpointNotFound,
    ExecutionError,
    ExecutionStatus,
    InvalidTransition,
    Move,
    NoRollbackTarget,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from batchyard.model.execution import Checkpoint, Execution
    from batchyard.model.trial import NodeBoundary

_ENDED = (ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.CANCELLED)

ALLOWED: dict[Move, tuple[ExecutionStatus, ...]] = {
    Move.RUN: (ExecutionStatus.PENDING,),
    Move.PAUSE: (ExecutionStatus.RUNNING,),
    Move.RESUME: (ExecutionStatus.PAUSED,),
    Move.STOP: (ExecutionStatus.PENDING, ExecutionStatus.RUNNING, ExecutionStatus.PAUSED),
    # Going back makes an ended execution one that can go on; what is under way has no boundary to stand on.
    Move.ROLL_BACK: (ExecutionStatus.PAUSED, *_ENDED),
    # A fork leaves its source alone, but a running one would be forked from a place that is already past.
    Move.FORK: (ExecutionStatus.PAUSED, *_ENDED),
    Move.EDIT: (ExecutionStatus.PAUSED,),
}
"""From which statuses each move can be made."""

ENDING: dict[str, ExecutionStatus] = {
    "completed": ExecutionStatus.COMPLETED,
    "failed": ExecutionStatus.FAILED,
    "paused": ExecutionStatus.PAUSED,
    # The graph waits for an answer, which ``resume`` brings.
    "interrupted": ExecutionStatus.PAUSED,
    "stopped": ExecutionStatus.CANCELLED,
}
"""What an execution is after a run that ended so (``RunOutput.status``)."""


def check(execution: Execution, move: Move) -> None:
    """Raise ``InvalidTransition`` unless the execution's status allows the move."""
    allowed = ALLOWED[move]
    if execution.status not in allowed:
        raise InvalidTransition(execution.id, execution.status, move, f"that takes {' or '.join(allowed)}")


def check_breakpoints(named: Iterable[str], nodes: Sequence[str]) -> None:
    """Raise ``ExecutionError`` unless these are nodes of the workflow, or ``*``."""
    if unknown := sorted(set(named) - {*nodes, "*"}):
        raise ExecutionError(f"a breakpoint names no node: {', '.join(unknown)}; the nodes are {', '.join(nodes)}")


def heeded(asked: Move | None, wanted: Move) -> Move:
    """Return what a run heeds that was asked for one thing before and for another now: a stop outranks a pause."""
    return Move.STOP if asked is Move.STOP else wanted


def meant(execution: str, history: Sequence[Checkpoint], *, checkpoint: str = "", node: str = "") -> Checkpoint:
    """Return the boundary at which ``node`` had last ended, or else this checkpoint, or else the newest.

    ``history`` is oldest first; of the checkpoint's id the beginning will do. Raises ``CheckpointNotFound`` or
    ``NoRollbackTarget``.
    """
    if not history:
        raise CheckpointNotFound(f"execution {execution} has no checkpoint yet")
    if node:
        return _boundary_after(execution, history, node)
    return _known(execution, history, checkpoint) if checkpoint else history[-1]


def named(execution: str, history: Sequence[Checkpoint], name: str) -> Checkpoint:
    """Return the boundary of one name that may be a checkpoint's or a node's, the newest without; see ``meant``."""
    try:
        return meant(execution, history, checkpoint=name)
    except CheckpointNotFound:
        return meant(execution, history, node=name)


def _boundary_after(execution: str, history: Sequence[Checkpoint], node: str) -> Checkpoint:
    """Return the checkpoint at which ``node`` had just ended for the last time."""
    for checkpoint in reversed(history):
        if node in checkpoint.nodes:
            return checkpoint
    known = ", ".join(dict.fromkeys(name for checkpoint in history for name in checkpoint.nodes))
    raise NoRollbackTarget(
        f'execution {execution} has no boundary after node "{node}"; '
        + (f"completed are: {known}" if known else "no node has completed")
    )


def _known(execution: str, history: Sequence[Checkpoint], wanted: str) -> Checkpoint:
    """Return the checkpoint of this id, or of this beginning of one if it is the only one."""
    found = [checkpoint for checkpoint in history if checkpoint.id.startswith(wanted)]
    exact = [checkpoint for checkpoint in found if checkpoint.id == wanted]
    if len(exact or found) != 1:
        what = "several checkpoints" if found else "no checkpoint"
        raise CheckpointNotFound(
            f'execution {execution} has {what} "{wanted}"; its history lists the {len(history)} that there are'
        )
    return (exact or found)[0]


def reverted(history: Sequence[Checkpoint], checkpoint: str) -> tuple[str, ...]:
    """Return the nodes whose work going back to ``checkpoint`` takes back, in the order they ran."""
    ids = [entry.id for entry in history]
    return tuple(node for entry in history[ids.index(checkpoint) + 1 :] for node in entry.nodes)


def joined(before: Sequence[NodeBoundary], after: Sequence[NodeBoundary]) -> tuple[NodeBoundary, ...]:
    """Return the boundaries of two runs of one thread, the second of which went on where the first was held.

    What completed beside a node that was held has its exit where the step ended that they share.
    """
    if not before:
        return tuple(after)
    exits = {boundary.step: boundary.exit_checkpoint for boundary in after if boundary.exit_checkpoint}
    return (
        *(
            replace(boundary, exit_checkpoint=exits.get(boundary.step))
            if boundary.status == "completed" and boundary.exit_checkpoint is None
            else boundary
            for boundary in before
        ),
        *after,
    )
