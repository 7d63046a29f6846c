"""One worker from its start to its end: manifest in, trials run, segments out."""

from __future__ import annotations

import importlib.metadata
import platform
import signal
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from pydantic import ValidationError

from batchyard import __version__, config
from batchyard.compose import LocalEngine
from batchyard.config import RayConfig
from batchyard.decide.finish import EXIT_PLACE_FAILED, EXIT_SUCCEEDED
from batchyard.engine.attempts import Stop
from batchyard.engine.sources import LoadedBatch
from batchyard.model.errors import BatchyardError, EnvironmentUnavailable
from batchyard.model.outcome import Outcome, Reason
from batchyard.model.spec import Source
from batchyard.model.wire import PROTOCOL, Directive, Done, Hello
from batchyard.worker.client import Refused, ResultsClient, Superseded, Unavailable
from batchyard.worker.poster import Poster
from batchyard.worker.session import WorkerSession
from batchyard.worker.spool import Spool
from batchyard.worker.writer import SegmentWriter

if TYPE_CHECKING:
    from batchyard.clock import Clock
    from batchyard.model.wire import Manifest
    from batchyard.worker.settings import WorkerSettings

_log = structlog.get_logger(__name__)

RAY = "Ray"
_SEND_SECONDS = 900.0
_LONGEST_PAUSE_SECONDS = 5.0


def run_worker(settings: WorkerSettings, clock: Clock) -> int:
    """Do what the operator has for this attempt; return the exit code: 0 done or superseded, 4 it could not be done."""
    try:
        with ResultsClient(settings) as client:
            manifest = _manifest(client)
            return _Worker(settings, manifest, client, clock).run()
    except Superseded:
        return EXIT_SUCCEEDED
    except (BatchyardError, OSError) as err:
        _log.error("this worker cannot go on", error=str(err))
        return EXIT_PLACE_FAILED


def _manifest(client: ResultsClient) -> Manifest:
    """Return the manifest, however long the operator takes: whoever made this place takes it away in time."""
    pause = 0.2
    while True:
        try:
            manifest = client.manifest()
        except Unavailable as err:
            _log.warning("no manifest yet", error=str(err))
            threading.Event().wait(err.retry_after or pause)
            pause = min(_LONGEST_PAUSE_SECONDS, pause * 2)
        else:
            break
    if manifest.protocol != PROTOCOL:
        raise Refused(
            f"the operator speaks protocol {manifest.protocol}, this worker (batchyard {__version__}) {PROTOCOL}; "
            "use a runner image of the operator's version"
        )
    return manifest


class _Worker:
    def __init__(self, settings: WorkerSettings, manifest: Manifest, client: ResultsClient, clock: Clock) -> None:
        self._settings, self._manifest, self._clock = settings, manifest, clock
        self._loaded = _loaded(manifest, settings)
        self._session: WorkerSession | None = None
        self._suspended = self._superseded = False
        self._ended: Stop | None = None
        spool = Spool(settings.spool / "segments")
        self._poster = Poster(
            client, spool, clock, running=lambda: self._writer.running, on_directive=self._obey, on_end=self._cut_off
        )
        self._writer = SegmentWriter(spool, self._poster, _hello(manifest), spool_bytes=settings.spool_bytes)

    def run(self) -> int:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._end(Stop(Outcome.CANCELLED, Reason.INTERRUPTED)))
        self._poster.start()
        with self._writer:
            done = self._work()
            if self._superseded:
                return EXIT_SUCCEEDED
            self._writer.finish(done)
        sent = self._poster.wait_sent(_SEND_SECONDS)
        self._poster.close()
        return EXIT_SUCCEEDED if sent or self._superseded else EXIT_PLACE_FAILED

    def _work(self) -> Done:
        ray = RayConfig(address="auto") if self._manifest.runner == RAY else None
        try:
            with LocalEngine(self._clock, ray=ray) as engine:
                self._writer.flush()  # the operator hears of this worker before the first import
                faults = engine.check(self._loaded)
                if faults:
                    return Done(Reason.WORKFLOW_INVALID, f"{len(faults)} faults in the workflow", tuple(faults))
                return Done(self._run_trials(engine))
        except EnvironmentUnavailable as err:
            return Done(Reason.ENVIRONMENT_FAILED, str(err))

    def _run_trials(self, engine: LocalEngine) -> str:
        manifest = self._manifest
        with engine.equipped(
            self._settings.spool, manifest.batch_id, manifest.deadline_at, self._loaded, config.mounted_secrets()
        ) as made:
            session = WorkerSession(
                manifest, self._loaded, writer=self._writer, runner=made.runner, bus=made.bus, trail=made.trail,
                clock=self._clock, redact=made.redact,
            )  # fmt: skip
            self._session = session
            if self._ended is not None:
                session.end(self._ended)
            stop = session.run()
        return Reason.SUSPENDED if stop == Reason.INTERRUPTED and self._suspended else stop

    def _obey(self, directive: Directive) -> None:
        if directive is Directive.CANCEL:
            self._end(Stop(Outcome.CANCELLED, Reason.CANCELLED))
        elif directive is Directive.SUSPEND:
            self._suspended = True
            self._end(Stop(Outcome.CANCELLED, Reason.INTERRUPTED))

    def _cut_off(self, err: Exception | None) -> None:
        self._superseded = err is None
        self._end(Stop(Outcome.CANCELLED, Reason.INTERRUPTED))

    def _end(self, stop: Stop) -> None:
        self._ended = self._ended or stop
        if self._session is not None:
            self._session.end(stop)


def _loaded(manifest: Manifest, settings: WorkerSettings) -> LoadedBatch:
    """Return the batch with its code where this pod has it."""
    try:
        loaded = LoadedBatch.from_json(manifest.document, Path("/"))
    except (ValidationError, KeyError, TypeError) as err:
        raise Refused(f"the operator's manifest cannot be read by batchyard {__version__}: {err}") from err
    # Without a folder of its own the code is on the import path, and this one adds nothing.
    folder = settings.source or str(settings.spool)
    spec = loaded.batch.spec
    workflow = spec.workflow.model_copy(update={"source": Source(path=folder)})
    batch = loaded.batch.model_copy(update={"spec": spec.model_copy(update={"workflow": workflow})})
    return replace(loaded, batch=batch)


def _hello(manifest: Manifest) -> Hello:
    ray = importlib.metadata.version("ray") if manifest.runner == RAY else ""
    return Hello(PROTOCOL, __version__, platform.python_version(), ray)
