"""A batch's end as text: the ranked combinations, the gate, the first failures and one closing sentence.

Not for progress (``progress``) nor for JSON (``document``). On a narrow terminal columns are left out, least first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from rich import box
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from batchyard.cli.terminal import printable
from batchyard.cli.words import first_line, metric, number, rate, seconds
from batchyard.model.events import EventType
from batchyard.model.outcome import GateOutcome, Outcome, Reason, Verdict
from batchyard.model.status import Truth
from batchyard.reports.verdict import check_word, over_the_baseline, parity_word

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rich.console import Console, OverflowMethod

    from batchyard.cli.options import Origin
    from batchyard.engine.ports import BatchRecord
    from batchyard.judge.lost_trials import Regressions
    from batchyard.model.status import BatchStatus, CombinationRow

_FAILURES_SHOWN = 5
_UNBOUNDED = 100_000
_GATE_STYLES: Mapping[GateOutcome, str] = {
    GateOutcome.PASSED: "green",
    GateOutcome.FAILED: "red",
    GateOutcome.INCONCLUSIVE: "yellow",
}


class Column(NamedTuple):
    """One column: how it is headed, what stands in it, and how readily it is given up (0: never)."""

    title: str
    cell: Callable[[CombinationRow], str]
    expendable: int = 0
    left: bool = False


def print_result(
    console: Console,
    record: BatchRecord,
    status: BatchStatus,
    origin: Origin | None = None,
    regressions: Regressions | None = None,
) -> None:
    """Print all there is to say of a batch in a screenful; ``origin`` is where it was found, if it did not run now."""
    if status.combinations:
        console.print(ranking(console, status))
    print_gate(console, status)
    print_regressions(console, regressions)
    print_parity(console, record, status)
    _print_carried(console, record, status)
    _print_failures(console, record, status, origin)
    print_closing(console, record, status, origin)


def ranking(console: Console, status: BatchStatus) -> Table:
    """Return the table of combinations, best first."""
    columns = _columns(status)
    while True:
        table = _table(status, columns)
        spare = [column for column in columns if column.expendable]
        if fits(console, table) or not spare:
            return table
        columns.remove(max(spare, key=lambda column: column.expendable))


def fits(console: Console, table: Table) -> bool:
    """Return whether the table can be printed without anything in it being cut or wrapped."""
    unbounded = console.options.update_width(_UNBOUNDED)
    return Measurement.get(console, unbounded, table).maximum <= console.width


def new_table() -> Table:
    """Return an empty table in the style of all of them."""
    return Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")


def _table(status: BatchStatus, columns: Sequence[Column]) -> Table:
    table = new_table()
    for column in columns:
        table.add_column(
            Text(column.title),
            justify="left" if column.left else "right",
            overflow="fold" if column.left else "ellipsis",
        )
    best = status.best.combination if status.best else ""
    for row in status.combinations:
        table.add_row(*(Text(column.cell(row)) for column in columns), style="bold green" if row.name == best else None)
    return table


def _columns(status: BatchStatus) -> list[Column]:
    best = status.best.combination if status.best else ""
    rows = status.combinations
    columns = [
        Column("combination", lambda row: printable(row.name), left=True),
        Column("best by", lambda row: _lead(status) if row.name == best else ""),
        Column("rate", lambda row: rate(row.success_rate)),
    ]
    if any(row.score is not None for row in rows):
        columns.append(Column("score", lambda row: number(row.score)))
    columns += [Column("mean time", lambda row: seconds(row.mean_seconds), 2), Column("passed", _passed, 1)]
    counted: list[tuple[str, Callable[[CombinationRow], int]]] = [
        ("failed", lambda row: row.failed),
        ("timed out", lambda row: row.timed_out),
        ("needs input", lambda row: row.needs_input),
        ("errored", lambda row: row.errored),
        ("cancelled", lambda row: row.cancelled),
        ("not run", lambda row: row.not_run),
    ]
    for place, (title, count) in enumerate(counted, 3):
        if any(map(count, rows)):
            columns.append(Column(title, _counter(count), place))
    names = sorted({name for row in rows for name in row.metrics})
    columns += [Column(printable(name), _metric(name), 20 + place) for place, name in enumerate(names)]
    return columns


def _lead(status: BatchStatus) -> str:
    margin = status.best.margin if status.best else None
    if margin is None:
        return "*"
    return f"+{number(margin)}" if status.best and status.best.by == "score" else f"+{rate(margin)}"


def _passed(row: CombinationRow) -> str:
    judged = row.passed + row.failed + row.timed_out + row.needs_input
    return f"{row.passed}/{judged}"


def _counter(count: Callable[[CombinationRow], int]) -> Callable[[CombinationRow], str]:
    return lambda row: str(count(row))


def _metric(name: str) -> Callable[[CombinationRow], str]:
    return lambda row: metric(row.metrics.get(name))


def print_gate(console: Console, status: BatchStatus) -> None:
    """Print each rule of the gate with how the batch did, nothing if there is none."""
    if status.gate is None or not status.gate.checks:
        return
    console.print()
    for check in status.gate.checks:
        line(console, f"gate {check_word(check)}  {check.name}: {check.message}", style=_GATE_STYLES[check.outcome])


def print_regressions(console: Console, found: Regressions | None) -> None:
    """Print trials that did not pass where the baseline did, with the node at fault as far as one is known."""
    if found is None:
        return
    console.print()
    line(console, f"{found.sentence()}{':' if found.total <= len(found.rows) else ', for instance:'}")
    for trial, said in found.sentences().items():
        line(console, f"  {trial}{f'  {said}' if said else ''}")


def print_parity(console: Console, record: BatchRecord, status: BatchStatus) -> None:
    """Print what another place came to, nothing if none was asked."""
    if found := status.parity_condition:
        console.print()
        line(console, f"parity {parity_word(found)}  {found.message}", style=_PARITY_STYLES[found.status])
    if status.parity is not None:
        for row in status.parity.discrepancies:
            line(console, f"  {row.message}", cut=True)
        if status.parity.total:
            line(console, f"  all of them: batchyard parity {record.id} {status.parity.batch}")


_PARITY_STYLES = {Truth.TRUE: "green", Truth.FALSE: "red", Truth.UNKNOWN: "yellow"}


def _print_carried(console: Console, record: BatchRecord, status: BatchStatus) -> None:
    if status.trials.carried_over:
        told = f"{status.trials.carried_over} of {status.trials.total} trials were carried over and not run again"
        console.print()
        line(console, f"{told}: batchyard audit list {record.id} --type {EventType.TRIAL_CARRIED_OVER}")


def _print_failures(console: Console, record: BatchRecord, status: BatchStatus, origin: Origin | None) -> None:
    if not status.failures:
        return
    counts = status.trials
    failures = {
        Outcome.FAILED: counts.failed,
        Outcome.TIMED_OUT: counts.timed_out,
        Outcome.NEEDS_INPUT: counts.needs_input,
        Outcome.ERRORED: counts.errored,
    }
    total = sum(failures.values())
    console.print()
    first = ", the first:" if total > _FAILURES_SHOWN else ":"
    line(console, f"{total} of {counts.total} trials did not pass{first}")
    for row in status.failures[:_FAILURES_SHOWN]:
        why = ": ".join(filter(None, [row.reason, first_line(row.message)]))
        line(console, f"  {row.outcome:<10} {row.trial}{f'  {why}' if why else ''}", cut=True)
    if total > _FAILURES_SHOWN:
        options = " ".join(f"--outcome {outcome}" for outcome, count in failures.items() if count)
        where = origin.options if origin else ""
        line(console, f"  all of them: batchyard show {record.id} {options}{where}")
    console.print()


def print_closing(console: Console, record: BatchRecord, status: BatchStatus, origin: Origin | None = None) -> None:
    """Print the sentence that stands at the end and, for a batch that is not finished, how to go on."""
    why = f" ({record.reason})" if record.reason else ""
    took = ""
    if record.completed_at and record.started_at:
        took = f" after {seconds((record.completed_at - record.started_at).total_seconds())}"
    best = f" {'Best' if record.phase.final else 'Best so far'}: {best_sentence(status)}." if status.best else ""
    word = Verdict.INCONCLUSIVE if record.reason == Reason.GATE_INCONCLUSIVE else record.phase
    line(console, f"{record.id}: {word}{why}{took}: {record.message}.{best}", style="bold")
    if not record.phase.final:
        line(console, _next_step(record, origin))


def _next_step(record: BatchRecord, origin: Origin | None) -> str:
    if origin is not None and origin.kube is not None:
        where = "".join(f" {word}" for word in origin.options.split()[1:])
        return f"Wait for its end with: kubectl wait batchtest {record.name} --for=condition=Finished{where}"
    command = f"batchyard resume {record.id}"
    return (
        f"Go on with: {command}" if record.reason == Reason.INTERRUPTED else f"If nothing runs it any more: {command}"
    )


def best_sentence(status: BatchStatus) -> str:
    """Return which combination is best and by how much; empty if none is."""
    best = status.best
    if best is None:
        return ""
    value = f", score {number(best.score)}" if best.score is not None else ""
    measure = "score" if best.by == "score" else "success rate"
    ahead = ""
    if best.margin is not None:
        ahead = f", {number(best.margin)} ahead in {measure}" if best.margin else f", level with the next in {measure}"
    return f"{best.combination}{value}{ahead}{over_the_baseline(status, best.combination)}"


def line(console: Console, text: str, *, style: str = "", cut: bool = False) -> None:
    """Print one line of text, cut at the terminal's edge or wrapped there."""
    overflow: OverflowMethod = "ellipsis" if cut else "fold"
    console.print(Text(printable(text), style=style), overflow=overflow, no_wrap=cut, crop=cut)
