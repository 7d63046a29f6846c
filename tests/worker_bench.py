"""An operator's results endpoint over a real store, with one batch and its places; and workers as real processes."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Self, TypeVar

from batch_bench import WORKFLOWS, batch_file
from batchyard.engine.cluster_ports import ClusterRef, EnvironmentRecord, EnvironmentState
from batchyard.engine.ports import BatchRecord, Owner
from batchyard.engine.sources import load
from batchyard.kube.batches import ActiveBatch, Batches
from batchyard.kube.endings import Endings
from batchyard.kube.http import results_app
from batchyard.kube.intake import WorkerIntake, token_of
from batchyard.kube.limits import Limits
from batchyard.kube.objects import BatchTestObject, Objects
from batchyard.linux import descendants
from batchyard.metrics import Metrics
from batchyard.model.audit import verify_chain
from batchyard.model.wire import Segment
from batchyard.store.opening import open_cluster_store
from endpoint_bench import Answered, Served, served
from reserved_port import reserved_port
from runner_bench import CLOCK, LONG

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from batchyard.engine.sources import LoadedBatch
    from batchyard.kube.server import App
    from batchyard.model.audit import SealedEntry
    from batchyard.model.trial import AttemptResult

T = TypeVar("T")

BATCH = "bench-1a2b3c4d"
REF = ClusterRef("team-a", "bench", "uid-1")


class FakeMeter:
    """Keeps which requests were answered, and how."""

    def __init__(self) -> None:
        self.answered: list[tuple[str, int]] = []

    def request_answered(self, route: str, status: int, seconds: float) -> None:
        self.answered.append((route, status))


class OperatorBench:
    """What of an operator a worker meets. It can go away and come back, with nothing but its store.

    Made with a batch whose first place was just asked for.
    """

    def __init__(
        self, folder: Path, factory: str = "noop:build", *, bounds: Limits | None = None, provider: str = "InProcess",
        forked_from: str = "", **spec: Any,
    ) -> None:  # fmt: skip
        self.folder, self.clock, self.bounds = folder, CLOCK, bounds or Limits()
        self.loaded: LoadedBatch = replace(load(batch_file(folder, factory, **spec)), forked_from=forked_from)
        self.store = open_cluster_store(str(folder / "operator.db"))
        self.key = self.store.token_key()
        self.meter, self.metrics, self.woken = FakeMeter(), Metrics(), list[str]()
        self.tls: ssl.SSLContext | None = None
        self.port = 0
        self.provider = provider
        self._running, self._port = ExitStack(), ExitStack()
        now = self.clock.now()
        seconds = self.loaded.batch.spec.deadlines.batch_seconds
        record = BatchRecord(
            id=BATCH, name="bench", spec=self.loaded.to_json(), spec_digest=self.loaded.digest, base="",
            total=len(self.loaded.plan), accepted_at=now, deadline_at=now + timedelta(seconds=seconds),
        )  # fmt: skip
        self.store.create_cluster_batch(record, REF)

    def __enter__(self) -> Self:
        self.port = self._port.enter_context(reserved_port())
        self.start()
        self.next_place()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._port.close()
        self.store.close()

    def start(self, *, opened: bool = True) -> None:
        """Begin to serve, on the port of the last time; ``opened`` if the batch was looked at already."""
        self.endpoint: Served = self._running.enter_context(served(self._app, tls=self.tls, port=self.port))
        self.port = self.endpoint.port
        if opened:
            self.batch: ActiveBatch = self.do(self.batches.open(REF, BATCH))

    def stop(self) -> None:
        """Serve no more; what is under way breaks off."""
        self._running.close()

    def do(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Return what a coroutine returns, in the endpoint's event loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.endpoint.loop).result(LONG)

    def _app(self) -> App:
        store = self.store.fenced(self.store.take_leadership("bench", self.clock.now()))
        self.objects = Objects()
        self.batches = Batches(store, Owner("here", os.getpid(), "bench"), self.clock, self.metrics)
        self.intake = WorkerIntake(self.batches, self.objects, self.key, self.clock, self.metrics, self.woken.append)
        return results_app(self.intake, clock=self.clock, limits=self.bounds, meter=self.meter)

    # -- the batch ---------------------------------------------------------------------------------------------

    @property
    def place(self) -> EnvironmentRecord:
        """The newest place, as the store has it."""
        return self.store.environments(BATCH)[-1]

    def next_place(self) -> int:
        """End the place that there is, and ask for another one; return its number."""
        before = self.batch.environment
        if before is not None:
            self.change_place(state=EnvironmentState.ENDED, ended_at=self.clock.now())
        number = before.attempt + 1 if before else 1
        self._commit(
            EnvironmentRecord(
                batch_id=BATCH, attempt=number, provider=self.provider, name=f"bench-{number}",
                state=EnvironmentState.REQUESTED, requested_at=self.clock.now(),
                finished_at_start=self.batch.summary.finished,
            )
        )  # fmt: skip
        return number

    def change_place(self, **changes: Any) -> None:
        """Write down that something of the newest place is different."""
        self._commit(replace(self.batch.newest, **changes))

    def _commit(self, place: EnvironmentRecord) -> None:
        self.do(self.batches.commit(self.batch, environment=place))

    def ask_of_worker(self, *, cancel: bool = False, suspend: bool = False, exists: bool = True) -> None:
        """Have the BatchTest say that its worker is to stop."""
        body = {
            "metadata": {"namespace": REF.namespace, "name": REF.name, "uid": REF.uid},
            "spec": {"cancel": cancel, "suspend": suspend},
        }
        seen = BatchTestObject.from_body(body)
        self.endpoint.call(lambda: self.objects.see(body, deleted=not exists))
        assert seen.ref == REF

    def conclude(self, reason: str = "") -> None:
        """End the batch."""
        self.do(Endings(self.batches, self.clock, self.metrics).conclude(self.batch, reason, ""))

    def put_away(self) -> None:
        """Give every place back and close the batch, as is done in the end."""
        now = self.clock.now()
        self.change_place(state=EnvironmentState.RELEASED, ended_at=now, released_at=now)
        self.do(self.batches.close(self.batch))

    # -- requests ----------------------------------------------------------------------------------------------

    def token(self, attempt: int = 1, batch_id: str = BATCH) -> str:
        """Return the token of a place's worker."""
        return token_of(self.key, batch_id, attempt)

    def path(self, name: str, attempt: int = 1, batch_id: str = BATCH) -> str:
        """Return the path of one of an attempt's resources."""
        return f"/v1/batches/{batch_id}/attempts/{attempt}/{name}"

    def ask(self, name: str, body: bytes | None = None, *, attempt: int = 1, **headers: str | None) -> Answered:
        """Ask as the worker of a place does; headers are written with ``_`` for ``-``."""
        plain = {"Authorization": f"Bearer {self.token(attempt)}", "Content-Type": "application/json"}
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.endpoint.ask(self.path(name, attempt), body, headers={**plain, **given})

    def post(self, number: int, segment: Segment | None = None, *, attempt: int = 1, packed: bool = False) -> Answered:
        """Post a segment as the worker of a place does."""
        body = json.dumps((segment or Segment()).to_json()).encode()
        if packed:
            return self.ask(f"segments/{number}", gzip.compress(body), attempt=attempt, Content_Encoding="gzip")
        return self.ask(f"segments/{number}", body, attempt=attempt)

    def result(self, ordinal: int = 0, **changes: Any) -> AttemptResult:
        """Return a result of one of the batch's trials as its first place would send it."""
        from wire_builders import a_wire_result

        trial = self.loaded.plan.trial(ordinal)
        fields = {
            "trial_id": trial.id, "combination": trial.combination.name, "case": trial.case.name,
            "repeat": trial.repeat, "weight": trial.case.weight, **changes,
        }  # fmt: skip
        return a_wire_result(ordinal, **fields)

    # -- what was kept -----------------------------------------------------------------------------------------

    @property
    def finals(self) -> list[AttemptResult]:
        """Every final result in the store."""
        return list(self.store.results(BATCH))

    @property
    def attempts(self) -> list[AttemptResult]:
        """Every attempt in the store."""
        return list(self.store.results(BATCH, final_only=False))

    @property
    def trail(self) -> list[SealedEntry]:
        """The audit trail, which is whole."""
        entries = list(self.store.audit_entries(BATCH))
        assert verify_chain(entries, self.store.batch(BATCH).audit_head) == ""
        return entries

    def told(self, kind: str) -> list[str]:
        """Return the messages of all entries of one type."""
        return [sealed.entry.message for sealed in self.trail if sealed.entry.type == kind]


