"""``run --amend`` and ``run --reuse``: which earlier batches a new one carries results over from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchyard.cli import terminal
from batchyard.engine.carrying import amending, reusing
from batchyard.store.carrying import SqlPastResults

if TYPE_CHECKING:
    from batchyard.engine.sources import LoadedBatch
    from batchyard.store.sql import SqlStore


@dataclass(frozen=True, slots=True)
class Earlier:
    """Whose results the user wants to stand for trials: those of the batch that is amended, or of any that fits."""

    amend: str = ""
    reuse: bool = False

    def taken(self, store: SqlStore, loaded: LoadedBatch, *, quiet: bool) -> LoadedBatch:
        """Return the batch with the batches that it carries results over from. Raises as ``amending`` does."""
        if self.amend:
            return amending(store, loaded, self.amend)
        if not self.reuse:
            return loaded
        loaded, why = reusing(SqlPastResults(store), loaded)
        if why and not quiet:
            terminal.say(f"note: {why}")
        return loaded


NOTHING_EARLIER = Earlier()
