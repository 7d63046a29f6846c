"""What the HTML keeps of a batch's trials, gathered in one pass over results and one over the trail, within bounds."""

from __future__ import annotations

import json
from array import array
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from batchyard.engine.carrying import origin_of
from batchyard.judge.comparison import earned
from batchyard.model.outcome import Outcome
from batchyard.reports import packed
from batchyard.reports.markup import visible
from batchyard.reports.words import rfc3339

if TYPE_CHECKING:
    from batchyard.model.audit import SealedEntry
    from batchyard.model.trial import JSON, AttemptResult, NodeBoundary
    from batchyard.reports.source import Source
    from batchyard.reports.statistics import Statistics

OUTCOMES = tuple(Outcome)
_FAILURES_BYTES = 140_000
_OTHERS_BYTES = 30_000
_NAMES_BYTES = 140_000
_ENTRIES_BYTES = 60_000
_ENTRIES_A_TRIAL = 20
_BATCH_ENTRIES = 100
_MESSAGE = 1000
_OTHER_SLOT = 65535
CARRIED_SLOT = 65534
"""In place of the slot of a trial that was carried over: it ran elsewhere, and before this batch began."""


@dataclass(slots=True)
class Trials:
    """Columns with a number for every trial, and everything about some: failures first.

    ``entries`` are some of the batch's own, of which there are ``entries_in_all``.
    """

    combinations: dict[str, int] = field(default_factory=dict)
    cases: dict[str, int] = field(default_factory=dict)
    workers: dict[str, int] = field(default_factory=dict)
    details: dict[str, JSON] = field(default_factory=dict)
    failures: list[JSON] = field(default_factory=list)
    entries: list[JSON] = field(default_factory=list)
    entries_in_all: int = 0
    columns: dict[str, array[int]] = field(
        default_factory=lambda: {
            name: array(kind)
            for name, kind in {
                "combination": "H",
                "case": "I",
                "repeat": "I",
                "outcome": "B",
                "score": "B",
                "start": "I",
                "seconds": "H",
                "worker": "H",
                "tokens": "H",
                "cost": "H",
            }.items()
        }
    )

    def __len__(self) -> int:
        return len(self.columns["outcome"])


def gathered(source: Source, statistics: Statistics) -> Trials:
    """Read a batch's results and trail once each; ``statistics`` take the results as well."""
    found = Trials()
    began = source.record.started_at or source.record.accepted_at
    failures, others = packed.Budget(_FAILURES_BYTES), packed.Budget(_OTHERS_BYTES)
    kept: dict[str, JSON] = {}
    lost = source.regressions()
    known = lost.sentences() if lost is not None else {}
    for result in statistics.watching(source.results()):
        place = len(found)
        after = max(0.0, (result.started_at - began).total_seconds())
        _add(found, result, round(after * 1000), carried=bool(origin_of(result, source.record.id)))
        budget = others if result.outcome is Outcome.PASSED else failures
        if budget.full:
            continue
        detail = _detail(result, known.get(result.trial_id, ""))
        if budget.takes(json.dumps(detail)):
            found.details[str(place)] = kept[result.trial_id] = detail
            if budget is failures and len(found.failures) < 20:
                found.failures.append(detail)
    _add_entries(found, source, kept)
    return found


def scaled(milliseconds: array[int]) -> tuple[int, array[int]]:
    """Return the last of the starts, and each as its share of that in 65,535 parts."""
    last = max(milliseconds, default=0)
    return last, array("H", (round(one * 65535 / last) if last else 0 for one in milliseconds))


def _add(found: Trials, result: AttemptResult, milliseconds: int, *, carried: bool) -> None:
    row = {
        "combination": found.combinations.setdefault(result.combination, len(found.combinations)),
        "case": found.cases.setdefault(result.case, len(found.cases)),
        "repeat": result.repeat,
        "outcome": OUTCOMES.index(result.outcome),
        "score": packed.score_code(earned(result)),
        "start": min(milliseconds, 2**32 - 1),
        "seconds": packed.amount_code(result.duration_seconds),
        "worker": CARRIED_SLOT if carried else _slot(found.workers, result.worker),
        "tokens": packed.amount_code(result.metrics.get("tokens")),
        "cost": packed.amount_code(result.metrics.get("cost")),
    }
    for name, value in row.items():
        found.columns[name].append(value)


