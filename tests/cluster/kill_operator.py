"""An operator that kills its own process at the n-th moment: ``kill_operator.py MOMENT MARKS SETTINGS``.

The moments are everything by which it changes the world, each before it is done and after: writes to the API server,
jobs given to Ray, and commits of the store that change something. MOMENT 0 never comes. Each moment that was reached
is a line of the file MARKS. SETTINGS is JSON of ``OperatorSettings``.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchyard.apiserver.client import connect
from batchyard.clock import SystemClock
from batchyard.environments.ray_jobs import RayDashboard
from batchyard.kube.app import Operator
from batchyard.kube.settings import OperatorSettings
from batchyard.store.opening import open_cluster_store
from batchyard.store.pages import StoreReader

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Engine

_READS = frozenset({"get", "watch"})


class Moments:
    """Counts, writes down, and kills the process in the chosen one."""

    def __init__(self, chosen: int, marks: Path) -> None:
        self._chosen, self._count = chosen, 0
        self._marks = marks.open("a")
        self._lock = threading.Lock()  # the event loop and the store's threads count
        self._leased = 0

    def come(self, what: str) -> None:
        """Let one moment pass."""
        with self._lock:
            self._count += 1
            self._marks.write(f"{what}\n")
            self._marks.flush()
            if self._count == self._chosen:
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


def main(moment: str, marks: str, settings: str) -> int:
    """Run the operator until the moment comes, or it is told to end."""
    moments = Moments(int(moment), Path(marks))
    fields = json.loads(settings)
    named = OperatorSettings(**fields | {"namespaces": tuple(fields["namespaces"])})
    store = open_cluster_store(named.store)
    watch_commits(store.engine, moments)
    watch_submissions(moments)

    async def run() -> int:
        async with await connect() as api:
            api.before, api.after = moments.before, moments.after
            return await Operator(named, api, store, StoreReader(store), SystemClock()).run()

    return asyncio.run(run())


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
