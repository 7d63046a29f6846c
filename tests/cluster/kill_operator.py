"""An operator that kills its own process in a chosen moment of its life, forked from one that has imported it all.

The moments are everything by which it changes the world, each before it is done and after: writes to the API server,
jobs given to Ray, and commits of the store that change something. A moment is named by its kind and how often that kind
came: "after create jobs 1".
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import sys
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

from batchyard.apiserver.connecting import connect
from batchyard.clock import SystemClock
from batchyard.environments.ray_jobs import RayDashboard
from batchyard.kube.app import Operator
from batchyard.store.opening import open_cluster_store
from batchyard.store.pages import StoreReader

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sqlalchemy import Engine

    from batchyard.kube.settings import OperatorSettings

_READS = frozenset({"get", "watch"})


class Moments:
    """Counts, writes down, and kills the process in the chosen one."""

    def __init__(self, chosen: str, marks: Path) -> None:
        self._chosen, self._counted = chosen, Counter[str]()
        self._marks = marks.open("a")
        self._lock = threading.Lock()  # the event loop and the store's threads count
        self._leased = 0

    def come(self, what: str) -> None:
        """Let one moment pass."""
        with self._lock:
            self._counted[what] += 1
            moment = f"{what} {self._counted[what]}"
            self._marks.write(f"{moment}\n")
            self._marks.flush()
            if moment == self._chosen:
                os.kill(os.getpid(), signal.SIGKILL)

    async def before(self, verb: str, path: str) -> None:
        """Hear that the API server is about to be asked."""
        if self._counts(verb, path):
            self.come(f"before {verb} {_kind(path)}")

    async def after(self, verb: str, path: str) -> None:
        """Hear that it answered."""
        if self._counts(verb, path):
            self.come(f"after {verb} {_kind(path)}")

    def _counts(self, verb: str, path: str) -> bool:
        if verb in _READS:
            return False
        if "/leases" not in path:
            return True
        # The Lease is renewed by the clock, so only taking it is a moment that comes in every run at the same place.
        self._leased += 1
        return self._leased <= 2


def _kind(path: str) -> str:
    words = path.strip("/").split("/")
    words = words[words.index("namespaces") + 2 :] if "namespaces" in words else words[-1:]
    return "/".join([words[0], *words[2:]])


def watch_commits(engine: Engine, moments: Moments) -> None:
    """Make every commit that changed something two moments."""
    dialect: Any = engine.dialect
    commit, seen = dialect.do_commit, dict[int, int]()

    def do_commit(connection: Any) -> None:
        changes = connection.dbapi_connection.total_changes
        changed = seen.get(id(connection.dbapi_connection), 0) != changes
        seen[id(connection.dbapi_connection)] = changes
        if changed:
            moments.come("before commit")
        commit(connection)
        if changed:
            moments.come("after commit")

    dialect.do_commit = do_commit


def watch_submissions(moments: Moments) -> None:
    """Make every job that is given to Ray two moments."""
    submit = RayDashboard.submit

    async def watched(self: RayDashboard, submission_id: str, entrypoint: str, runtime_env: Mapping[str, Any]) -> None:
        moments.come("before submit job")
        await submit(self, submission_id, entrypoint, runtime_env)
        moments.come("after submit job")

    RayDashboard.submit = watched  # type: ignore[method-assign]


def live(moment: str, marks: Path, settings: OperatorSettings, kubeconfig: Path, log: Path) -> None:
    """Run the operator in this process until the moment comes ("" never does), or it is told to end.

    Each moment that was reached becomes a line of ``marks``, everything it says one of ``log``.
    """
    os.environ["KUBECONFIG"] = str(kubeconfig)  # noqa: TID251 - this process is its own
    with log.open("ab") as words:
        os.dup2(words.fileno(), 1)
        os.dup2(words.fileno(), 2)
    moments = Moments(moment, marks)
    store = open_cluster_store(settings.store)
    watch_commits(store.engine, moments)
    watch_submissions(moments)

    async def run() -> int:
        async with await connect() as api:
            api.before, api.after = moments.before, moments.after
            return await Operator(settings, api, store, StoreReader(store), SystemClock()).run()

    sys.exit(asyncio.run(run()))


class Forked:
    """One that lives, with what ``subprocess.Popen`` has."""

    def __init__(self, *args: Any) -> None:
        """Start it; the arguments are those of ``live``."""
        nursery = multiprocessing.get_context("forkserver")
        # Which saves each of them the second that importing takes.
        nursery.set_forkserver_preload(["__main__", __name__])
        self._process = nursery.Process(target=live, args=args)
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def poll(self) -> int | None:
        """Return how it ended, None while it lives."""
        return self._process.exitcode

    def send_signal(self, sig: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, sig)

    def wait(self, timeout: float | None = None) -> int:
        """Return how it ended once it has."""
        self._process.join(timeout)
        assert self._process.exitcode is not None
        return self._process.exitcode
