"""A batch that was run here, and a cluster whose operator has it: a real read API behind a fake of the API server."""

from __future__ import annotations

import json
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from batchyard.clock import SystemClock
from batchyard.engine.cluster_ports import ClusterRef
from batchyard.kube import read_api
from batchyard.kube.limits import Limits
from batchyard.kube.server import App, Router
from batchyard.store.opening import open_cluster_store
from batchyard.store.pages import StoreReader
from batchyard.store.tables import cluster_batches
from command_line import Bench, workflow
from endpoint_bench import served
from fake_api_server import FakeApiServer, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_SPEC: dict[str, Any] = {
    "workflow": workflow("gate"),
    "variants": {"matrix": {"answer": ["yes", "no"]}},
    "cases": [
        {"name": "first", "input": {}, "expected": {"answer": "yes"}},
        {"name": "second", "input": {}, "expected": {"answer": "no"}},
    ],
    "repeats": 3,
    "evaluation": {"evaluators": [{"name": "exactMatch", "config": {"field": "answer"}}]},
}
TOKEN = "r" * 64
UID = "5f2c8a9e-0000-4000-8000-000000000001"
_REF = ClusterRef("team-a", "small", UID)


def a_filled_bench(folder: Path) -> Bench:
    """Return a bench whose store has one finished batch, as if an operator had run it for a BatchTest."""
    made = Bench(folder)
    done = made.run("run", made.write(**_SPEC), "--quiet")
    assert done.returncode == 0, done.stderr
    with closing(open_cluster_store(str(made.store))) as store, store.engine.begin() as connection:
        row = {"batch_id": store.batch("small").id, "namespace": _REF.namespace, "name": _REF.name, "uid": _REF.uid}
        connection.execute(cluster_batches.insert(), row)
    return made


@contextmanager
def a_cluster_with(filled: Bench) -> Iterator[FakeApiServer]:
    """Give a cluster whose operator has that batch."""
    with closing(open_cluster_store(str(filled.store))) as store:

        def app() -> App:
            limits = Limits(page_bytes=2000)
            routes = read_api.routes(StoreReader(store), TOKEN, limits)
            return App(Router(routes, limits=limits, clock=SystemClock(), meter=None), limits)

        with served(app) as endpoint, running(FakeApiServer(TOKEN, endpoint)) as server:
            server.batch_tests["team-a", "small"] = batch_test(filled)
            yield server


def batch_test(filled: Bench, *, uid: str = UID, entries: int = 3) -> dict[str, Any]:
    """Return the BatchTest of the batch as the API server has it, its status a little behind the store."""
    batch = filled.json("show", "small")
    trail = filled.run("audit", "export", "small").stdout.splitlines()
    batch_fields = {
        name: batch["batch"][name] for name in ("phase", "reason", "message", "startTime", "completionTime")
    }
    condition = {"type": "Finished", "status": "True", "reason": "Succeeded", "message": "all is done"}
    return {
        "apiVersion": "batchyard.dev/v1alpha1",
        "kind": "BatchTest",
        "metadata": {
            "name": "small", "namespace": "team-a", "uid": uid, "creationTimestamp": "2026-03-01T12:00:00Z"
        },
        "spec": {},
        "status": {
            **batch_fields,
            "trials": batch["counts"],
            "combinations": batch["combinations"],
            "best": batch["best"],
            "audit": {"entries": entries, "dropped": 0, "head": json.loads(trail[entries - 1])["hash"]},
            "conditions": [{**condition, "lastTransitionTime": "2026-03-01T12:01:00Z"}],
        },
    }  # fmt: skip