class WorkerProcess:
    """``batchyard worker`` as its pod starts it. Ends with its context, killed if need be."""

    def __init__(self, bench: OperatorBench, *options: str, attempt: int = 1, url: str = "", **env: str) -> None:
        self.folder = bench.folder / f"worker-{attempt}"
        self.folder.mkdir()
        token = self.folder / "token"
        token.write_text(bench.token(attempt))
        self.log = self.folder / "log"
        self._options = options
        self._env = {
            "HOME": str(self.folder),
            "PATH": os.defpath,
            "LC_ALL": "C.UTF-8",
            "BATCHYARD_RESULTS_URL": url or f"http://127.0.0.1:{bench.port}",
            "BATCHYARD_BATCH": BATCH,
            "BATCHYARD_ATTEMPT": str(attempt),
            "BATCHYARD_TOKEN_FILE": str(token),
            "BATCHYARD_SPOOL": str(self.folder / "spool"),
            "BATCHYARD_SOURCE": str(WORKFLOWS),
            **env,
        }

    def __enter__(self) -> Self:
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "batchyard", "-v", "worker", *self._options],
                env=self._env, cwd=self.folder, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        return self

    def __exit__(self, *_: object) -> None:
        self.signal(signal.SIGKILL)
        self._process.wait()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def processes(self) -> list[int]:
        """Every process below it: zygote, keepers, workers and what they started."""
        return descendants(self.pid)

    def signal(self, number: int) -> None:
        """Send it a signal, if it runs."""
        if self._process.poll() is None:
            self._process.send_signal(number)

    def wait(self, seconds: float = 60) -> int:
        """Wait for its end and return its exit code."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the worker goes on and on: {self.words}") from None

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    @property
    def words(self) -> str:
        """What it wrote to its log."""
        return self.log.read_text(errors="replace")[-4000:]

    def until(self, condition: Callable[[], object], what: str, seconds: float = 60) -> None:
        """Wait until a condition holds; fail with the worker's log if the worker ended or it never does."""
        give_up, pause = CLOCK.monotonic() + seconds, threading.Event()
        while not condition():
            alive = self.runs and CLOCK.monotonic() < give_up
            # Once more, since it may have come true just before the worker's end.
            assert alive or condition(), f"never came true: {what}; the worker's log: {self.words}"
            pause.wait(0.02)
