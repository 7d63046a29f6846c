"""Wires the adapters to the engine: the one place that knows which implementation serves which port.

Not for decisions: whatever is chosen here follows from the BatchTest or the caller's arguments.
"""

from __future__ import annotations

import contextlib
import secrets
import string
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

from batchyard import config, logs
from batchyard.clock import Clock, SystemClock
from batchyard.engine.accepted import accepted_event, accepted_record
from batchyard.engine.carrying import CarryOver
from batchyard.engine.forks import forks_of
from batchyard.engine.session import BatchSession, Finished
from batchyard.environments.in_process import InProcessEnvironment
from batchyard.environments.ray import connected, cpus_per_trial
from batchyard.environments.ray import faults as ray_faults
from batchyard.environments.virtual import VirtualEnvironments
from batchyard.events import AuditTrail, EventBus
from batchyard.events.lines import log_event
from batchyard.events.redact import Redactor
from batchyard.first_look import first_faults
from batchyard.kept_threads import local_threads, settle_files
from batchyard.langgraph_parts import LangGraphParts
from batchyard.local_files import WORKSPACES, checkpoints_folder, forget_batch, make_folder, objects_folder
from batchyard.local_prefixes import open_prefixes
from batchyard.local_sessions import session_lifecycle, this_process
from batchyard.model.errors import BatchBusy, Fault, StaleSession, StoreError
from batchyard.model.spec_environment import Isolation
from batchyard.runners.keeping import KeepingRunner, Threads
from batchyard.runners.marks import workflow_marks
from batchyard.runners.ray import open_ray_runner
from batchyard.runners.thread_worker import ThreadWorker
from batchyard.runners.threads import ThreadPoolBatchTestRunner
from batchyard.runners.workers import Wanted
from batchyard.runners.zygotes import Zygotes
from batchyard.setups import limits_of, setup_of
from batchyard.store.carrying import SqlPastResults
from batchyard.store.lookup import epoch_of
from batchyard.store.retention import prune
from batchyard.store.writer import GroupCommitWriter
from batchyard.tracing import Traces, open_traces
from batchyard.workflows.checkpoint_file import read_boundaries
from batchyard.workflows.thread_copy import export_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from datetime import datetime
    from types import TracebackType

    from batchyard.config import RayConfig
    from batchyard.engine.attempts import BatchTestRunner
    from batchyard.engine.ports import BatchRecord, Session
    from batchyard.engine.prefixes import SharedPrefixes
    from batchyard.engine.sources import LoadedBatch
    from batchyard.model.trial import Combination
    from batchyard.runners.workers import LedWorker
    from batchyard.store.sql import SqlStore

_COMMIT_DELAY_SECONDS = 0.05
"""How long a result waits for company in its commit: what a crash may cost to run again, for a tenth of the syncs."""


@dataclass(frozen=True, slots=True)
class Equipment:
    """What a loop of trials needs: where to tell, what keeps the trail, who runs, what masks secrets, who traces."""

    bus: EventBus
    trail: AuditTrail
    runner: BatchTestRunner
    redact: Callable[[str], str]
    traces: Traces
    prefixes: SharedPrefixes | None = None


@dataclass(frozen=True, slots=True)
class Running:
    """What a front needs while a batch runs: where to listen and how to interrupt."""

    bus: EventBus
    session: BatchSession


