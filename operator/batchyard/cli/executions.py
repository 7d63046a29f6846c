"""``execution ...``: finds the execution that is meant, makes the move and shows how it stands.

Not for the moves themselves (``executions``), nor for how the commands are typed (``execution_group``).
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from batchyard.cli import execution_tables, stores
from batchyard.cli.failures import invalid
from batchyard.cli.interrupts import Interrupts
from batchyard.cli.trial import ordinal_of
from batchyard.clock import SystemClock
from batchyard.compose import LocalEngine
from batchyard.decide.execution import check_breakpoints
from batchyard.decide.finish import (
    EXIT_BATCH_DEADLINE,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_PLACE_FAILED,
    EXIT_SUCCEEDED,
)
from batchyard.engine.ports import BatchUpdate
from batchyard.engine.sources import LoadedBatch, load
from batchyard.engine.stored_results import of_plan
from batchyard.environments.in_process import InProcessEnvironment
from batchyard.executions.held import Held, HeldFolders
from batchyard.executions.moves import NOTHING_ASKED, Moves, Source, target_of
from batchyard.executions.running import OneRun
from batchyard.executions.sources import KeptAttempts, all_held, held_of_trial, held_source
from batchyard.executions.trail import BatchTrail
from batchyard.local_files import WORKSPACES, files_folder
from batchyard.local_sessions import this_process
from batchyard.model.errors import BatchNotFound, Fault
from batchyard.model.execution import ExecutionError, ExecutionStatus
from batchyard.model.outcome import Outcome, Phase, Reason
from batchyard.model.rules import shortened_list
from batchyard.store.lookup import attempts_of
from batchyard.store.opening import open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from batchyard.cli.options import Output
    from batchyard.cli.run import Place
    from batchyard.engine.ports import BatchRecord
    from batchyard.executions.moves import Ran
    from batchyard.executions.running import Pausing
    from batchyard.model.trial import JSON, Case, Combination
    from batchyard.store.sql import SqlStore


_NAMES_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Address:
    """What the user named: an execution's id, or a batch and ``TRIAL[#attempt]``; and the store it is in."""

    first: str
    trial: str
    store: str


@dataclass(frozen=True, slots=True)
class Found:
    """What was meant, and the batch it belongs to."""

    source: Source
    store: SqlStore
    record: BatchRecord
    loaded: LoadedBatch
    files: Path


def list_executions(reference: str, named_store: str, output: Output, *, limit: int) -> int:
    """Print the executions of a batch and the attempts whose states were kept."""
    with stores.with_batch(named_store, reference) as (store, record):
        files = files_folder(stores.target(named_store))
        loaded = LoadedBatch.of(record)
        results = of_plan(store.results(record.id, final_only=False), loaded.plan, record.id)
        kept = KeptAttempts(files, record.id, loaded).all(results)
        shown = [*all_held(HeldFolders(files), record.id), *islice(kept, limit or len(loaded.plan))]
    execution_tables.print_list(record.id, shown, output)
    return EXIT_SUCCEEDED


def show_execution(address: Address, output: Output, *, history: bool) -> int:
    """Print how an execution stands, and its checkpoints if wanted."""
    with _found(address, to_move=False) as found:
        execution_tables.print_one(found.source, output, history=history)
    return EXIT_SUCCEEDED


def show_state(address: Address, output: Output, checkpoint: str) -> int:
    """Print the state at a checkpoint, or the newest."""
    with _found(address, to_move=False) as found:
        target = target_of(found.source, checkpoint)
        with _moving(found) as (moves, _):
            state = moves.state(found.source, target.id)
    execution_tables.print_state(found.source, target, state, output)
    return EXIT_SUCCEEDED


def run_file(
    file: Path, named_store: str, combination: str, case: str, output: Output, pausing: Pausing, place: Place
) -> int:
    """Make one execution of a BatchTest's file and run it; return the exit code. Raises ``SpecInvalid`` of a fork."""
    loaded = load(file)
    _refuse_fork(file, loaded)
    combinations = {one.name: one for one in loaded.plan.combinations}
    cases = {one.name: one for one in loaded.plan.cases}
    chosen = combinations[_one_of("--combination", combination, combinations)]
    wanted = cases[_one_of("--case", case, cases)]
    with Interrupts() as interrupts, LocalEngine(ray=place.ray(loaded.batch)) as engine:
        faults = engine.check(loaded)
        if faults:
            raise invalid(file, faults)
        if pausing != NOTHING_ASKED:
            check_breakpoints(pausing.before + pausing.after, engine.nodes(loaded, chosen))
        target = stores.target(named_store)
        with open_store(target) as store:
            record = _batch_for(engine, store, loaded, files_folder(target))
            made = _made(record, chosen, wanted)
            found = Found(Source(made, Path(), ""), store, record, loaded, files_folder(target))
            return _tell(_run(engine, interrupts, found, lambda moves: moves.begin(made, pausing)), found, output)


