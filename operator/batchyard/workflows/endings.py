"""What state adapters say of how a run ended, worded once so that a user reads the same whatever ran the workflow.

Not for deciding how it ended.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchyard.workflows.recorder import describe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchyard.model.questions import Question
    from batchyard.workflows.unstorable import StateNotSerialisable

STOPPED = "asked to stop; ended at a node boundary"


def raised(node: str, error: BaseException) -> str:
    """Say that a node raised."""
    return f'node "{node}" raised {describe(error)}'


def out_of_steps(limit: int, last: str) -> str:
    """Say that a run reached its recursion limit."""
    where = f'; the last node was "{last}"' if last else ""
    return f"no end within {limit} steps{where}; if that is no endless loop, raise limits.recursionLimit"


def unstorable(nodes: Sequence[str], error: StateNotSerialisable) -> str:
    """Say that what one of these nodes (none: the input) left in the state cannot be stored."""
    where = f"node {quoted(nodes, ' or ')}" if nodes else "the input"
    return f"{where}: state key {error}; return plain data, or build it within the node that needs it"


def in_use(thread_id: str) -> str:
    """Say that a thread cannot be run on again."""
    return f'thread "{thread_id}" already has checkpoints; give every attempt a thread of its own'


def paused(upcoming: Sequence[str]) -> str:
    """Say that a run pauses at a breakpoint."""
    return f"paused before node {quoted(upcoming)}"


def asked(questions: Sequence[Question]) -> str:
    """Say what a run waits to be answered."""
    return "; ".join(question.text for question in questions)


def no_checkpoint(thread_id: str, checkpoint_id: str | None = None) -> str:
    """Say that a thread has no such checkpoint, or none at all."""
    return f'thread "{thread_id}" has no checkpoint{f" {checkpoint_id}" if checkpoint_id else ""}'


def no_key(unknown: Sequence[str], known: Sequence[str]) -> str:
    """Say that a state has no such keys."""
    return f"the state has no {quoted(unknown)}; it has {quoted(known)}"


def ambiguous(nodes: Sequence[str]) -> str:
    """Say that it must be told which node an edit stands for."""
    return f"the nodes {quoted(nodes)} ran last, at once; say as which of them the state is edited"


def quoted(names: Sequence[str], between: str = ", ") -> str:
    """Return names in quotes."""
    return between.join(f'"{name}"' for name in names)
