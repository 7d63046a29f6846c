"""``run --amend`` and ``run --reuse``: which earlier batches a new one carries results over from.

And, of a batch that is resumed, whether what it runs with is still the same.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from batchyard.cli import terminal
from batchyard.decide.amending import setting_differences
from batchyard.engine.carrying import FIELD, amending, amending_as_asked, reusing
from batchyard.engine.settings import setting_of
from batchyard.model.errors import Fault, SpecInvalid
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
        asked = loaded.batch.spec.amends
        if asked is not None and (self.amend or self.reuse):
            option = "--amend" if self.amend else "--reuse"
            fault = Fault(FIELD, asked, f"says already what is amended, and so does {option}", "leave one of them out")
            raise SpecInvalid(f"BatchTest {loaded.batch.metadata.name}", [fault])
        if self.amend:
            return amending(store, loaded, self.amend)
        if not self.reuse:
            return amending_as_asked(store, loaded)
        loaded, why = reusing(SqlPastResults(store), loaded)
        if why and not quiet:
            terminal.say(f"note: {why}")
        return loaded


NOTHING_EARLIER = Earlier()


def as_it_is_now(store: SqlStore, batch_id: str, loaded: LoadedBatch, place: str, *, quiet: bool) -> LoadedBatch:
    """Return a batch that is resumed; if it goes on with something else than it began with, that is written down."""
    was = loaded.setting
    if was is None or was.unknown:
        return loaded
    changed = list(setting_differences(setting_of(loaded, place), was))
    if not changed:
        return loaded
    told = "; ".join(changed)
    if not quiet:
        terminal.say(f"note: not all is as it was when the batch began: {told}; the trials that are left run with this")
    mixed = replace(loaded, setting=replace(was, unknown=f"it was resumed after a change: {told}"))
    SqlPastResults(store).write_setting(batch_id, mixed.to_json())
    return mixed
