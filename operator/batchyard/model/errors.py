"""The errors a user can meet, each with what, where and what now.

Not for control flow inside the engine: a trial that goes wrong is an ``Outcome``, never an exception here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class BatchyardError(Exception):
    """Base of every error Batchyard raises on purpose; ``str(error)`` is meant for the user."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with a file: where it is, what stands there, what is wrong and what to do."""

    path: str
    value: str
    message: str
    remedy: str = ""

    def __str__(self) -> str:
        """Render as one line: ``path: value: message; remedy``."""
        shown = f" {self.value}:" if self.value else ""
        advice = f"; {self.remedy}" if self.remedy else ""
        return f"{self.path}:{shown} {self.message}{advice}"


class SpecInvalid(BatchyardError):
    """A BatchTest cannot be accepted. Carries every fault found, not only the first."""

    def __init__(self, source: str, faults: Sequence[Fault]) -> None:
        """Keep the faults in the order they stand in the file."""
        self.source = source
        self.faults = tuple(faults)
        lines = "\n".join(f"  {fault}" for fault in self.faults)
        count = len(self.faults)
        super().__init__(f"{source}: {count} fault{'' if count == 1 else 's'}\n{lines}")


class WorkflowInvalid(BatchyardError):
    """The workflow's factory cannot be imported, called or compiled."""


class EnvironmentUnavailable(BatchyardError):
    """The place where trials run could not be made or was lost; retrying elsewhere may help."""


class CheckpointsUnavailable(EnvironmentUnavailable):
    """The place where checkpoints are kept could not be asked; a later attempt may have more luck."""


class NotKept(BatchyardError):
    """A thread was not kept, or may not be; what it belongs to stands all the same."""


class NotWritten(BatchyardError):
    """A file that a user named cannot be written."""


class StoreError(BatchyardError):
    """The store cannot be opened, upgraded, read or written."""


RESTORE = "restore a back-up, see docs/database.md"
"""What to do where data was lost or changed."""


class RecordDamaged(StoreError):
    """A row of the store is not as Batchyard wrote it: the store works, what it keeps was changed."""

    @classmethod
    def of(cls, what: str, fault: object) -> RecordDamaged:
        """Return the error for something in the store, with what shows that it is not as it was written."""
        return cls(f"store: {what} was changed or damaged: {fault}; {RESTORE}")


class SchemaTooNew(StoreError):
    """The store was written by a newer Batchyard; this one refuses to touch it."""


class BatchNotFound(StoreError):
    """No batch has this id, name or id prefix."""


class BatchAmbiguous(StoreError):
    """An id prefix fits more than one batch."""


class StaleSession(StoreError):
    """A newer session owns the batch; whatever this one still holds must not be written."""


class StaleLeader(StaleSession):
    """A newer operator leads; whatever this one still holds must not be written."""


class SegmentOutOfOrder(StoreError):
    """A segment was written already, or one before it was not; ``next`` is the one that may come."""

    def __init__(self, wanted: int) -> None:
        """Keep the number of the segment that may come."""
        super().__init__(f"segment {wanted} is the next one that can be written")
        self.next = wanted


class NotComparable(BatchyardError):
    """Two batches cannot be held against each other yet."""


class BatchBusy(StoreError):
    """Another live process runs this batch."""
