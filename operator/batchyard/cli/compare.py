"""``compare``: the ranking, the gate, how sure the differences are, and case by case which combination passed.

Not for the rules of the ranking (``judge``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from rich.text import Text

from batchyard.cli import document, stores, tables, terminal, words
from batchyard.cli.options import Output
from batchyard.decide.finish import EXIT_SUCCEEDED
from batchyard.judge.cases import CaseCell
from batchyard.judge.comparison import earned
from batchyard.judge.ranking import Measure
from batchyard.reports.statistics import (
    Statistics,
    contrast_table,
    reliability_cells,
    reliability_heads,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rich.console import Console
    from rich.table import Table

    from batchyard.cli.options import Origin
    from batchyard.judge.contrasts import Contrast, Reliability
    from batchyard.model.outcome import Outcome
    from batchyard.model.trial import JSON, AttemptResult


@dataclass(slots=True)
class Cell:
    """What one combination's trials of one case come to, whatever their number."""

    outcomes: dict[Outcome, int] = field(default_factory=dict)
    judged: CaseCell = field(default_factory=CaseCell)

    def add(self, result: AttemptResult) -> None:
        """Count one final result."""
        self.outcomes[result.outcome] = self.outcomes.get(result.outcome, 0) + 1
        self.judged.add(result.outcome, earned(result))

    @property
    def rate(self) -> float | None:
        """Return the share of the judged trials that passed, None if none was judged."""
        return self.judged.mean(Measure.SUCCESS_RATE)

    @property
    def score(self) -> float | None:
        """Return the mean score as the gate counts it, in a batch with scores."""
        return self.judged.mean(Measure.SCORE)


class Grid:
    """Every cell of combination x case; cases in the order in which they come."""

    def __init__(self, results: Iterable[AttemptResult]) -> None:
        """Take final results in any number; memory is the grid's, not theirs."""
        self.cells: dict[str, dict[str, Cell]] = {}
        for result in results:
            case = self.cells.setdefault(result.case, {})
            case.setdefault(result.combination, Cell()).add(result)

    def to_json(self) -> Iterator[JSON]:
        """Yield every cell; without any score in the batch there is none, not 0."""
        scored = any(cell.judged.earned for row in self.cells.values() for cell in row.values())
        for case, row in self.cells.items():
            for combination, cell in row.items():
                yield {
                    "case": case,
                    "combination": combination,
                    "successRate": cell.rate,
                    "score": cell.score if scored else None,
                    "outcomes": {outcome.value: count for outcome, count in cell.outcomes.items()},
                }


def _statistics_json(statistics: Statistics) -> dict[str, JSON]:
    """Return ``against``, ``contrasts`` and ``reliability``."""
    return {
        "against": statistics.against,
        "contrasts": [one.to_json() for one in statistics.contrasts()],
        "reliability": [one.to_json() for one in statistics.reliability()],
    }


def _print_statistics(console: Console, statistics: Statistics) -> None:
    """Print both as tables, nothing where there is nothing."""
    if found := statistics.contrasts():
        console.print()
        console.print(_contrast_table(statistics.against, found))
    if repeated := statistics.reliability():
        console.print()
        console.print(_reliability_table(repeated))


def _contrast_table(against: str, found: Sequence[Contrast]) -> Table:
    table = tables.new_table()
    heads, rows = contrast_table(found)
    table.add_column(Text(terminal.printable(f"against {against}")), overflow="fold")
    for title in heads[1:]:
        table.add_column(title, justify="right")
    for name, *cells in rows:
        table.add_row(Text(terminal.printable(name)), *cells)
    return table


def _reliability_table(repeated: Sequence[Reliability]) -> Table:
    table, k = tables.new_table(), repeated[0].k
    table.add_column("repeats", overflow="fold")
    for title in reliability_heads(k)[1:]:
        table.add_column(title, justify="right")
    for one in repeated:
        table.add_row(Text(terminal.printable(one.combination)), *reliability_cells(one))
    return table


def compare_batch(reference: str, origin: Origin, output: Output, *, limit: int) -> int:
    """Print the comparison of a batch's combinations as far as they have results."""
    with stores.opened(origin, reference) as batch, terminal.reader_may_leave():
        record = batch.record
        status = stores.status_of(record)
        statistics = Statistics(record, status)
        grid = Grid(statistics.watching(batch.store.results(record.id)))
        if output is Output.JSON:
            document.print_comparison(record, status, grid.to_json(), _statistics_json(statistics), batch.regressions())
            return EXIT_SUCCEEDED
        console = terminal.out()
        if status.combinations:
            console.print(tables.ranking(console, status))
        tables.print_gate(console, status)
        tables.print_regressions(console, batch.regressions())
        _print_statistics(console, statistics)
        ranked = [row.name for row in status.combinations]
        if grid.cells and ranked:
            console.print()
            _print_grid(console, grid, ranked, limit)
        console.print()
        tables.print_closing(console, record, status, origin)
    return EXIT_SUCCEEDED


def _print_grid(console: Console, grid: Grid, ranked: Sequence[str], limit: int) -> None:
    shown = list(ranked)
    while len(shown) > 1 and not tables.fits(console, _grid(grid, shown, limit)):
        shown.pop()
    console.print(_grid(grid, shown, limit))
    if len(shown) < len(ranked):
        hidden = len(ranked) - len(shown)
        tables.line(console, f"{hidden} more combinations do not fit; a wider terminal or --output json has them")
    if limit and len(grid.cells) > limit:
        tables.line(console, f"{len(grid.cells) - limit} more cases; --limit 0 shows all")


def _grid(grid: Grid, combinations: Sequence[str], limit: int) -> Table:
    table = tables.new_table()
    table.add_column("passed, by case", overflow="fold")
    for name in combinations:
        table.add_column(Text(terminal.printable(name)), justify="right")
    for case, row in islice(grid.cells.items(), limit or None):
        table.add_row(Text(terminal.printable(case)), *(_cell(row.get(name)) for name in combinations))
    return table


def _cell(cell: Cell | None) -> Text:
    rate = cell.rate if cell is not None else None
    style = "" if rate is None or 0 < rate < 1 else "green" if rate else "red"
    return Text(words.rate(rate), style=style)
