"""What a look at a store may find: how bad it is, what it is about, and what would mend it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class FindingSeverity(StrEnum):
    """How bad a finding is: data lost or forged, data that disagrees, or only worth knowing."""

    CRITICAL = "critical"
    WARNING = "warning"
    INFO = "info"


class Remedy(StrEnum):
    """What mends a finding: one of the things that ``repair`` does, a person, or nothing because nothing is broken."""

    DELETE_ORPHANS = "deleteOrphans"
    UPDATE_STATUS = "updateStatus"
    RETRY_EVENTS = "retryEvents"
    COLLECT_FILES = "collectFiles"
    MANUAL = "manual"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be. ``batch_id`` is empty for the database as a whole."""

    severity: FindingSeverity
    kind: str
    batch_id: str
    message: str
    remedy: Remedy = Remedy.MANUAL

    @property
    def can_be_mended(self) -> bool:
        """Return whether a repair mends it, without anybody judging."""
        return self.remedy not in {Remedy.MANUAL, Remedy.NONE}