def _slot(workers: dict[str, int], name: str) -> int:
    if name not in workers and len(workers) >= 1000:
        return _OTHER_SLOT
    return workers.setdefault(name, len(workers))


def _detail(result: AttemptResult, known: str) -> dict[str, JSON]:
    return {
        "id": visible(result.trial_id),
        "attempt": result.attempt,
        "outcome": result.outcome.value,
        "reason": result.reason,
        "message": _cut(result.message),
        "score": result.score,
        "seconds": round(result.duration_seconds, 6),
        "started": rfc3339(result.started_at),
        "worker": _cut(result.worker),
        "fault": _known_fault(result, known),
        "scores": [[one.evaluator, one.score, one.weight, _cut(one.error)] for one in result.scores[:10]],
        "metrics": {_cut(name): value for name, value in sorted(result.metrics.items())[:20]},
        "nodes": [_node(one) for one in result.boundaries[-50:]],
        "skipped": max(0, len(result.boundaries) - 50),
        "entries": [],
        "more": 0,
    }


def _node(one: NodeBoundary) -> list[JSON]:
    before, after = one.entry_checkpoint or "", one.exit_checkpoint or ""
    return [_cut(one.node), one.status, round(one.duration_seconds, 6), one.step, before, after, _cut(one.error)]


def fault(result: AttemptResult) -> str:
    """Return which node is at fault and which state it began from; empty if none is known to be."""
    if result.outcome is Outcome.PASSED or not result.boundaries:
        return ""
    broken = [one for one in result.boundaries if one.status in {"failed", "interrupted", "running"}]
    if broken:
        node = broken[-1]
        verb = {"failed": "failed", "interrupted": "asked for input", "running": "was ended while it ran"}[node.status]
        state = f"checkpoint {node.entry_checkpoint}" if node.entry_checkpoint else "the trial's input"
        return _cut(f"node {node.node} {verb}; the state it began from is {state}")
    last = result.boundaries[-1]
    state = f", checkpoint {last.exit_checkpoint}" if last.exit_checkpoint else ""
    return _cut(f"no node failed; what was judged is the state after node {last.node}{state}")


def _known_fault(result: AttemptResult, known: str) -> str:
    said = fault(result)
    return said if said.startswith(known) else _cut("; ".join(filter(None, [known, said])))


def _add_entries(found: Trials, source: Source, kept: dict[str, JSON]) -> None:
    first: list[JSON] = []
    last: deque[JSON] = deque(maxlen=_BATCH_ENTRIES)
    budget = packed.Budget(_ENTRIES_BYTES)
    for sealed in source.entries():
        trial = sealed.entry.trial_id
        if not trial:
            found.entries_in_all += 1
            (first if len(first) < _BATCH_ENTRIES else last).append(_entry(sealed))
            continue
        detail = kept.get(trial)
        if detail is None:
            continue
        entry = _entry(sealed)
        if len(detail["entries"]) < _ENTRIES_A_TRIAL and budget.takes(json.dumps(entry)):
            detail["entries"].append(entry)
        else:
            detail["more"] += 1
    found.entries = [entry for entry in [*first, *last] if budget.takes(json.dumps(entry))]


def _entry(sealed: SealedEntry) -> list[JSON]:
    entry = sealed.entry
    return [sealed.seq, rfc3339(entry.at), entry.type.value, entry.severity.value, _cut(entry.message)]


def _cut(text: str) -> str:
    shown = visible(text)
    return shown if len(shown) <= _MESSAGE else f"{shown[: _MESSAGE - 1]}…"


def names(found: dict[str, int], most: int = _NAMES_BYTES) -> list[str]:
    """Return names by their number, as many as fit."""
    return packed.fitting((_cut(name) for name in found), most)
