"""Markdown for the step summary of a CI system: verdict, gate, ranking, first failures. Bounded, whatever the batch."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from batchyard.reports.statistics import (
    Statistics,
    contrast_sentence,
    contrast_table,
    reliability_cells,
    reliability_heads,
    reliability_sentence,
)
from batchyard.reports.verdict import check_word, interval, parity_word, sentence
from batchyard.reports.words import first_line, number, rate, seconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import IO

    from batchyard.model.status import CombinationRow
    from batchyard.reports.source import Source

ROWS_SHOWN = 20
"""Combinations and failures that are listed; the rest is counted."""

_TEXT_SHOWN = 200
# Whatever Markdown, GitHub's dialect or HTML would make something of.
_SPECIAL = re.compile(r"[\\`*_{}\[\]()#+!|~<>&@:$-]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")


def write_markdown(source: Source, out: IO[str]) -> None:
    """Write the summary; its size does not depend on the number of trials."""
    record, status = source.record, source.status
    out.write(f"## {plain(sentence(record, status), 1000)}\n\nBatch `{_code(record.id)}`")
    took = ""
    if record.started_at and record.completed_at:
        took = f" in {seconds((record.completed_at - record.started_at).total_seconds())}"
    out.write(f", {record.total:,} trials{took}: {plain(record.message, 1000)}\n")
    if status.gate is not None and status.gate.checks:
        bounds = any(interval(check) for check in status.gate.checks)
        rows = [
            [check_word(check), plain(check.name), *([interval(check)] if bounds else []), plain(check.message, 1000)]
            for check in status.gate.checks
        ]
        out.write("\n### Gate\n\n")
        _table(["", "rule", *(["interval"] if bounds else []), "what was found"], rows, out)
    if parity := status.parity_condition:
        out.write(f"\n### Parity\n\n{parity_word(parity)}: {plain(parity.message, 1000)}\n")
        if status.parity is not None and status.parity.discrepancies:
            out.write("\n")
            _table(["what differs"], ([plain(one.message, 1000)] for one in status.parity.discrepancies), out)
    if lost := source.regressions():
        out.write(f"\n### Lost to the baseline\n\n{plain(lost.sentence())}.\n\n")
        rows = [[plain(trial), plain(said, 1000) or "-"] for trial, said in lost.sentences().items()]
        _table(["trial", "what is known of it"], rows, out)
    if status.combinations:
        out.write("\n### Combinations, best first\n\n")
        heads = ["combination", "rate", "score", "mean time", "passed", "did not pass", "not judged"]
        _table(heads, map(_combination, status.combinations[:ROWS_SHOWN]), out)
        _more(len(status.combinations), f"batchyard compare {record.id}{source.options}", out)
    _sure(source, out)
    if status.failures:
        out.write("\n### The first trials that did not pass\n\n")
        rows = [
            [plain(row.trial), row.outcome.value, plain(row.reason), plain(first_line(row.message))]
            for row in status.failures[:ROWS_SHOWN]
        ]
        _table(["trial", "outcome", "reason", "message"], rows, out)
        counts = status.trials
        total = counts.failed + counts.timed_out + counts.needs_input + counts.errored
        _more(total, f"batchyard show {record.id} --trials{source.options}", out)


def _sure(source: Source, out: IO[str]) -> None:
    """Write how far apart the combinations are, and how reliable each is, as far as the batch can say so."""
    statistics = Statistics(source.record, source.status)
    statistics.take(source.results)
    compare = f"batchyard compare {source.record.id}{source.options}"
    if found := statistics.contrasts():
        out.write(f"\n### How sure that is\n\n{plain(contrast_sentence(statistics, found), 1000)}\n\n")
        heads, rows = contrast_table(found)
        _table(heads, ([plain(name), *cells] for name, *cells in rows[:ROWS_SHOWN]), out)
        _more(len(found), compare, out)
    if repeated := statistics.reliability():
        k = repeated[0].k
        out.write(f"\n### What repeats say\n\n{plain(reliability_sentence(k), 1000)}\n\n")
        said = ([plain(one.combination), *reliability_cells(one)] for one in repeated[:ROWS_SHOWN])
        _table([plain(head) for head in reliability_heads(k)], said, out)
        _more(len(repeated), compare, out)


def _combination(row: CombinationRow) -> Sequence[str]:
    failed = row.failed + row.timed_out + row.needs_input
    aside = row.errored + row.cancelled + row.not_run
    return [
        plain(row.name),
        rate(row.success_rate),
        number(row.score),
        seconds(row.mean_seconds),
        *map(str, (row.passed, failed, aside)),
    ]


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], out: IO[str]) -> None:
    out.write(f"| {' | '.join(heads)} |\n|{' --- |' * len(heads)}\n")
    for row in rows:
        out.write(f"| {' | '.join(row)} |\n")


def _more(total: int, command: str, out: IO[str]) -> None:
    if total > ROWS_SHOWN:
        out.write(f"\n{total - ROWS_SHOWN:,} more: `{_code(command)}`\n")


def plain(text: str, most: int = _TEXT_SHOWN) -> str:
    """Return a text on one line, cut, in which nothing is markup, a link or a mention."""
    line = _CONTROL.sub(" ", text).strip()
    cut = line if len(line) <= most else f"{line[: most - 1]}…"
    return _SPECIAL.sub(lambda found: f"&#{ord(found.group())};", cut)


def _code(text: str) -> str:
    return _CONTROL.sub(" ", text).replace("`", "'").replace("|", "/")
