"""A whole operator in a process of its own on the fake API server, with its store and its log in a folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx

from batchyard.store.opening import open_cluster_store, open_store
from cluster.bed.running import holds_within
from reserved_port import reserved_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from batchyard.engine.cluster_ports import EnvironmentRecord
    from batchyard.engine.ports import BatchRecord
    from batchyard.model.audit import SealedEntry
    from watched_cluster import WatchedCluster


@dataclass(frozen=True, slots=True)
class OperatorRun:
    """One operator that runs."""

    process: subprocess.Popen[bytes]
    folder: Path
    metrics_port: int

    @property
    def store(self) -> str:
        return str(self.folder / "store.db")

    def log(self) -> str:
        return (self.folder / "operator.log").read_text()

    def lines(self) -> list[dict[str, Any]]:
        """Return every line of the log, which must be JSON each."""
        return [json.loads(line) for line in self.log().splitlines()]

    def until(self, what: str, holds: Callable[[], object], seconds: float = 40) -> None:
        """Wait until a condition holds; else fail with the log."""
        if not holds_within(seconds, lambda: bool(holds())):
            raise AssertionError(f"waited {seconds:.0f} s for {what}\n{self.log()[-4000:]}")

    def is_ready(self) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{self.metrics_port}/readyz", timeout=2).status_code == 200
        except httpx.HTTPError:
            return False

    def places(self, name: str) -> list[EnvironmentRecord]:
        """Return the places of the newest batch of a name."""
        with closing(open_cluster_store(self.store)) as store:
            return list(store.environments(store.batch(name).id))

    def record(self, name: str) -> BatchRecord:
        """Return the newest batch of a name."""
        with closing(open_cluster_store(self.store)) as store:
            return store.batch(name)

    def trail(self, name: str) -> list[SealedEntry]:
        """Return the audit trail of the newest batch of a name."""
        with open_store(self.store) as store:
            return list(store.audit_entries(store.batch(name).id))


@contextmanager
def an_operator(
    cluster: WatchedCluster, folder: Path, *options: str, before: tuple[str, ...] = (), env: Mapping[str, str] = {}
) -> Iterator[OperatorRun]:
    """Run an operator until the context ends; ``before`` are options that stand before the command."""
    with reserved_port() as port:
        command = [
            *(sys.executable, "-m", "batchyard", *before, "operator", "--results-url", "http://127.0.0.1:1"),
            *("--results-port", "0", "--metrics-port", str(port), "--namespace", "batchyard", "--lease-seconds", "6"),
            *("--store", str(folder / "store.db"), *options),
        ]
        settings = {"PATH": os.defpath, "HOME": str(folder), "KUBECONFIG": str(cluster.kubeconfig(folder)), **env}
        with (folder / "operator.log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, env=settings)
        run = OperatorRun(process, folder, port)
        try:
            run.until("the operator to be ready", run.is_ready)
            yield run
        finally:
            process.kill()
            process.wait(10)
