"""``run`` and ``resume``: load, check, accept, run, show. Not for how any of it is done (``compose``, ``engine``)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from batchyard import logs
from batchyard.cli import document, stores, tables, terminal, words
from batchyard.cli.failures import invalid
from batchyard.cli.interrupts import Interrupts
from batchyard.cli.live import LiveView
from batchyard.cli.notices import notices
from batchyard.cli.options import Output, Runner
from batchyard.cli.plain import PlainView, SilentView
from batchyard.cli.progress import HEARD, Progress
from batchyard.cli.sessions import end_abandoned
from batchyard.clock import SystemClock
from batchyard.compose import LocalEngine
from batchyard.config import ray_config
from batchyard.decide.finish import EXIT_INTERRUPTED, exit_code
from batchyard.engine.forks import bound
from batchyard.engine.sources import LoadedBatch, load
from batchyard.local_files import files_folder
from batchyard.model.outcome import Verdict
from batchyard.model.spec_environment import Provider
from batchyard.store.opening import open_store

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchyard.compose import Running
    from batchyard.config import RayConfig
    from batchyard.engine.ports import BatchRecord
    from batchyard.model.outcome import Outcome
    from batchyard.model.spec import BatchTest
    from batchyard.store.sql import SqlStore

_STOPPING = "stopping: finished results are kept; again to stop at once"


class View(Protocol):
    """Shows progress, or not."""

    def note(self, text: str) -> None:
        """Show a line, now, from whatever thread."""
        ...

    def close(self) -> None:
        """End the showing."""
        ...


@dataclass(frozen=True, slots=True)
class Place:
    """Where the user wants the trials to run; nothing said leaves it to the BatchTest's provider."""

    runner: Runner | None = None
    ray_address: str = ""

    def ray(self, batch: BatchTest) -> RayConfig | None:
        """Return the Ray to run on, None to run in worker processes of this one."""
        on_ray = bool(self.ray_address) or batch.spec.environment.provider is Provider.RAY
        if self.runner is not None:
            on_ray = self.runner is Runner.RAY
        return ray_config(self.ray_address) if on_ray else None


def run_file(file: Path, named_store: str, output: Output, place: Place, *, quiet: bool) -> int:
    """Run a BatchTest's file; return the exit code. Raises ``SpecInvalid`` before anything is made."""
    loaded = load(file)
    ray = place.ray(loaded.batch)
    if not quiet:
        for notice in notices(loaded.batch.spec, ray):
            terminal.say(f"note: {notice}")
    # Ctrl-C is heard from here on, so that it always gives back what was begun.
    with Interrupts() as interrupts, LocalEngine(ray=ray) as engine:
        faults = engine.check(loaded)
        if faults:
            raise invalid(file, faults)
        target = stores.target(named_store)
        with open_store(target) as store:
            end_abandoned(store, target, quiet=quiet)
            loaded = bound(store, loaded)
            record = engine.accept(store, loaded, files_folder(target))
            return _Front(engine, store, target, output, interrupts, quiet=quiet).carry_out(record, loaded)


def resume_batch(reference: str, named_store: str, output: Output, place: Place, *, quiet: bool) -> int:
    """Go on with a batch, or show the result of one that is finished; return the exit code."""
    with stores.with_batch(named_store, reference) as (store, record):
        if record.phase.final:
            if not quiet:
                terminal.say(f"batch {record.id} is finished; this is its result")
            return show_result(store, record.id, output)
        loaded = LoadedBatch.from_json(record.spec, Path(record.base))
        end_abandoned(store, stores.target(named_store), quiet=quiet)
        with Interrupts() as interrupts, LocalEngine(ray=place.ray(loaded.batch)) as engine:
            front = _Front(engine, store, stores.target(named_store), output, interrupts, quiet=quiet)
            return front.carry_out(record, loaded)


def show_result(store: SqlStore, batch_id: str, output: Output) -> int:
    """Print a batch as the store has it; return the exit code that tells how it ended."""
    record = store.batch(batch_id)
    status = stores.status_of(record)
    with terminal.reader_may_leave():
        if output is Output.JSON:
            document.print_batch(record, status, store.results(record.id))
        else:
            tables.print_result(terminal.out(), record, status)
    if not record.phase.final:
        return EXIT_INTERRUPTED
    return exit_code(Verdict(record.phase.value), record.reason)


class _Front:
    """Runs one accepted batch with everything a user sees of it."""

    def __init__(
        self,
        engine: LocalEngine,
        store: SqlStore,
        target: str,
        output: Output,
        interrupts: Interrupts,
        *,
        quiet: bool,
    ) -> None:
        self._engine, self._store, self._target = engine, store, target
        self._output, self._interrupts, self._quiet = output, interrupts, quiet
        self._clock = SystemClock()

    def carry_out(self, record: BatchRecord, loaded: LoadedBatch) -> int:
        """Run the batch to its end or interruption, then show how it stands."""
        if not self._quiet:
            terminal.say(_opening_line(record, loaded))
        view: View = SilentView()
        finished = self._store.counts(record.id) if record.epoch else {}

        def listen(running: Running) -> None:
            nonlocal view
            view = self._view(running, loaded, finished)
            self._interrupts.on_first(lambda: _stop(running, view))

        try:
            self._engine.run(self._store, files_folder(self._target), record, loaded, on_start=listen)
        except KeyboardInterrupt:
            terminal.say(f"interrupted; go on with: batchyard resume {record.id}")
            return EXIT_INTERRUPTED
        finally:
            self._interrupts.over()
            view.close()
        return show_result(self._store, record.id, self._output)

    def _view(self, running: Running, loaded: LoadedBatch, finished: Mapping[Outcome, int]) -> View:
        if self._quiet or logs.as_json():
            return SilentView()  # as JSON each event is a line of the log
        total = len(loaded.plan)
        progress = Progress(total, loaded.batch.spec.parallelism, self._clock, finished)
        running.bus.subscribe(progress.on_event, HEARD)
        console = terminal.err()
        if terminal.draws(console):
            return LiveView(console, progress, self._clock)
        plain = PlainView(progress, total, self._clock)
        running.bus.subscribe(plain.on_event, HEARD)
        return plain


def _stop(running: Running, view: View) -> None:
    running.session.interrupt()
    view.note(_STOPPING)


def _opening_line(record: BatchRecord, loaded: LoadedBatch) -> str:
    at_once = min(loaded.batch.spec.parallelism, len(loaded.plan))
    return f"batch {record.id}: {words.plan_sentence(loaded.plan)}, {at_once} at a time"
