"""``run`` and ``resume``: load, check, accept, run, show. Not for how any of it is done (``compose``, ``engine``)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from batchyard import logs
from batchyard.cli import document, stores, tables, terminal, words
from batchyard.cli.earlier import NOTHING_EARLIER, Earlier, changed_since, write_change
from batchyard.cli.failures import invalid
from batchyard.cli.interrupts import Interrupts
from batchyard.cli.live import LiveView
from batchyard.cli.notices import limits_of_sharing, notices, sharing_notices
from batchyard.cli.options import Output, Runner
from batchyard.cli.plain import PlainView, SilentView
from batchyard.cli.progress import HEARD, Progress
from batchyard.cli.report import check_files, write_files
from batchyard.cli.sessions import end_abandoned
from batchyard.clock import SystemClock
from batchyard.compose import LocalEngine
from batchyard.config import ray_config
from batchyard.decide.finish import EXIT_INTERRUPTED
from batchyard.decide.parity import exit_code_of, is_comparable
from batchyard.engine.forks import bound
from batchyard.engine.parity import Elsewhere
from batchyard.engine.settings import setting_of
from batchyard.engine.sources import LoadedBatch, load
from batchyard.local_files import files_folder, written_files
from batchyard.model.errors import SpecInvalid
from batchyard.model.events import EventType
from batchyard.model.outcome import Reason
from batchyard.model.spec_environment import Isolation, Provider
from batchyard.model.status import Truth
from batchyard.store.opening import open_store

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from batchyard.compose import Running
    from batchyard.config import RayConfig
    from batchyard.engine.ports import BatchRecord
    from batchyard.model.events import Event
    from batchyard.model.outcome import Outcome
    from batchyard.model.spec import BatchTest
    from batchyard.store.sql import SqlStore

_STOPPING = "stopping: finished results are kept; again to stop at once"
_BEGINNINGS = frozenset({EventType.BATCH_STARTED, EventType.BATCH_RESUMED})
_MIXED = "the trials that are left run with this"


class View(Protocol):
    """Shows progress, or not."""

    def note(self, text: str) -> None:
        """Show a line, now, from whatever thread, until another one is shown or the showing ends."""
        ...

    def say(self, text: str) -> None:
        """Write a line that stays."""
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


def place_name(place: Elsewhere) -> str:
    """Return what a place is called in a sentence; on this machine KubeRay is the local runner."""
    match place:
        case Elsewhere(Provider.RAY):
            return "Ray"
        case Elsewhere(_, Isolation.THREAD):
            return "threads"
        case _:
            return "worker processes"


def here(loaded: LoadedBatch, ray: RayConfig | None) -> Elsewhere:
    """Return the place on this machine that a batch's trials run in."""
    provider = Provider.IN_PROCESS if ray is None else Provider.RAY
    return Elsewhere(provider, loaded.batch.spec.environment.isolation)


def run_file(
    file: Path,
    named_store: str,
    output: Output,
    place: Place,
    earlier: Earlier = NOTHING_EARLIER,
    *,
    quiet: bool,
    reports: Sequence[Path] = (),
) -> int:
    """Run a BatchTest's file; return the exit code. Raises ``SpecInvalid``, ``NotWritten`` before anything is made."""
    check_files(reports)
    loaded = load(file)
    ray = place.ray(loaded.batch)
    if not quiet:
        spec = loaded.batch.spec
        for notice in (*notices(spec, ray), *limits_of_sharing(spec, loaded.plan)):
            terminal.say(f"note: {notice}")
    # Ctrl-C is heard from here on, so that it always gives back what was begun.
    with Interrupts() as interrupts, LocalEngine(ray=ray) as engine:
        faults = engine.check(loaded)
        if faults:
            raise invalid(file, faults)
        target = stores.target(named_store)
        with open_store(target) as store:
            end_abandoned(store, target, quiet=quiet)
            written = (*reports, *written_files(target))
            loaded = replace(bound(store, loaded), setting=setting_of(loaded, place_name(here(loaded, ray)), written))
            loaded = earlier.taken(store, loaded, quiet=quiet)
            record = engine.accept(store, loaded, files_folder(target))
            front = Front(engine, store, target, interrupts, quiet=quiet)
            return _carry_out(front, record, loaded, output, reports=reports)


def resume_batch(reference: str, named_store: str, output: Output, place: Place, *, quiet: bool) -> int:
    """Go on with a batch, or show the result of one that is finished; return the exit code."""
    target = stores.target(named_store)
    with stores.with_batch(named_store, reference, upgrade=True) as (store, record):
        loaded = LoadedBatch.of(record)
        if record.phase.final and not is_unchecked(record, loaded):
            if not quiet:
                terminal.say(f"batch {record.id} is finished; this is its result")
            return show_result(store, record.id, output, target)
        end_abandoned(store, target, quiet=quiet)
        ray = place.ray(loaded.batch)
        where, written = place_name(here(loaded, ray)), written_files(target)
        changed = "" if record.phase.final else changed_since(loaded, where, written)
        with Interrupts() as interrupts, LocalEngine(ray=ray) as engine:
            # Else every trial that is left would fail for good, for what may be mended.
            faults = [] if record.phase.final else engine.check(loaded)
            if faults:
                raise SpecInvalid(f"batch {record.id} is left as it is", faults)
            front = Front(engine, store, target, interrupts, quiet=quiet)
            return _carry_out(front, record, loaded, output, changed)