def resume_execution(address: Address, output: Output, pausing: Pausing, answer: Sequence[JSON], place: Place) -> int:
    """Go on with an execution; return the exit code."""
    with _found(address) as found, Interrupts() as interrupts:
        with LocalEngine(ray=place.ray(found.loaded.batch)) as engine:
            ran = _run(engine, interrupts, found, lambda moves: moves.resume(found.source, pausing, answer))
        return _tell(ran, found, output)


def edit_execution(address: Address, output: Output, values: Mapping[str, JSON], as_node: str) -> int:
    """Set keys of a paused execution's state."""
    with _found(address) as found, _moving(found) as (moves, folders):
        held = moves.edit(found.source, values, as_node).held
        execution_tables.print_one(held_source(folders.find(held.id)), output)
    return EXIT_SUCCEEDED


def roll_back_execution(address: Address, output: Output, to: str) -> int:
    """Take an execution back to a checkpoint or a node's end."""
    with _found(address) as found, _moving(found) as (moves, folders):
        held = moves.roll_back(found.source, to)
        execution_tables.print_one(held_source(folders.find(held.id)), output)
    return EXIT_SUCCEEDED


def fork_execution(
    address: Address, output: Output, to: str, variants: Mapping[str, str], values: Mapping[str, JSON]
) -> int:
    """Make an execution from a boundary of another one."""
    with _found(address) as found:
        chosen = _combination(found, variants)
        with _moving(found) as (moves, folders):
            held = moves.fork(found.source, to, chosen, values).held
            execution_tables.print_one(held_source(folders.find(held.id)), output)
    return EXIT_SUCCEEDED


def stop_execution(address: Address, output: Output) -> int:
    """End an execution for good."""
    return _ask(address, output, Moves.stop)


def pause_execution(address: Address, output: Output) -> int:
    """Have an execution that runs in another terminal pause."""
    return _ask(address, output, Moves.pause)


def _ask(address: Address, output: Output, move: Callable[[Moves, Source], Held]) -> int:
    with _found(address) as found, _moving(found) as (moves, folders):
        held = move(moves, found.source)
        execution_tables.print_one(held_source(folders.find(held.id)), output)
    return EXIT_SUCCEEDED


# -- finding what is meant ---------------------------------------------------------------------------------------------


@contextmanager
def _found(address: Address, *, to_move: bool = True) -> Iterator[Found]:
    """Give what was meant, ``to_move`` it or only to look at it.

    Raises ``ExecutionNotFound``, ``BatchNotFound`` or ``BatchAmbiguous``.
    """
    files = files_folder(stores.target(address.store))
    folders = HeldFolders(files)
    folder = None if address.trial else folders.find(address.first)
    reference = folder.batch if folder else address.first
    with stores.with_batch(address.store, reference, upgrade=to_move) as (store, record):
        loaded = LoadedBatch.of(record)
        source = held_source(folder) if folder else _of_trial(address.trial, store, record, loaded, files)
        yield Found(source, store, record, loaded, files)


def _of_trial(named: str, store: SqlStore, record: BatchRecord, loaded: LoadedBatch, files: Path) -> Source:
    trial, _, number = named.partition("#")
    ordinal = ordinal_of(loaded.plan, trial)
    if ordinal is None or (number and not number.isdecimal()):
        raise BatchNotFound(f'batch {record.id} has no trial "{named}"; see `batchyard execution list {record.id}`')
    # What a person made of an attempt stands for its trial from then on; the attempt keeps its own name.
    if not number and (made := held_of_trial(HeldFolders(files), record.id, trial)):
        return made
    kept = KeptAttempts(files, record.id, loaded)
    return kept.one(trial, int(number) if number else None, attempts_of(store, record.id, ordinal))


def _combination(found: Found, variants: Mapping[str, str]) -> Combination:
    wanted = {**found.source.held.variants, **variants}
    for combination in found.loaded.plan.combinations:
        if dict(combination.variants) == wanted:
            return combination
    there = shortened_list([combination.name for combination in found.loaded.plan.combinations], _NAMES_SHOWN)
    asked = ", ".join(f"{name}={value}" for name, value in wanted.items())
    raise ExecutionError(f"batch {found.record.id} has no combination with {asked}; it has {there}")


