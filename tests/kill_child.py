"""A run, or a resume, that kills its own process at the n-th moment: ``kill_child.py FILE STORE BATCH MOMENT PARTS``.

The moments are counted over everything that changes the world: each commit of the store, before it and after it, and
each event on the bus. MOMENT 0 never comes; ``BATCH`` "" begins a new batch and prints its id. At the end it prints how
many moments there were.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchyard.compose import LocalEngine
from batchyard.engine.sources import LoadedBatch, load
from batchyard.local_files import files_folder
from batchyard.store.opening import open_store
from batchyard.store.sql import SqlStore

if TYPE_CHECKING:
    from batchyard.compose import Running


class Moments:
    """Counts, and kills the process in the chosen one."""

    def __init__(self, chosen: int) -> None:
        self.count = 0
        self._chosen = chosen
        self._lock = threading.Lock()  # the session and the writer count

    def pass_one(self, *_: object) -> None:
        with self._lock:
            self.count += 1
            if self.count == self._chosen:
                os.kill(os.getpid(), signal.SIGKILL)


class WatchedStore(SqlStore):
    """A store whose commits are moments."""

    moments: Moments

    def commit(self, *arguments: Any, **named: Any) -> None:
        self.moments.pass_one()
        super().commit(*arguments, **named)
        self.moments.pass_one()


def main(file: str, target: str, batch: str, moment: str, parts: str) -> None:
    moments = Moments(int(moment))
    with LocalEngine(parts=parts) as engine, open_store(target) as opened:
        store = WatchedStore(opened.engine)
        store.moments = moments
        if batch:
            record = store.batch(batch)
            loaded = LoadedBatch.from_json(record.spec, Path(record.base))
        else:
            loaded = load(Path(file))
            record = engine.accept(store, loaded, files_folder(target))
        print(record.id, flush=True)  # noqa: T201

        def listen(running: Running) -> None:
            running.bus.subscribe(moments.pass_one)

        finished = engine.run(store, files_folder(target), record, loaded, on_start=listen)
        print(finished.verdict, moments.count, flush=True)  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