def is_unchecked(record: BatchRecord, loaded: LoadedBatch) -> bool:
    """Return whether a finished batch has yet to be compared with another place, as its file asks."""
    if not loaded.batch.spec.parity.enabled or not is_comparable(record.phase, record.reason):
        return False
    return stores.status_of(record).parity_verified in {None, Truth.UNKNOWN}


def _carry_out(
    front: Front,
    record: BatchRecord,
    loaded: LoadedBatch,
    output: Output,
    changed: str = "",
    reports: Sequence[Path] = (),
) -> int:
    """Run the batch to its end or interruption, compare it with another place if asked, show how it stands."""
    if not record.phase.final:
        came_to_an_end = front.go(record, loaded, changed)
        record = front.store.batch(record.id)
        if not came_to_an_end:
            # One that was ended at once has said so, and its session has written nothing down.
            stands = record.reason == Reason.INTERRUPTED
            return show_result(front.store, record.id, output, front.target) if stands else EXIT_INTERRUPTED
    if is_unchecked(record, loaded):
        from batchyard.cli.parity_check import verify

        if not verify(front, record, loaded):
            return EXIT_INTERRUPTED
    return show_result(front.store, record.id, output, front.target, reports, quiet=front.quiet)


def show_result(
    store: SqlStore, batch_id: str, output: Output, target: str, reports: Sequence[Path] = (), *, quiet: bool = False
) -> int:
    """Print a batch as the store ``target`` has it; return the exit code that tells how it ended.

    If it has ended, its reports are written first: what cannot be printed costs none of them.
    """
    record = store.batch(batch_id)
    opened = stores.opened_here(store, record, target)
    lost = opened.unmet_regressions()
    status = stores.status_of(record)
    code = exit_code_of(record.phase, record.reason, status.parity_verified) if record.phase.final else EXIT_INTERRUPTED
    if code != EXIT_INTERRUPTED:
        write_files(opened, reports, quiet=quiet)
    with terminal.reader_may_leave():
        if output is Output.JSON:
            document.print_batch(record, status, store.results(record.id), regressions=lost)
        else:
            tables.print_result(terminal.out(), record, status, regressions=lost)
    return code


class Front:
    """Runs accepted batches with everything a user sees of them."""

    def __init__(
        self,
        engine: LocalEngine,
        store: SqlStore,
        target: str,
        interrupts: Interrupts,
        *,
        quiet: bool,
    ) -> None:
        """``store`` is that of ``target``, as a user may name it."""
        self.engine, self.store = engine, store
        self.target = target
        self.quiet = quiet
        self._interrupts = interrupts
        self._clock = SystemClock()

    def on(self, engine: LocalEngine) -> Front:
        """Return the same with another engine."""
        return Front(engine, self.store, self.target, self._interrupts, quiet=self.quiet)

    def say(self, text: str) -> None:
        """Tell the user, who may not want to hear it."""
        if not self.quiet:
            terminal.say(text)

    def go(self, record: BatchRecord, loaded: LoadedBatch, changed: str = "") -> bool:
        """Run the batch to its end and return whether it came to one; if it was interrupted, it can be resumed.

        ``changed`` is what is not as it was when the batch began.
        """
        if not self.quiet:
            terminal.say(_opening_line(record, loaded))
        view: View = SilentView()
        finished = self.store.counts(record.id) if record.epoch else {}

        def tell_sharing(event: Event) -> None:
            for notice in sharing_notices(event.details):
                view.say(terminal.printable(f"note: {notice}"))

        def listen(running: Running) -> None:
            nonlocal view
            if changed:  # not before the batch is ours: a live process may run it as it was
                self.say(f"note: not all is as it was when the batch began: {changed}; {_MIXED}")
                write_change(self.store, record.id, loaded, changed)
            view = self._view(running, loaded, finished)
            if not self.quiet:
                running.bus.subscribe(lambda event: view.note(event.message), frozenset({EventType.BATCH_AMENDED}))
                running.bus.subscribe(tell_sharing, _BEGINNINGS)
            self._interrupts.on_first(lambda: _stop(running, view))

        try:
            ended = self.engine.run(self.store, files_folder(self.target), record, loaded, on_start=listen)
        except KeyboardInterrupt:
            terminal.say(f"interrupted; go on with: batchyard resume {record.id}")
            return False
        finally:
            self._interrupts.over()
            view.close()
        return ended.verdict is not None

    def _view(self, running: Running, loaded: LoadedBatch, finished: Mapping[Outcome, int]) -> View:
        if self.quiet or logs.as_json():
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
