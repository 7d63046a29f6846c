"""One run of a workflow that can be held, gone on with, taken back and forked: its status and what is known of it.

A trial's attempt is an execution too. Not for how executions move: ``decide.execution`` says which moves there are.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from batchyard.model.errors import BatchyardError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchyard.model.questions import Question
    from batchyard.model.trial import NodeBoundary


class ExecutionStatus(StrEnum):
    """Where an execution stands."""

    PENDING = "Pending"
    RUNNING = "Running"
    PAUSED = "Paused"
    COMPLETED = "Completed"
    FAILED = "Failed"
    CANCELLED = "Cancelled"


class Keep(StrEnum):
    """Which attempts' threads are kept after their end."""

    NEVER = "Never"
    ON_FAILURE = "OnFailure"
    ALWAYS = "Always"


class Move(StrEnum):
    """What can be done with an execution."""

    RUN = "run"
    PAUSE = "pause"
    RESUME = "resume"
    STOP = "stop"
    ROLL_BACK = "roll back"
    FORK = "fork"
    EDIT = "edit the state of"


@dataclass(frozen=True, slots=True)
class Breakpoints:
    """The nodes before or after which a run pauses; ``*`` stands for every node."""

    before: frozenset[str] = frozenset()
    after: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        """Return whether there is any."""
        return bool(self.before or self.after)


NO_BREAKPOINTS = Breakpoints()


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One stored state of a thread. ``nodes`` names what had just run (nothing for the input).

    ``files`` names the snapshot of the tracked files; "" if none was taken.
    """

    id: str
    step: int
    parent: str | None
    nodes: tuple[str, ...] = ()
    next: tuple[str, ...] = ()
    files: str = ""


@dataclass(frozen=True, slots=True)
class Restored:
    """What putting an execution's files back did, as paths in its workspace.

    ``written`` were put back, ``later`` are tracked files that the boundary did not have and that were left, and
    ``moved`` is where those are now that had to go.
    """

    written: tuple[str, ...] = ()
    later: tuple[str, ...] = ()
    moved: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Origin:
    """What an execution was forked from."""

    execution: str
    checkpoint: str


@dataclass(frozen=True, slots=True)
class Execution:
    """One execution. ``id`` is its thread's id too.

    ``checkpoint`` is the newest durable one and ``upcoming`` the nodes that would run next. ``question`` is what the
    graph asked if it paused for an answer, ``questions`` has each of what it asked at once. ``error`` says why it
    failed, with the node in ``failed_node``. ``boundaries`` has every node's run so far, in order; those that were
    rolled back are not among them. ``restored`` is what going back or forking last did to the files of its workspace.
    """

    id: str
    variants: Mapping[str, str]
    status: ExecutionStatus = ExecutionStatus.PENDING
    breakpoints: Breakpoints = NO_BREAKPOINTS
    checkpoint: str | None = None
    upcoming: tuple[str, ...] = ()
    question: str = ""
    questions: tuple[Question, ...] = ()
    error: str = ""
    failed_node: str = ""
    boundaries: tuple[NodeBoundary, ...] = ()
    origin: Origin | None = None
    restored: Restored | None = None
    state: Mapping[str, object] = field(default_factory=dict)


class ExecutionError(BatchyardError):
    """A move with an execution is refused; nothing was changed."""


class InvalidTransition(ExecutionError):
    """The execution's status does not allow the move."""

    def __init__(self, execution: str, status: ExecutionStatus, move: Move, what_now: str) -> None:
        """Keep the status and the move that was tried; ``what_now`` says what it takes."""
        self.status, self.move = status, move
        super().__init__(f"cannot {move} execution {execution}: it is {status}; {what_now}")


class BatchRuns(ExecutionError):
    """A live process runs the execution's batch, whose trail is its own until then."""


class ExecutionNotFound(ExecutionError):
    """There is no execution of this id."""


class CheckpointNotFound(ExecutionError):
    """The execution has no such checkpoint."""


class NoRollbackTarget(ExecutionError):
    """The execution has no completed boundary of this node to go back to."""


class FilesLost(ExecutionError):
    """The files of a boundary cannot be put back."""
