"""``run --amend`` and ``run --reuse``: which earlier batches a new one carries results over from.

And, of a batch that is resumed, whether what it runs with is still the same.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from batchyard.cli import terminal
from batchyard.decide.amending import setting_differences
from batchyard.engine.carrying import FIELD, amending, amending_as_asked, reusing, without_outputs
from batchyard.engine.settings import setting_of
from batchyard.model.errors import Fault, SpecInvalid
from batchyard.store.carrying import SqlPastResults

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from batchyard.engine.sources import LoadedBatch
    from batchyard.store.sql import SqlStore


@dataclass(frozen=True, slots=True)
class Earlier:
    """Whose results the user wants to stand for trials: those of the batch that is amended, or of any that fits."""

    amend: str = ""
    reuse: bool = False

    def taken(self, store: SqlStore, loaded: LoadedBatch, *, quiet: bool) -> LoadedBatch:
        """Return the batch with the batches that it carries results over from. Raises as ``amending`` does."""
        asked = loaded.batch.spec.amends
        if asked is not None and (self.amend or self.reuse):
            option = "--amend" if self.amend else "--reuse"
            fault = Fault(FIELD, asked, f"says already what is amended, and so does {option}", "leave one of them out")
            raise SpecInvalid(f"BatchTest {loaded.batch.metadata.name}", [fault])
        if asked is not None or self.amend or self.reuse:
            loaded = without_outputs(SqlPastResults(store), loaded)
        if self.amend:
            return amending(store, loaded, self.amend)
        if not self.reuse:
            return amending_as_asked(store, loaded)
        loaded, why = reusing(SqlPastResults(store), loaded)
        if why and not quiet:
            terminal.say(f"note: {why}")
        return loaded


NOTHING_EARLIER = Earlier()


def changed_since(loaded: LoadedBatch, place: str, written: Collection[Path] = ()) -> str:
    """Return what a batch that is resumed goes on with that it did not begin with, "" if that is nothing or unknown.

    ``place`` and ``written`` are as ``setting_of`` has them.
    """
    was = loaded.setting
    if was is None or was.unknown:
        return ""
    return "; ".join(setting_differences(setting_of(loaded, place, written), was))


def write_change(store: SqlStore, batch_id: str, loaded: LoadedBatch, changed: str) -> None:
    """Write down that a batch goes on with something else than it began with; only who runs it may say so."""
    if loaded.setting is not None:
        mixed = replace(loaded.setting, unknown=f"it was resumed after a change: {changed}")
        SqlPastResults(store).write_setting(batch_id, mixed)
