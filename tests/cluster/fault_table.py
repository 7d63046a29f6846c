"""The table of every fault that was tried and what became of the batch: written by the tests, read by people.

Each test compares what happened with its row in ``docs/faults.json``; with ``BATCHYARD_WRITE_FAULTS=1`` it writes the
row, and ``docs/faults.md`` anew. So no row can be there that its test did not see.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from cluster.operator_bench import own_events

if TYPE_CHECKING:
    from cluster.operator_bench import OperatorProcess

_DOCS = Path(__file__).parents[2] / "docs"
_DATA, _PAGE = _DOCS / "faults.json", _DOCS / "faults.md"
_HEAD = """\
# What happens when something breaks
Each row is a test on a real cluster with real KubeRay: the fault was made, and this is what became of the batch.
Whatever the row says, the test also found that no finished trial ran twice, that the audit trail verifies, that events
and entries agree one to one, and that nothing was left behind. Generated from the tests' results (`tests/cluster`); a
test fails when what it sees is not what its row says.

| fault | provider | batch | condition and reason | places used | what the trail tells |
| --- | --- | --- | --- | --- | --- |
"""
# These tell of trials that did well, or depend on whether a pod has time for last words.
_NO_MATTER = frozenset({"TrialPassed", "TrialFailed", "TrialCancelled", "BatchInterrupted", "BatchResumed"})


class Row(TypedDict):
    """One fault. ``conditions`` are those that hold at the end; ``told`` the types of the own entries, each once."""

    provider: str
    phase: str
    reason: str
    conditions: list[str]
    places: int
    told: list[str]


def tell(
    fault: str, operator: OperatorProcess, name: str, *, exists: bool = True, varies: frozenset[str] = frozenset()
) -> None:
    """Compare what became of a batch with the row of this fault, or write the row.

    ``exists`` is whether the BatchTest is still there to be asked for its conditions; ``varies`` are types of entries
    that may or may not be there.
    """
    operator.until(60, "the place to be given back", lambda: operator.place_records(name)[-1].released_at is not None)
    row = _row(operator, name, _NO_MATTER | varies, exists=exists)
    rows: dict[str, Row] = json.loads(_DATA.read_text()) if _DATA.exists() else {}
    if os.environ.get("BATCHYARD_WRITE_FAULTS"):  # noqa: TID251 - a switch of the tests' own
        rows[fault] = row
        _DATA.write_text(json.dumps(rows, indent=1, sort_keys=True) + "\n")
        _PAGE.write_text(page(rows))
    assert rows.get(fault) == row, f"{fault}: the table has {rows.get(fault)}, and it became {row}"


def page(rows: dict[str, Row]) -> str:
    """Return the page for people."""
    lines = []
    for fault, row in sorted(rows.items()):
        end = f"{row['phase']}" + (f" / {row['reason']}" if row["reason"] else "")
        cells = (fault, row["provider"], end, ", ".join(row["conditions"]), str(row["places"]), " ".join(row["told"]))
        lines.append(f"| {' | '.join(cells)} |")
    return _HEAD + "\n".join(lines) + "\n"


def _row(operator: OperatorProcess, name: str, left_out: frozenset[str], *, exists: bool) -> Row:
    record = operator.record(name)
    told = {sealed.entry.type.value for sealed in own_events(operator.trail(name))}
    conditions: list[dict[str, Any]] = operator.status(name)["conditions"] if exists else []
    return Row(
        provider=operator.provider(name),
        phase=record.phase.value,
        reason=record.reason,
        conditions=[one["type"] for one in conditions if one["status"] == "True"],
        places=len(operator.place_records(name)),
        told=sorted(told - left_out),
    )
