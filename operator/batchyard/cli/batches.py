"""``list`` and ``show``: what the store has of batches and trials. Not for the case-by-case comparison (``compare``).

A batch's summary is read from its own row, so that it costs the same for ten trials and for 100,000.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from rich.text import Text

from batchyard.cli import document, stores, tables, terminal, words
from batchyard.cli.options import Output
from batchyard.decide.finish import EXIT_PLACE_FAILED, EXIT_SUCCEEDED
from batchyard.model.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from batchyard.cli.options import Origin
    from batchyard.engine.ports import BatchRecord
    from batchyard.model.errors import RecordDamaged
    from batchyard.model.outcome import Outcome
    from batchyard.model.trial import AttemptResult

_COMPLETED = 100


def list_batches(origin: Origin, output: Output, *, limit: int) -> int:
    """Print the newest batches, and say which of them cannot be read; return the exit code."""
    damaged: list[RecordDamaged] = []
    place, records = stores.newest(origin, limit, damaged)
    with terminal.reader_may_leave():
        if output is Output.JSON:
            told = {"damaged": [str(err) for err in damaged]} if damaged else {}
            document.print_json({"batches": [document.batch_json(record) for record in records], **told})
        elif records:
            _print_records(records)
        elif not damaged:
            terminal.say(f"no batches in {place}")
    for err in damaged:
        terminal.say(f"error: {terminal.printable(str(err))}")
    return EXIT_PLACE_FAILED if damaged else EXIT_SUCCEEDED


def known_batches(named_store: str, beginning: str) -> list[str]:
    """Return the ids that a shell may complete; none, silently, if the store cannot be read."""
    try:
        with stores.there(named_store) as store:
            records = store.batches(limit=_COMPLETED, damaged=[]) if store is not None else []
    except StoreError:
        return []
    return [record.id for record in records if record.id.startswith(beginning)]


def _print_records(records: Sequence[BatchRecord]) -> None:
    table = tables.new_table()
    table.add_column("batch", overflow="fold", no_wrap=True)
    table.add_column("phase")
    table.add_column("trials", justify="right")
    table.add_column("accepted")
    table.add_column("took", justify="right")
    table.add_column("reason")
    for record in records:
        table.add_row(
            Text(terminal.printable(record.id)),
            Text(record.phase.value, style=_STYLES.get(record.phase.value, "")),
            Text(f"{record.total}"),
            Text(f"{record.accepted_at:%Y-%m-%d %H:%M:%S}Z"),
            Text(words.seconds(_took(record))),
            Text(record.reason),
        )
    terminal.out().print(table)


_STYLES = {"Succeeded": "green", "Failed": "red", "Cancelled": "yellow"}


def _took(record: BatchRecord) -> float | None:
    if record.started_at is None or record.completed_at is None:
        return None
    return (record.completed_at - record.started_at).total_seconds()


def show_batch(reference: str, origin: Origin, output: Output, *, trials: bool, outcomes: Sequence[Outcome]) -> int:
    """Print how a batch stands or ended and, if asked, its trials.

    If the operator cannot be asked, what its BatchTest's status says is printed, which has no trials.
    """
    try:
        with stores.opened(origin, reference) as batch, terminal.reader_may_leave():
            record = batch.record
            status = stores.status_of(record)
            # In a cluster that would read every result: `compare` and `report` do.
            lost = batch.unmet_regressions() if origin.kube is None else None
            wanted = batch.store.results(record.id, outcomes=outcomes or None) if trials or outcomes else None
            if output is Output.JSON:
                document.print_batch(record, status, wanted, regressions=lost)
            elif wanted is not None:
                _print_trials(wanted)
            else:
                tables.print_result(terminal.out(), record, status, origin, lost)
    except stores.StatusOnly as err:
        if trials or outcomes:
            raise
        _show_status(err, origin, output)
    return EXIT_SUCCEEDED


def _show_status(seen: stores.StatusOnly, origin: Origin, output: Output) -> None:
    status = stores.status_of(seen.record)
    terminal.say(f"{seen}; this is what the status of the BatchTest says")
    with terminal.reader_may_leave():
        if output is Output.JSON:
            document.print_batch(seen.record, status, None, conditions=status.conditions)
            return
        console = terminal.out()
        tables.print_result(console, seen.record, status, origin)
        for condition in status.conditions:
            why = f": {condition.message}" if condition.message else ""
            tables.line(console, f"{condition.type} is {condition.status} ({condition.reason}){why}")


def _print_trials(results: Iterable[AttemptResult]) -> None:
    # Not a table: that would hold every row to find out how wide its columns are.
    write = sys.stdout.write
    write(f"{'outcome':<10} {'score':>7} {'time':>9}  trial\n")
    for result in results:
        why = ": ".join(filter(None, [result.reason, words.first_line(result.message)]))
        text = (
            f"{result.outcome:<10} {words.number(result.score):>7} {words.seconds(result.duration_seconds):>9}"
            f"  {result.trial_id}{f'  {why}' if why else ''}"
        )
        write(terminal.printable(text) + "\n")
