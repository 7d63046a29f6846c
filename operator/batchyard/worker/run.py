"""One worker from its start to its end: manifest in, trials run, segments out."""

from __future__ import annotations

import importlib.metadata
import platform
import random
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from pydantic import ValidationError

from batchyard import __version__, config, logs
from batchyard.compose import LocalEngine
from batchyard.config import RayConfig
from batchyard.decide.finish import EXIT_PLACE_FAILED, EXIT_SUCCEEDED
from batchyard.engine.attempts import Stop
from batchyard.engine.sources import LoadedBatch
from batchyard.kept_threads import cluster_threads
from batchyard.model.errors import BatchyardError, EnvironmentUnavailable, StoreError
from batchyard.model.outcome import Outcome, Reason
from batchyard.model.spec import Source
from batchyard.model.wire import PROTOCOL, Directive, Done, Hello
from batchyard.worker.client import Refused, ResultsClient, Superseded, TooEarly, Unavailable
from batchyard.worker.poster import Poster
from batchyard.worker.session import WorkerSession
from batchyard.worker.spool import Spool
from batchyard.worker.writer import SegmentWriter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchyard.clock import Clock
    from batchyard.compose import Equipment
    from batchyard.model.errors import Fault
    from batchyard.model.wire import Manifest
    from batchyard.worker.settings import WorkerSettings

_log = structlog.get_logger(__name__)

RAY = "Ray"
_LOOK_SECONDS = 0.5
_EARLY_SECONDS = 0.25
_LAST_SECONDS = 20.0
"""How long a worker that was told to end goes on sending; its pod is killed after 30 s."""


def run_worker(settings: WorkerSettings, clock: Clock) -> int:
    """Do what the operator has for this attempt; return the exit code: 0 done or superseded, 4 it could not be done."""
    with logs.identified(batch=settings.batch_id, place=str(settings.attempt)):
        return _run_worker(settings, clock)


def _run_worker(settings: WorkerSettings, clock: Clock) -> int:
    try:
        # The engine first: what it imports takes as long as many a place needs to get ready.
        with LocalEngine(clock) as engine, ResultsClient(settings) as client:
            manifest = _manifest(client, settings, clock)
            if manifest.runner == RAY:
                engine.join_ray(RayConfig(address="auto"))
            return _Worker(settings, manifest, client, engine, clock).run()
    except Superseded as err:
        _log.info("there is nothing to do for this worker", reason=str(err))
        return EXIT_SUCCEEDED
    except (BatchyardError, OSError) as err:
        _log.error("this worker cannot go on", error=str(err))
        return EXIT_PLACE_FAILED


def _manifest(client: ResultsClient, settings: WorkerSettings, clock: Clock) -> Manifest:
    """Return the manifest, as soon as the operator gives it. Raises ``Unavailable`` when patience is at an end."""
    began = clock.monotonic()
    until, failures = began + settings.patience_seconds, 0
    while True:
        try:
            manifest = client.manifest()
            break
        except TooEarly:
            # For as long as the operator likes: it is there, and ends this place if the rest of it never comes.
            waited = clock.monotonic() - began
            threading.Event().wait(min(_EARLY_SECONDS + waited / 20, settings.pace.longest_pause))
            until, failures = clock.monotonic() + settings.patience_seconds, 0
        except Unavailable as err:
            if clock.monotonic() >= until:
                raise
            _log.warning("no manifest yet", error=str(err))
            threading.Event().wait(settings.pace.pause(failures, random.random(), err.retry_after))  # noqa: S311
            failures += 1
    if manifest.protocol != PROTOCOL:
        raise Refused(
            f"the operator speaks protocol {manifest.protocol}, this worker (batchyard {__version__}) {PROTOCOL}; "
            "use a runner image of the operator's version"
        )
    return manifest


