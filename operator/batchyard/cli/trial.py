"""``show --trial``: everything that is kept of one trial. Not for lists of trials (``batches``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from batchyard.cli import document, stores, tables, terminal, words
from batchyard.cli.options import Output
from batchyard.decide.finish import EXIT_SUCCEEDED
from batchyard.engine.sources import LoadedBatch
from batchyard.local_files import kept_files
from batchyard.model.errors import BatchNotFound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from batchyard.cli.options import Origin
    from batchyard.engine.ports import BatchRecord
    from batchyard.model.matrix import Plan
    from batchyard.model.trial import AttemptResult, EvaluatorScore, NodeBoundary


def show_trial(reference: str, trial_id: str, origin: Origin, output: Output) -> int:
    """Print a trial with each of its attempts. Raises ``BatchNotFound`` if the batch has no such trial."""
    with stores.opened(origin, reference) as batch:
        record = batch.record
        loaded = LoadedBatch.of(record)
        ordinal = ordinal_of(loaded.plan, trial_id)
        if ordinal is None:
            command = f"batchyard show {record.id} --trials{origin.options}"
            raise BatchNotFound(f'batch {record.id} has no trial "{trial_id}"; see `{command}`')
        attempts = batch.attempts_of(ordinal)
        variants = loaded.plan.trial(ordinal).combination.variants
    files = [_files(origin, record, attempt) for attempt in attempts]
    if output is Output.JSON:
        known = {attempt.combination: variants for attempt in attempts}
        shown = [document.attempt_json(one, known, kept) for one, kept in zip(attempts, files, strict=True)]
        document.print_json({"batch": record.id, "trial": trial_id, "combination": dict(variants), "attempts": shown})
    else:
        _print(terminal.out(), trial_id, attempts, files)
    return EXIT_SUCCEEDED


def ordinal_of(plan: Plan, trial_id: str) -> int | None:
    """Return the place of a trial in the plan, None if there is no such trial."""
    combination, _, rest = trial_id.partition("/")
    case, _, repeat = rest.partition("/")
    places = {one.name: place for place, one in enumerate(plan.combinations)}
    cases = {one.name: place for place, one in enumerate(plan.cases)}
    if combination not in places or case not in cases or not (repeat.isascii() and repeat.isdigit()):
        return None
    ordinal = (places[combination] * len(plan.cases) + cases[case]) * plan.repeats + int(repeat)
    # A repeat that is too high would be another case's trial.
    return ordinal if ordinal < len(plan) and plan.trial(ordinal).id == trial_id else None


def _files(origin: Origin, record: BatchRecord, attempt: AttemptResult) -> str:
    if origin.kube is not None:
        # They went with the pod.
        return ""
    folder = kept_files(stores.target(origin.store), record.id, attempt.trial_id, attempt.attempt)
    return str(folder) if folder is not None else ""


def _print(console: Console, trial_id: str, attempts: Sequence[AttemptResult], files: Sequence[str]) -> None:
    tables.line(console, trial_id, style="bold")
    if not attempts:
        tables.line(console, "no attempt has ended yet")
    for attempt, kept in zip(attempts, files, strict=True):
        console.print()
        why = f" ({attempt.reason})" if attempt.reason else ""
        head = f"attempt {attempt.attempt}: {attempt.outcome}{why} after {words.seconds(attempt.duration_seconds)}"
        worker = f" on {attempt.worker}" if attempt.worker else ""
        tables.line(console, f"{head}, begun {attempt.started_at:%Y-%m-%d %H:%M:%S}Z{worker}")
        for line in attempt.message.splitlines():
            tables.line(console, f"  {line}", style="red")
        if attempt.score is not None:
            tables.line(console, f"  score {words.number(attempt.score)}")
        _print_scores(console, attempt.scores)
        for name, value in sorted(attempt.metrics.items()):
            tables.line(console, f"  metric {name} {words.metric(value)}")
        _print_boundaries(console, attempt.boundaries)
        if attempt.output is not None:
            tables.line(console, f"  output {document.compact(attempt.output)}")
        if kept:
            tables.line(console, f"  files kept in {kept}")


def _print_scores(console: Console, scores: Sequence[EvaluatorScore]) -> None:
    for score in scores:
        said = f"{score.error}" if score.error else words.number(score.score)
        tables.line(console, f"  {score.evaluator} (weight {score.weight:g}): {said}")


def _print_boundaries(console: Console, boundaries: Sequence[NodeBoundary]) -> None:
    if not boundaries:
        return
    table = tables.new_table()
    for title in ("  node", "status"):
        table.add_column(title, overflow="fold")
    table.add_column("time", justify="right")
    table.add_column("checkpoint", overflow="fold")
    for boundary in boundaries:
        table.add_row(
            Text(f"  {terminal.printable(boundary.node)}"),
            Text(boundary.status),
            Text(words.seconds(boundary.duration_seconds)),
            Text(boundary.exit_checkpoint or "-"),
        )
    console.print(table)
