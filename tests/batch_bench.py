"""A bench for whole batches: a BatchTest of the tests' own workflows, a store on disk, the engine as it is wired."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from batchyard.engine.sources import load
from batchyard.local_files import files_folder
from batchyard.model.audit import verify_chain
from batchyard.model.errors import SpecInvalid
from batchyard.store.batch_integrity import batch_findings
from batchyard.store.opening import open_store
from plain_parts import FOLDER

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from batchyard.compose import LocalEngine, Running
    from batchyard.engine.ports import BatchRecord
    from batchyard.engine.session import Finished
    from batchyard.engine.sources import LoadedBatch
    from batchyard.model.audit import SealedEntry
    from batchyard.model.events import Event
    from batchyard.model.outcome import Outcome
    from batchyard.model.trial import JSON, AttemptResult
    from batchyard.store.sql import SqlStore

WORKFLOWS = FOLDER / "workflows"


def batch_file(folder: Path, factory: str, *, name: str = "bench", **spec: JSON) -> Path:
    """Write a BatchTest of one of the tests' workflows; ``spec`` adds to what is plain."""
    plain: dict[str, JSON] = {
        "workflow": {"factory": factory, "source": {"path": str(WORKFLOWS)}},
        "variants": {"matrix": {"side": ["left"]}},
        "cases": [{"name": "one", "input": {"name": "one"}}],
        "parallelism": 2,
        "retry": {"maxAttempts": 2, "backoffSeconds": 0.01},
        "deadlines": {"batchSeconds": 300, "trialSeconds": 60, "graceSeconds": 0.3},
    }
    document = {
        "apiVersion": "batchyard.dev/v1alpha1",
        "kind": "BatchTest",
        "metadata": {"name": name},
        "spec": {**plain, **spec},
    }
    file = folder / "batch.yaml"
    file.write_text(json.dumps(document))
    return file


def cases(*names: str, **state: JSON) -> list[dict[str, JSON]]:
    """Cases of these names, whose input is their name and ``state``."""
    return [{"name": name, "input": {"name": name, **state}} for name in names]


@dataclass
class Ran:
    """One session that came to its end."""

    finished: Finished
    record: BatchRecord
    attempts: list[AttemptResult]
    finals: list[AttemptResult]
    entries: list[SealedEntry]
    events: list[Event]

    @property
    def outcomes(self) -> Counter[Outcome]:
        return Counter(result.outcome for result in self.finals)

    def of(self, combination: str, case: str = "one") -> AttemptResult:
        """The final result of one trial."""
        (found,) = [r for r in self.finals if (r.combination, r.case) == (combination, case)]
        return found

    def audited(self, kind: str) -> list[SealedEntry]:
        return [sealed for sealed in self.entries if sealed.entry.type == kind]


@dataclass
class BatchBench:
    """Runs batches in a folder of a test's own."""

    engine: LocalEngine
    folder: Path
    store: SqlStore = field(init=False)

    def __post_init__(self) -> None:
        self.store = open_store(self.target)

    @property
    def target(self) -> str:
        return str(self.folder / "store.db")

    @property
    def workspaces(self) -> Path:
        return files_folder(self.target) / "workspaces"

    def load(self, factory: str = "observed:build", *, name: str = "bench", **spec: JSON) -> LoadedBatch:
        try:
            return load(batch_file(self.folder, factory, name=name, **spec))
        except SpecInvalid as err:
            raise AssertionError(str(err)) from err

    def accept(self, loaded: LoadedBatch) -> BatchRecord:
        return self.engine.accept(self.store, loaded, files_folder(self.target))

    def run(
        self,
        loaded: LoadedBatch,
        record: BatchRecord | None = None,
        *,
        on_start: Callable[[Running], None] = lambda _running: None,
    ) -> Ran:
        """Run a new batch, or what is left of ``record``."""
        record = record or self.accept(loaded)
        events: list[Event] = []

        def listen(running: Running) -> None:
            running.bus.subscribe(events.append)
            on_start(running)

        finished = self.engine.run(self.store, files_folder(self.target), record, loaded, on_start=listen)
        return self.look(record.id, finished, events)

    def look(self, batch_id: str, finished: Finished, events: list[Event]) -> Ran:
        record, entries = self.store.batch(batch_id), list(self.store.audit_entries(batch_id))
        assert verify_chain(entries, record.audit_head) == ""
        assert batch_findings(self.store, batch_id) == []
        return Ran(
            finished=finished,
            record=record,
            attempts=list(self.store.results(batch_id, final_only=False)),
            finals=list(self.store.results(batch_id)),
            entries=entries,
            events=events,
        )