class _Worker:
    def __init__(
        self, settings: WorkerSettings, manifest: Manifest, client: ResultsClient, engine: LocalEngine, clock: Clock
    ) -> None:
        self._settings, self._manifest, self._engine, self._clock = settings, manifest, engine, clock
        self._loaded = _loaded(manifest, settings)
        self._session: WorkerSession | None = None
        self._suspended = self._superseded = self._unequipped = False
        self._ended: Stop | None = None
        self._told_to_go_at: float | None = None
        spool = Spool(settings.spool / "segments")
        self._poster = Poster(
            client, spool, clock, settings.pace,
            running=lambda: self._writer.running, on_directive=self._obey, on_end=self._cut_off,
        )  # fmt: skip
        self._writer = SegmentWriter(
            spool, self._poster, _hello(manifest), spool_bytes=settings.spool_bytes,
            may_hold_up=lambda: not self._is_over(),
        )  # fmt: skip

    def run(self) -> int:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._go())
        self._poster.start()
        with self._writer:
            done = self._work()
            said = not self._superseded and self._say(done)
        sent = said and self._wait_sent()
        self._poster.close()
        if not sent and not self._superseded:
            _log.error("not every result could be sent", stop=done.stop)
        return EXIT_SUCCEEDED if sent or self._superseded else EXIT_PLACE_FAILED

    # -- the work ----------------------------------------------------------------------------------------------

    def _work(self) -> Done:
        try:
            self._writer.flush()  # the operator hears of this worker before the first import of the user's code
            return self._check_and_run()
        except BatchyardError as err:
            _log.error("the trials cannot be run here", error=str(err))
            return Done(Reason.ENVIRONMENT_FAILED, str(err))
        except Exception as err:  # the boundary: an operator that heard nothing would wait for this worker
            _log.exception("this worker broke")
            return Done(Reason.ENVIRONMENT_FAILED, f"the worker broke: {type(err).__name__}: {err}")

    def _check_and_run(self) -> Done:
        """Run the trials unless the workflow has faults; it is looked at while Ray is joined and actors are made."""
        manifest, secrets = self._manifest, config.mounted_secrets()
        open_trials = len(self._loaded.plan) - sum(last - first + 1 for first, last in manifest.finished)
        with ThreadPoolExecutor(1, "batchyard-check") as beside:
            checked = beside.submit(self._faults)
            try:
                with self._engine.equipped(
                    self._settings.spool,
                    manifest.batch_id,
                    manifest.deadline_at,
                    self._loaded,
                    secrets,
                    open_trials,
                    cluster_threads(self._loaded, manifest.batch_id),
                ) as made:
                    faults = checked.result()
                    return _invalid(faults) if faults else Done(self._run_trials(made))
            except EnvironmentUnavailable:
                # Another place would not mend the workflow; but what is not known yet is not waited for.
                self._unequipped = True
                faults = checked.result()
                if faults:
                    return _invalid(faults)
                raise

    def _faults(self) -> list[Fault]:
        """Return what is wrong with the workflow, nothing if there was no time to find out."""
        left = (self._manifest.deadline_at - self._clock.now()).total_seconds()
        try:
            return self._engine.check(self._loaded, seconds=left, ended=lambda: self._is_over() or self._unequipped)
        except EnvironmentUnavailable:
            if self._is_over() or self._unequipped:
                return []  # the session says so, and why
            raise

    def _run_trials(self, made: Equipment) -> str:
        session = WorkerSession(
            self._manifest, self._loaded, writer=self._writer, runner=made.runner, bus=made.bus, trail=made.trail,
            clock=self._clock, redact=made.redact, prefixes=made.prefixes,
        )  # fmt: skip
        self._session = session
        if self._ended is not None:
            session.end(self._ended)
        stop = session.run()
        return Reason.SUSPENDED if stop == Reason.INTERRUPTED and self._suspended else stop

    # -- the end -----------------------------------------------------------------------------------------------

    def _say(self, done: Done) -> bool:
        """Put the last word behind everything else; return whether that could be done."""
        try:
            self._writer.finish(done)
        except StoreError as err:
            _log.warning("there is no room for the last word yet", error=str(err))
            if not self._wait_sent():
                return False
            self._writer.finish(done)
        return True

    def _wait_sent(self) -> bool:
        """Wait until all was sent, or it is of no use to wait any longer; return whether it was sent."""
        until = self._clock.monotonic() + self._settings.patience_seconds
        while not self._poster.wait_sent(_LOOK_SECONDS):
            if self._told_to_go_at is not None:
                until = min(until, self._told_to_go_at + _LAST_SECONDS)
            if self._poster.over or self._clock.monotonic() >= until:
                return False
        return True

    # -- what is heard -----------------------------------------------------------------------------------------

    def _obey(self, directive: Directive) -> None:
        if directive is Directive.CANCEL:
            self._end(Stop(Outcome.CANCELLED, Reason.CANCELLED))
        elif directive is Directive.SUSPEND:
            self._suspended = True
            self._end(Stop(Outcome.CANCELLED, Reason.INTERRUPTED))

    def _cut_off(self, err: Exception | None) -> None:
        self._superseded = err is None
        self._end(Stop(Outcome.CANCELLED, Reason.INTERRUPTED))

    def _go(self) -> None:
        if self._told_to_go_at is None:
            self._told_to_go_at = self._clock.monotonic()
        self._end(Stop(Outcome.CANCELLED, Reason.INTERRUPTED))

    def _end(self, stop: Stop) -> None:
        self._ended = self._ended or stop
        if self._session is not None:
            self._session.end(stop)

    def _is_over(self) -> bool:
        """Return whether nothing may begin any more."""
        return self._ended is not None or self._clock.now() >= self._manifest.deadline_at


def _loaded(manifest: Manifest, settings: WorkerSettings) -> LoadedBatch:
    """Return the batch with its code where this pod has it."""
    try:
        loaded = LoadedBatch.from_json(manifest.document, Path("/"))
    except (ValidationError, KeyError, TypeError, AttributeError) as err:
        raise Refused(f"the operator's manifest cannot be read by batchyard {__version__}: {err}") from err
    # Without a folder of its own the code is on the import path, and this one adds nothing.
    folder = settings.source or str(settings.spool)
    spec = loaded.batch.spec
    workflow = spec.workflow.model_copy(update={"source": Source(path=folder)})
    batch = loaded.batch.model_copy(update={"spec": spec.model_copy(update={"workflow": workflow})})
    return replace(loaded, batch=batch)


def _invalid(faults: Sequence[Fault]) -> Done:
    return Done(Reason.WORKFLOW_INVALID, f"{len(faults)} faults in the workflow", tuple(faults))


def _hello(manifest: Manifest) -> Hello:
    try:
        ray = importlib.metadata.version("ray") if manifest.runner == RAY else ""
    except importlib.metadata.PackageNotFoundError:
        ray = ""  # what that means is said by whoever wants to use it
    return Hello(PROTOCOL, __version__, platform.python_version(), ray)
