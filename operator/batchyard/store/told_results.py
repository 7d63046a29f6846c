"""Holds a batch's results against what its audit trail tells of them.

The trail is sealed and the results are not, so where the two differ it is the result that was changed. Not for the
trail's own chain (``model.audit``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from batchyard.events.audit import OUTCOME_OF
from batchyard.model.events import EventType
from batchyard.model.outcome import Outcome, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from batchyard.model.audit import AuditEntry, SealedEntry
    from batchyard.store.as_written import Row


class _Told(NamedTuple):
    outcome: str
    score: float | None


class ToldResults:
    """How a trail tells that attempts ended. Holds one small record for each, so that each table is read but once."""

    def __init__(self) -> None:
        """Begin with nothing told."""
        self._told: dict[tuple[str, int], _Told] = {}
        self._late = False
        self.spec_digest = ""
        """What the batch was when it was accepted, "" if that is not told."""
        self.verdict: Verdict | None = None
        """How it ended, None if that is not told."""

    def heard(self, entries: Iterable[SealedEntry]) -> Iterator[SealedEntry]:
        """Pass entries on, and note what they tell."""
        for sealed in entries:
            self._note(sealed.entry)
            yield sealed

    def _note(self, entry: AuditEntry) -> None:
        if entry.type is EventType.LATE_RESULT and not entry.trial_id:
            # An operator's: an entry of each of these results may stand before it, although none of them counts.
            self._late = True
            return
        if entry.type is EventType.BATCH_ACCEPTED:
            self.spec_digest = str(entry.details.get("specDigest", ""))
        elif entry.type is EventType.BATCH_FINISHED:
            self.verdict = next((one for one in Verdict if one == entry.details.get("verdict")), None)
        outcome = OUTCOME_OF.get(entry.type)
        if outcome is None and entry.type is EventType.TRIAL_CARRIED_OVER:
            outcome = next((one for one in Outcome if one == entry.details.get("outcome")), None)
        if outcome is not None:
            score = entry.details.get("score")
            known = float(score) if isinstance(score, int | float) else None
            # The first stands: the table refuses a second result of an attempt.
            self._told.setdefault((entry.trial_id, entry.attempt), _Told(outcome, known))

    def contradictions(self, results: Iterable[Row], *, all_told: bool) -> Iterator[str]:
        """Yield what is otherwise in the results of a finished batch, a trial at a time, as words; reads all of them.

        ``all_told``: no entry of the trail was dropped, so that a result it does not tell of was never one.
        """
        left, ended = dict(self._told), set()
        for row in results:
            told = left.pop((row["trial_id"], row["attempt"]), None)
            if self._late and row["final"]:
                ended.add(row["trial_id"])
            if told is None and (not all_told or row["outcome"] == Outcome.NOT_RUN):
                continue  # trials that were not run are told of as a number
            if told is not None and self._late and row["outcome"] == Outcome.NOT_RUN:
                continue
            if words := _difference(row, told):
                yield words
        for (trial, attempt), told in left.items():
            if trial not in ended:
                yield f"{trial}#{attempt} has no result, and is {told.outcome} in the trail"


def _difference(row: Row, told: _Told | None) -> str:
    about = f"{row['trial_id']}#{row['attempt']}"
    if told is None:
        return f"{about} is {row['outcome']} in the results, and the trail tells of no such attempt"
    if row["outcome"] != told.outcome:
        return f"{about} is {row['outcome']} in the results and {told.outcome} in the trail"
    if told.score is not None and row["score"] != told.score:
        return f"{about} has the score {row['score']} in the results and {told.score} in the trail"
    return ""
