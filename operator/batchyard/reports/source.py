"""What every report is made from: one batch, and ways to read its results and its trail as often as needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from batchyard.engine.ports import BatchRecord
    from batchyard.judge.lost_trials import Regressions
    from batchyard.model.audit import SealedEntry
    from batchyard.model.status import BatchStatus
    from batchyard.model.trial import AttemptResult


@dataclass(frozen=True, slots=True)
class Source:
    """A batch as a store has it.

    ``results`` gives every final result by ordinal, ``entries`` the audit trail, oldest first; both anew at each call.
    ``options`` are what a command that asks the same place is given besides the batch, with a blank before each.
    ``regressions`` gives what combinations lost to the gate's baseline, None if there is no baseline or nothing lost.
    """

    record: BatchRecord
    status: BatchStatus
    results: Callable[[], Iterator[AttemptResult]]
    entries: Callable[[], Iterator[SealedEntry]]
    options: str = ""
    regressions: Callable[[], Regressions | None] = lambda: None