class LocalEngine:
    """Runs batches on this machine. Use as a context manager; made early, its start-up overlaps with other work."""

    def __init__(
        self,
        clock: Clock | None = None,
        *,
        parts: str = "batchyard.langgraph_parts:LangGraphParts",
        ray: RayConfig | None = None,
    ) -> None:
        """Begin to start the process that forks workers; ``parts`` names, as ``module:class``, their framework.

        With ``ray``, trials run there instead of in this process's own workers.
        """
        self._clock = clock or SystemClock()
        self._parts, self._ray = parts, ray
        self._virtual = VirtualEnvironments(parts, self._clock)
        self._zygotes = Zygotes(self._clock, parts, self._virtual)

    @property
    def on_ray(self) -> bool:
        """Return whether trials run on a Ray."""
        return self._ray is not None

    def join_ray(self, ray: RayConfig) -> None:
        """Have trials run there instead of in this process's own workers."""
        self._ray = ray

    def __enter__(self) -> Self:
        """Return the engine itself."""
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _err: BaseException | None, _at: TracebackType | None
    ) -> None:
        """End the processes that fork workers."""
        self._zygotes.close()

    def check(
        self, loaded: LoadedBatch, *, seconds: float | None = None, ended: Callable[[], bool] = lambda: False
    ) -> list[Fault]:
        """Return every fault that shows only when the workflow is imported and built; nothing else is made.

        It takes no longer than the environment's deadline and ``seconds``, and is given up when ``ended`` says so.
        Raises ``EnvironmentUnavailable`` if there is no finding out.
        """
        faults = InProcessEnvironment.faults(loaded.batch)
        if self._ray is not None:
            faults += ray_faults(loaded.batch)
        if faults:
            return faults
        longest = loaded.batch.spec.deadlines.environment_seconds
        return first_faults(
            loaded,
            self._environment(loaded, Path()),
            setup_of(loaded, checkpoints=":memory:"),
            self._virtual,
            self._zygotes,
            seconds=longest if seconds is None else max(0.0, min(longest, seconds)),
            clock=self._clock,
            ended=ended,
        )

    def nodes(self, loaded: LoadedBatch, combination: Combination) -> Sequence[str]:
        """Return the nodes of a combination's workflow, which a worker builds. Raises ``EnvironmentUnavailable``."""
        seconds = loaded.batch.spec.deadlines.environment_seconds
        until = self._clock.monotonic() + seconds
        (found,) = workflow_marks(
            lambda runtime: self._zygotes.spawn(Wanted(runtime, until, lambda: False, lambda _order, _outcome: None)),
            setup_of(loaded, checkpoints=":memory:"),
            self._environment(loaded, Path()),
            [combination],
            [],
            seconds=seconds,
            clock=self._clock,
        )
        return found.nodes

    def accept(self, store: SqlStore, loaded: LoadedBatch, files: Path, *, suffix: str = "") -> BatchRecord:
        """Write the batch down; from here on its deadline runs and ``run`` may be called, also by another process.

        Its id is its name and ``suffix``, or one that no other batch has. Audit trails of older batches whose retention
        time is over go at this moment, with what ``files`` has of them.
        """
        now = self._clock.now()
        name = loaded.batch.metadata.name
        record = accepted_record(loaded, f"{name}-{suffix or _random_suffix()}", name, str(loaded.base), now)
        store.create_batch(record)
        for old in prune(store, now):
            forget_batch(files, old)
        return record

    def run(
        self,
        store: SqlStore,
        files: Path,
        record: BatchRecord,
        loaded: LoadedBatch,
        *,
        on_start: Callable[[Running], None],
    ) -> Finished:
        """Run the batch, or what is left of it, to its end. ``on_start`` gets the bus before the first event.

        Raises ``BatchBusy`` if a live process runs it, ``StoreError``, ``EnvironmentUnavailable``.
        """
        with ExitStack() as stack:
            stack.enter_context(logs.identified(batch=record.id, name=record.name))
            session = self._opened(store, files, record)
            stack.push(self._close_if_broken(store, session))
            writer = stack.enter_context(
                GroupCommitWriter(store, session, clock=self._clock, max_delay=_COMMIT_DELAY_SECONDS)
            )
            forks, threads = forks_of(store, record.name, loaded), local_threads(loaded, files)
            made = stack.enter_context(self.equipped(files, record.id, record.deadline_at, loaded, threads=threads))
            batch_session = BatchSession(
                record=record,
                session=session,
                spec=loaded.batch.spec,
                plan=loaded.plan,
                store=store,
                writer=writer,
                runner=made.runner,
                bus=made.bus,
                trail=made.trail,
                clock=self._clock,
                redact=made.redact,
                fork_point=None if forks is None else forks.point,
                prefixes=made.prefixes,
                carry_over=CarryOver(SqlPastResults(store), store, loaded) if loaded.carries_from else None,
            )
            on_start(Running(made.bus, batch_session))
            if not record.audit_entries:
                made.bus.publish(accepted_event(record, session.epoch))
            finished = batch_session.run()
            if finished.verdict is not None:
                made.traces.batch_ended(record, self._clock.now(), verdict=finished.verdict, reason=finished.reason)
        if finished.verdict is not None:
            settle_files(store, files, record.id, loaded.batch.spec.checkpoints)
        return finished

    @contextlib.contextmanager
    def equipped(
        self,
        files: Path,
        batch_id: str,
        deadline_at: datetime,
        loaded: LoadedBatch,
        secrets: Collection[str] = (),
        open_trials: int | None = None,
        threads: Threads | None = None,
        objects: Path | None = None,
        pinned: bool = False,
    ) -> Iterator[Equipment]:
        """Give what runs the batch's trials until ``deadline_at``; ``secrets`` are masked beside those it knows itself.

        ``open_trials`` is how many are left, if not all of them. ``threads`` is where threads are kept, and fetched;
        ``objects`` is where the contents of tracked files are, if not in ``files``. ``pinned``: on a Ray of several
        nodes, trials run on this one, for ``files`` has what they begin from.

        Raises ``EnvironmentUnavailable``.
        """
        environment = self._environment(loaded, files / WORKSPACES)
        masked = (*environment.secrets, *secrets)
        at_once = _at_once(loaded, open_trials)
        redactor = Redactor(masked)
        with ExitStack() as stack:
            stack.enter_context(logs.masking(redactor.mask))
            environment.ensure(batch_id)
            stack.callback(environment.release, batch_id)
            make_folder(checkpoints_folder(files, batch_id))
            bus = EventBus()
            trail = AuditTrail(batch_id, max_entries=loaded.batch.spec.audit.max_entries, secrets=masked)
            bus.subscribe(trail.on_event)
            if logs.as_json():
                bus.subscribe(log_event)
            if self._ray is not None:
                stack.enter_context(connected(self._ray, cpus_per_trial(loaded.batch) * at_once))
            setup = setup_of(loaded, checkpoints=":memory:")
            prefixes = open_prefixes(loaded, files, batch_id, self._zygotes, setup, environment, self._clock)
            contents = objects or objects_folder(files)
            runner = stack.enter_context(
                self._runner(batch_id, deadline_at, loaded, environment, files, at_once, contents, pinned)
            )
            if threads is not None:
                fork = loaded.batch.spec.fork_from
                runner = stack.enter_context(contextlib.closing(KeepingRunner(runner, threads, fork, self._clock)))
            traces = stack.enter_context(open_traces())
            yield Equipment(bus, trail, traces.over(runner, batch_id), redactor.text, traces, prefixes)

    def _close_if_broken(self, store: SqlStore, session: Session) -> Callable[..., None]:
        """Return what gives the batch back if its session ends by an error."""

        def close(_kind: object, err: BaseException | None, _at: object) -> None:
            if err is not None:
                with contextlib.suppress(StoreError):
                    store.close_session(session, type(err).__name__, self._clock.now())

        return close

    def _runner(
        self,
        batch_id: str,
        deadline_at: datetime,
        loaded: LoadedBatch,
        environment: InProcessEnvironment,
        files: Path,
        at_once: int,
        objects: Path,
        pinned: bool,
    ) -> AbstractContextManager[BatchTestRunner]:
        spec = loaded.batch.spec
        left = (deadline_at - self._clock.now()).total_seconds()
        setup = setup_of(loaded, checkpoints=str(checkpoints_folder(files, batch_id)), objects=str(objects))
        setup = replace(setup, logs=logs.for_child())
        limits = limits_of(spec, batch_until=self._clock.monotonic() + left)
        if self._ray is not None:
            return open_ray_runner(
                # Without this process's secrets: an actor knows its own.
                provider=InProcessEnvironment(loaded.batch, files / WORKSPACES, {}, loaded.base),
                interpreters=partial(VirtualEnvironments, self._parts, self._clock),
                parts=self._parts,
                setup=setup,
                limits=limits,
                parallelism=at_once,
                batch_id=batch_id,
                clock=self._clock,
                read_boundaries=read_boundaries,
                take_thread=export_thread,
                cpus=cpus_per_trial(loaded.batch),
                pinned=pinned,
            )
        return ThreadPoolBatchTestRunner(
            provider=environment,
            spawn=self._spawn_thread if spec.environment.isolation is Isolation.THREAD else self._zygotes.spawn,
            setup=setup,
            limits=limits,
            parallelism=at_once,
            batch_id=batch_id,
            clock=self._clock,
            read_boundaries=read_boundaries,
            take_thread=export_thread,
        )

    def _spawn_thread(self, wanted: Wanted) -> LedWorker:
        return ThreadWorker(LangGraphParts(), wanted.late, self._clock)

    def _environment(self, loaded: LoadedBatch, workspaces: Path) -> InProcessEnvironment:
        return InProcessEnvironment(loaded.batch, workspaces, config.inherited_secrets(), loaded.base)

    def _opened(self, store: SqlStore, files: Path, record: BatchRecord) -> Session:
        """Return a session that takes the batch from no live process. Raises ``BatchBusy``."""
        checked = epoch_of(store, record.id)
        self._refuse_if_alive(store, files, record)
        try:
            return store.open_session(record.id, this_process(), self._clock.now(), after=checked)
        except StaleSession as err:
            raise BatchBusy(f"{err} in this moment; try again: batchyard resume {record.id}") from err

    def _refuse_if_alive(self, store: SqlStore, files: Path, record: BatchRecord) -> None:
        known = session_lifecycle(store, files, self._clock).live_owner(record.id)
        if known is not None:
            owner, heard = known
            silent = (self._clock.now() - heard).total_seconds()
            raise BatchBusy(
                f"batch {record.id} is being run by process {owner.pid} on {owner.host}, last heard of {silent:.0f} s "
                "ago; wait for it or end that process"
            )


def _at_once(loaded: LoadedBatch, open_trials: int | None) -> int:
    return max(1, min(loaded.batch.spec.parallelism, len(loaded.plan) if open_trials is None else open_trials))


def _random_suffix() -> str:
    return "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(6))
