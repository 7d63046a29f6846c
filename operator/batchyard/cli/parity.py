"""``parity``: a file's trials in two places, or two batches of the store, compared trial by trial.

Not for ``spec.parity`` after a run (``parity_check``), nor for what counts as equal (``judge.parity``).
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from rich.text import Text

from batchyard.cli import document, stores, tables, terminal, words
from batchyard.cli.failures import invalid
from batchyard.cli.interrupts import Interrupts
from batchyard.cli.options import Origin, Output, Preset
from batchyard.cli.parity_check import ended_early, run_of, run_twin
from batchyard.cli.run import Front, Place, place_name
from batchyard.cli.sessions import end_abandoned
from batchyard.compose import LocalEngine
from batchyard.decide.finish import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_SUCCEEDED, exit_code
from batchyard.decide.parity import sample
from batchyard.engine.forks import bound
from batchyard.engine.parity import Elsewhere, Run, compare, config_of, place_of, twin
from batchyard.engine.sources import LoadedBatch, load
from batchyard.judge.parity import ParityConfig
from batchyard.local_files import files_folder
from batchyard.model.outcome import Verdict
from batchyard.model.spec_environment import Isolation, Provider
from batchyard.store.opening import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from rich.console import Console

    from batchyard.cli.options import KubeOrigin
    from batchyard.engine.ports import BatchRecord
    from batchyard.judge.parity_report import Discrepancy, ParityReport
    from batchyard.model.spec_evaluation import Parity
    from batchyard.model.trial import JSON, AttemptResult

_SHOWN = 20
_SECOND = "parity-against"
_IN_CLUSTER = "kube:"


def check_file(
    file: Path, named_store: str, output: Output, *, against: Elsewhere | None, size: int | None,
    preset: Preset | None, quiet: bool,
) -> int:  # fmt: skip
    """Run a file's trials here and elsewhere and compare; return the exit code."""
    loaded = load(file)
    parity = loaded.batch.spec.parity
    only = None if size is None else sample(len(loaded.plan), size, loaded.digest)
    here = _here(loaded)
    there = against or _other(parity, here)
    target = stores.target(named_store)
    with Interrupts() as interrupts, LocalEngine(ray=Place().ray(loaded.batch)) as engine:
        faults = engine.check(twin(loaded, here))
        if faults:
            raise invalid(file, faults)
        with open_store(target) as store:
            end_abandoned(store, target, quiet=quiet)
            front = Front(engine, store, target, interrupts, quiet=quiet)
            loaded = bound(store, loaded)
            first = twin(loaded, here, only=only)
            record = engine.accept(store, first, files_folder(target))
            second = twin(loaded, there, of=record.id, only=only, suffix=_SECOND)
            front.say(f"comparing {place_name(here)} with {place_name(there)}")
            if not front.go(record, first):
                return EXIT_INTERRUPTED
            one = store.batch(record.id)
            if early := ended_early(one):
                return _not_compared(one, early)
            other = run_twin(front, record, second)
            if other is None:
                return EXIT_INTERRUPTED
            if early := ended_early(other):
                return _not_compared(other, early)
            runs = run_of(store, one, first), run_of(store, other, second)
            return _compared(runs, _config(parity, preset), output)


def _not_compared(record: BatchRecord, why: str) -> int:
    terminal.say(f"batchyard: parity was not checked: {why}")
    return exit_code(Verdict(record.phase.value), record.reason)


def check_batches(
    left: str, right: str, named_store: str, kube: KubeOrigin, output: Output, preset: Preset | None
) -> int:
    """Compare two batches, each of the store or, written ``kube:NAME``, of a cluster; return the exit code."""
    with ExitStack() as stack:
        first, second = (stack.enter_context(_found(one, named_store, kube)) for one in (left, right))
        return _compared((first, second), _config(first.loaded.batch.spec.parity, preset), output)


@contextmanager
def _found(reference: str, named_store: str, kube: KubeOrigin) -> Iterator[Run]:
    if not reference.startswith(_IN_CLUSTER):
        with stores.with_batch(named_store, reference) as (store, record):
            yield run_of(store, record)
        return
    with stores.opened(Origin(kube=kube), reference.removeprefix(_IN_CLUSTER)) as found:
        loaded = LoadedBatch.of(found.record)
        yield Run(found.record, loaded, partial(_finals_there, found))


