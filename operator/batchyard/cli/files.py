"""``validate`` and ``expand``: what can be said of a file without running it. Nothing is created."""

from __future__ import annotations

import sys
from itertools import islice
from typing import TYPE_CHECKING

from batchyard.cli import document, terminal, words
from batchyard.cli.failures import fault_json, invalid
from batchyard.cli.options import Output
from batchyard.decide.finish import EXIT_SUCCEEDED, EXIT_USAGE
from batchyard.engine.sources import LoadedBatch, load, read_file
from batchyard.environments.left_out import faults_of_file
from batchyard.model.errors import Fault, SpecInvalid

if TYPE_CHECKING:
    from pathlib import Path

    from batchyard.model.trial import JSON, Trial


def validate_file(file: Path, output: Output, *, workflow: bool) -> int:
    """Print every fault of a file and, with ``workflow``, of the workflow it names; return the exit code."""
    loaded, faults = _loaded(file)
    if loaded is not None and workflow:
        faults = _workflow_faults(loaded)
    if output is Output.JSON:
        document.print_json({"valid": not faults, "faults": [fault_json(fault) for fault in faults]})
        return EXIT_USAGE if faults else EXIT_SUCCEEDED
    if faults:
        raise invalid(file, faults)
    if loaded is not None:
        terminal.out().print(f"{file}: valid; {words.plan_sentence(loaded.plan)}", soft_wrap=True)
    return EXIT_SUCCEEDED


def _loaded(file: Path) -> tuple[LoadedBatch | None, list[Fault]]:
    try:
        reading = read_file(file)
        shape = reading.draft.shape
        return reading.and_faults(faults_of_file(shape) if shape is not None else ()).loaded(), []
    except SpecInvalid as err:
        return None, list(err.faults)


def _workflow_faults(loaded: LoadedBatch) -> list[Fault]:
    from batchyard.compose import LocalEngine

    with LocalEngine() as engine:
        return engine.check(loaded)


def expand_file(file: Path, output: Output, *, limit: int | None) -> int:
    """Print the trials, one a line, as they are made."""
    plan = load(file).plan
    trials = islice(plan, limit)
    with terminal.reader_may_leave():
        if output is Output.JSON:
            sys.stdout.write(f'{{"total": {len(plan)}')
            document.print_list("trials", map(_trial_json, trials))
            sys.stdout.write("}\n")
        else:
            for trial in trials:
                sys.stdout.write(f"{trial.id}\n")
    return EXIT_SUCCEEDED


def _trial_json(trial: Trial) -> dict[str, JSON]:
    return {
        "id": trial.id,
        "combination": dict(trial.combination.variants),
        "case": trial.case.name,
        "repeat": trial.repeat,
    }
