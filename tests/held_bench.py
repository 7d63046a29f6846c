"""A desk for executions that a person holds: what a batch left, and the moves that can be made with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchyard.clock import SystemClock
from batchyard.executions.held import HeldFolders
from batchyard.executions.moves import Moves, Source
from batchyard.executions.running import OneRun
from batchyard.executions.sources import KeptAttempts, held_source
from batchyard.executions.trail import BatchTrail
from batchyard.local_files import files_folder
from runner_bench import lines_of

if TYPE_CHECKING:
    from pathlib import Path

    from batch_bench import BatchBench, Ran
    from batchyard.engine.sources import LoadedBatch
    from batchyard.executions.held import Held
    from batchyard.model.trial import JSON


def a_desk(bench: BatchBench, tmp_path: Path, /, *, last: str = "three", **state: JSON) -> Desk:
    log = tmp_path / "log"
    case = {"name": "one", "input": {"log": str(log), **state}}
    variants: dict[str, JSON] = (
        {"matrix": {"last": ["three", "other"]}} if last == "both" else {"matrix": {"last": [last]}}
    )
    loaded = bench.load("steps:build", cases=[case], variants=variants, parallelism=1)
    return Desk(bench, loaded, bench.run(loaded), log)


@dataclass
class Desk:
    """A batch that has run, and the moves that can be made with what it left; nodes write their names to ``log``."""

    bench: BatchBench
    loaded: LoadedBatch
    ran: Ran
    log: Path

    @property
    def folders(self) -> HeldFolders:
        return HeldFolders(files_folder(self.bench.target))

    @property
    def moves(self) -> Moves:
        clock, files = SystemClock(), files_folder(self.bench.target)
        trail = BatchTrail(self.bench.store, self.ran.record, files, clock, ())
        return Moves(self.folders, OneRun(lambda: self.bench.engine, self.loaded, clock, files), trail, clock)

    def kept(self, combination: str = "three", case: str = "one") -> Source:
        kept = KeptAttempts(files_folder(self.bench.target), self.ran.record.id, self.loaded)
        source = kept.source(self.ran.of(combination, case))
        assert source is not None
        return source

    def now(self, held: Held) -> Source:
        return held_source(self.folders.find(held.id))

    def ran_since(self, count: int) -> list[str]:
        return lines_of(self.log)[count:]