def _finals_there(found: stores.Opened, ordinals: Sequence[int] | None) -> Iterator[AttemptResult]:
    if ordinals is None:
        yield from found.store.results(found.record.id)
        return
    for ordinal in ordinals:
        # The last attempt is the one that counts.
        yield from found.attempts_of(ordinal)[-1:]


def elsewhere(text: str) -> Elsewhere:
    """Return the place that ``PROVIDER`` or ``PROVIDER/ISOLATION`` names. Raises ``ValueError``."""
    provider, _, isolation = text.partition("/")
    try:
        place = Elsewhere(_word(Provider, provider), _word(Isolation, isolation or Isolation.PROCESS.value))
    except KeyError:
        names = "InProcess, InProcess/Process, InProcess/Thread or Ray"
        raise ValueError(f'"{text}" is no place to run in; write {names}') from None
    if place.provider is Provider.KUBE_RAY:
        raise ValueError("KubeRay is in a cluster; on this machine write Ray")
    if place.provider is Provider.RAY and place.isolation is Isolation.THREAD:
        raise ValueError("Ray's actors run no user code in their own process; write Ray")
    return place


def _word(words_: type[Provider] | type[Isolation], text: str) -> JSON:
    return {word.value.lower(): word for word in words_}[text.lower()]


def _here(loaded: LoadedBatch) -> Elsewhere:
    """Return the file's own place, or the one on this machine that stands for it."""
    place = place_of(loaded)
    return place if place.provider is not Provider.KUBE_RAY else replace(place, provider=Provider.IN_PROCESS)


def _other(parity: Parity, here: Elsewhere) -> Elsewhere:
    """Return the place that the file names to compare with, else the other one of the two that are on this machine."""
    if parity.model_fields_set & {"against", "isolation"} and parity.against is not Provider.KUBE_RAY:
        return Elsewhere(parity.against, parity.isolation)
    return Elsewhere(Provider.IN_PROCESS if here.provider is Provider.RAY else Provider.RAY)


def _config(parity: Parity, preset: Preset | None) -> ParityConfig:
    config = config_of(parity)
    if preset is None:
        return config
    chosen = ParityConfig.strict() if preset is Preset.STRICT else ParityConfig.lenient()
    return replace(
        chosen, ignored_metrics=config.ignored_metrics, ignore_timing_metrics=config.ignore_timing_metrics,
        max_discrepancies=config.max_discrepancies,
    )  # fmt: skip


def _compared(runs: tuple[Run, Run], config: ParityConfig, output: Output) -> int:
    report = compare(*runs, config)
    with terminal.reader_may_leave():
        if output is Output.JSON:
            document.print_json(_json(runs, config, report))
        else:
            _print(terminal.out(), runs, report)
    return EXIT_SUCCEEDED if report.equivalent else EXIT_FAILED


def _json(runs: tuple[Run, Run], config: ParityConfig, report: ParityReport) -> dict[str, JSON]:
    left, right = ({**document.batch_json(run.record), "place": str(place_of(run.loaded))} for run in runs)
    tolerances = {"relative": config.metric_tolerance, "absolute": config.absolute_tolerance}
    return {"left": left, "right": right, **report.to_json(), "tolerances": tolerances}


def _print(console: Console, runs: tuple[Run, Run], report: ParityReport) -> None:
    if report.discrepancies:
        table = tables.new_table()
        for title in ("trial", "what differs", *(run.record.id for run in runs)):
            table.add_column(Text(title), overflow="fold")
        for found in report.discrepancies[:_SHOWN]:
            table.add_row(*(Text(terminal.printable(cell)) for cell in _cells(found)))
        console.print(table)
        if report.total > _SHOWN:
            tables.line(
                console, f"{report.total - _SHOWN} more; --output json has the first {len(report.discrepancies)}"
            )
        console.print()
    names = " and ".join(f"{run.record.id} ({place_of(run.loaded)})" for run in runs)
    took = f" The trials took {words.seconds(report.left_seconds)} and {words.seconds(report.right_seconds)}."
    text = f"{names}: {report.sentence()}.{took if report.compared else ''}"
    tables.line(console, text, style="bold green" if report.equivalent else "bold red")


def _cells(found: Discrepancy) -> tuple[str, ...]:
    what = f"{found.kind} {found.subject}" if found.subject else found.kind.value
    return found.trial, what, *("" if value is None else str(value) for value in (found.left, found.right))
