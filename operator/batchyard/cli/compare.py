"""``compare``: the ranking, the gate, how sure the differences are, and case by case which combination passed.

Not for the rules of the ranking (``judge``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from batchyard.cli import document, stores, tables, terminal, words
from batchyard.cli.options import Output
from batchyard.decide.finish import EXIT_SUCCEEDED
from batchyard.engine.sources import LoadedBatch
from batchyard.judge.cases import CaseTable
from batchyard.judge.comparison import JUDGED
from batchyard.judge.contrasts import Contrast, Reliability, contrasts, reliability
from batchyard.judge.ranking import Measure
from batchyard.model.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rich.console import Console
    from rich.table import Table

    from batchyard.cli.options import Origin
    from batchyard.engine.ports import BatchRecord
    from batchyard.model.status import BatchStatus
    from batchyard.model.trial import JSON, AttemptResult


@dataclass(slots=True)
class Cell:
    """What one combination's trials of one case come to, whatever their number."""

    outcomes: dict[Outcome, int] = field(default_factory=dict)
    scored: int = 0
    scores: float = 0.0

    def add(self, result: AttemptResult) -> None:
        """Count one final result."""
        self.outcomes[result.outcome] = self.outcomes.get(result.outcome, 0) + 1
        if result.score is not None and result.outcome in JUDGED:
            self.scored += 1
            self.scores += result.score

    @property
    def rate(self) -> float | None:
        """Return the share of the judged trials that passed, None if none was judged."""
        judged = sum(count for outcome, count in self.outcomes.items() if outcome in JUDGED)
        return self.outcomes.get(Outcome.PASSED, 0) / judged if judged else None

    @property
    def score(self) -> float | None:
        """Return the mean of the scores there are."""
        return self.scores / self.scored if self.scored else None


class Grid:
    """Every cell of combination x case; cases in the order in which they come."""

    def __init__(self, results: Iterable[AttemptResult]) -> None:
        """Take final results in any number; memory is the grid's, not theirs."""
        self.cells: dict[str, dict[str, Cell]] = {}
        for result in results:
            case = self.cells.setdefault(result.case, {})
            case.setdefault(result.combination, Cell()).add(result)

    def to_json(self) -> Iterator[JSON]:
        """Yield every cell."""
        for case, row in self.cells.items():
            for combination, cell in row.items():
                yield {
                    "case": case,
                    "combination": combination,
                    "successRate": cell.rate,
                    "score": cell.score,
                    "outcomes": {outcome.value: count for outcome, count in cell.outcomes.items()},
                }


class Statistics:
    """How sure the differences between the combinations are, and what repeats say of each of them.

    All are held against the gate's baseline or, without one, against the best.
    """

    def __init__(self, record: BatchRecord, status: BatchStatus) -> None:
        """Take what is known of the batch; without its spec or a combination to hold against there is nothing."""
        loaded = LoadedBatch.from_json(record.spec, Path(record.base)) if record.spec else None
        baseline = loaded.batch.spec.gate.baseline if loaded else None
        named = baseline.combination if baseline else status.best.combination if status.best else ""
        ranked = [row.name for row in status.combinations]
        self._against = named if named in ranked else ""
        self._others = [name for name in ranked if name != self._against]
        self._scored = any(row.score is not None for row in status.combinations)
        self._repeats = loaded.plan.repeats if loaded else 1
        self._table = CaseTable(loaded.plan.cases if loaded else ())

    def watching(self, results: Iterable[AttemptResult]) -> Iterator[AttemptResult]:
        """Count results as they pass by."""
        for result in results:
            self._table.add(result)
            yield result

    @property
    def _contrasts(self) -> tuple[Contrast, ...]:
        measure = Measure.SCORE if self._scored else Measure.SUCCESS_RATE
        return contrasts(self._table, self._against, self._others, measure) if self._against else ()

    @property
    def _reliability(self) -> list[Reliability]:
        names = [*([self._against] if self._against else []), *self._others]
        return [reliability(self._table, name, self._repeats) for name in names] if self._repeats > 1 else []

    def to_json(self) -> dict[str, JSON]:
        """Return ``against``, ``contrasts`` and ``reliability``."""
        return {
            "against": self._against,
            "contrasts": [one.to_json() for one in self._contrasts],
            "reliability": [one.to_json() for one in self._reliability],
        }

    def print(self, console: Console) -> None:
        """Print both as tables, nothing where there is nothing."""
        if found := self._contrasts:
            console.print()
            console.print(_contrast_table(self._against, found))
        if repeated := self._reliability:
            console.print()
            console.print(_reliability_table(repeated))


def _contrast_table(against: str, found: Sequence[Contrast]) -> Table:
    table = tables.new_table()
    table.add_column(Text(terminal.printable(f"against {against}")), overflow="fold")
    for title in ("difference", "95% interval", "p (Holm)", "McNemar", "cases"):
        table.add_column(title, justify="right")
    for one in found:
        exact = "" if one.exact is None else words.p_value(one.exact)
        cases = f"{one.cases}" if one.groups == one.cases else f"{one.cases} in {one.groups}"
        span = f"{words.signed(one.low)} to {words.signed(one.high)}"
        name = Text(terminal.printable(one.combination))
        table.add_row(name, words.signed(one.estimate), span, words.p_value(one.p_value), exact, cases)
    return table


def _reliability_table(repeated: Sequence[Reliability]) -> Table:
    table, k = tables.new_table(), repeated[0].k
    table.add_column("repeats", overflow="fold")
    for title in (f"pass@{k}", f"pass^{k}", "flaky cases"):
        table.add_column(title, justify="right")
    for one in repeated:
        name = Text(terminal.printable(one.combination))
        table.add_row(name, words.rate(one.pass_at_k), words.rate(one.pass_all_k), str(one.flaky))
    return table


def compare_batch(reference: str, origin: Origin, output: Output, *, limit: int) -> int:
    """Print the comparison of a batch's combinations as far as they have results."""
    with stores.opened(origin, reference) as batch, terminal.reader_may_leave():
        record = batch.record
        status = stores.status_of(record)
        statistics = Statistics(record, status)
        grid = Grid(statistics.watching(batch.store.results(record.id)))
        if output is Output.JSON:
            document.print_comparison(record, status, grid.to_json(), statistics.to_json(), batch.regressions())
            return EXIT_SUCCEEDED
        console = terminal.out()
        if status.combinations:
            console.print(tables.ranking(console, status))
        tables.print_gate(console, status)
        tables.print_regressions(console, batch.regressions())
        statistics.print(console)
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