# -- making a move -----------------------------------------------------------------------------------------------------


@contextmanager
def _moving(found: Found) -> Iterator[tuple[Moves, HeldFolders]]:
    made: list[LocalEngine] = []
    with ExitStack() as stack:

        def engine() -> LocalEngine:
            # Only a move that loads user code needs one. None of these runs a node, so none waits for a Ray to start.
            if not made:
                made.append(stack.enter_context(LocalEngine()))
            return made[0]

        yield _moves(engine, found, lambda: False), HeldFolders(found.files)


def _moves(engine: Callable[[], LocalEngine], found: Found, interrupted: Callable[[], bool]) -> Moves:
    clock = SystemClock()
    secrets = InProcessEnvironment(found.loaded.batch, found.files / WORKSPACES, {}).secrets
    trail = BatchTrail(found.store, found.record, found.files, clock, secrets)
    return Moves(HeldFolders(found.files), OneRun(engine, found.loaded, clock, found.files), trail, clock, interrupted)


@dataclass(frozen=True, slots=True)
class _Told:
    ran: Ran
    interrupted: bool


def _run(engine: LocalEngine, interrupts: Interrupts, found: Found, move: Callable[[Moves], Ran]) -> _Told:
    asked: list[bool] = []
    held = found.source.held
    name = held.id or f"{held.batch} {held.trial}"
    interrupts.on_first(
        lambda: asked.append(True),
        f"ended at once: execution {name} is paused at its last boundary; `batchyard execution resume {name}` goes on",
    )
    try:
        ran = move(_moves(lambda: engine, found, lambda: bool(asked)))
    finally:
        interrupts.over()
    return _Told(ran, bool(asked))


def _tell(told: _Told, found: Found, output: Output) -> int:
    held = told.ran.held
    source = held_source(HeldFolders(found.files).find(held.id))
    state = told.ran.result.output if told.ran.result is not None else None
    execution_tables.print_one(source, output, state=state if held.status is ExecutionStatus.COMPLETED else None)
    return EXIT_INTERRUPTED if told.interrupted else _exit_code(held)


def _exit_code(held: Held) -> int:
    match held.outcome:
        case Outcome.FAILED:
            return EXIT_FAILED
        case Outcome.TIMED_OUT:
            return EXIT_BATCH_DEADLINE
        case Outcome.ERRORED:
            return EXIT_PLACE_FAILED
        case _:
            return EXIT_SUCCEEDED


# -- an execution of its own -------------------------------------------------------------------------------------------


def _one_of(option: str, name: str, there: Collection[str]) -> str:
    if name in there or (not name and len(there) == 1):
        return name or next(iter(there))
    what = f'is no "{name}"' if name else "are several to choose from"
    raise ExecutionError(f"{option}: there {what}; there are {shortened_list(list(there), _NAMES_SHOWN)}")


def _refuse_fork(file: Path, loaded: LoadedBatch) -> None:
    """Refuse a file whose trials begin from another batch: an execution of it begins at the case's input."""
    fork = loaded.batch.spec.fork_from
    if fork is None:
        return
    message = "an execution that is made of a file begins at its case's input, not from another batch"
    remedy = (
        f"fork a trial of that batch: batchyard execution fork {fork.batch_test} TRIAL --from {fork.node}, "
        f"or run the whole file: batchyard run {file}"
    )
    raise invalid(file, [Fault("spec.forkFrom", fork.batch_test, message, remedy)])


def _batch_for(engine: LocalEngine, store: SqlStore, loaded: LoadedBatch, files: Path) -> BatchRecord:
    """Write down a batch for the execution to belong to; none of its trials is ever run."""
    record = engine.accept(store, loaded, files)
    now = SystemClock().now()
    session = store.open_session(record.id, this_process(), now)
    text = "made for an execution that a person holds; no trial of it is run"
    store.commit(session, batch=BatchUpdate(Phase.CANCELLED, Reason.EXECUTION, text, completed_at=now))
    store.close_session(session, Reason.EXECUTION, now)
    return store.batch(record.id)


def _made(record: BatchRecord, combination: Combination, case: Case) -> Held:
    return Held(
        id="", batch=record.id, trial=f"{combination.name}/{case.name}/0", combination=combination.name,
        variants=dict(combination.variants), case=case.name, repeat=0, created_at="", changed_at="",
    )  # fmt: skip
