"""The batches of one session of pytest: each is planned at collection and run once, whatever xdist does.

With xdist every worker has a session of its own. They share a folder, and the first that needs a batch's result takes
the batch's lock there, runs it and leaves the result; the others wait for the lock and read. A lock goes with its
process, so a worker that is killed leaves the batch to the next one, which goes on where it was.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from batchyard.engine.sources import load
from batchyard.model.errors import SpecInvalid
from batchyard.pytest_batch.result import NOT_RUN, BatchResult, cells_of
from batchyard.store.opening import open_store

if TYPE_CHECKING:
    from collections.abc import Sequence

KEY: pytest.StashKey[BatchTests] = pytest.StashKey()
"""Where a session keeps its batches."""

_ROOM_SECONDS = 120
"""What a session may need beside the batch itself: starting, releasing, reading."""


@dataclass(frozen=True, slots=True)
class Planned:
    """What is known of a batch before it is run."""

    name: str
    cells: Sequence[tuple[str, str]]
    seconds: float


class BatchTests:
    """Plans and runs the session's batches."""

    def __init__(self, config: pytest.Config) -> None:
        """Nothing is read or made yet."""
        self._config = config
        self._plans: dict[Path, Planned] = {}
        self._results: dict[Path, BatchResult] = {}

    def plan(self, file: Path) -> Planned:
        """Return a file's plan. Raises ``SpecInvalid`` with everything that is wrong with it."""
        if file not in self._plans:
            loaded = load(file)
            cells = [(one.name, case.name) for one in loaded.plan.combinations for case in loaded.plan.cases]
            seconds = loaded.batch.spec.deadlines.batch_seconds + _ROOM_SECONDS
            self._plans[file] = Planned(loaded.batch.metadata.name, cells, seconds)
        return self._plans[file]

    def wrong_with(self, file: Path) -> str:
        """Return everything that is wrong with a file, "" if nothing is."""
        try:
            self.plan(file)
        except SpecInvalid as err:
            return str(err)
        return ""

    def mark(self, item: pytest.Item, file: Path) -> None:
        """Give a test the marks that pytest-timeout and pytest-xdist know, where they are installed."""
        plugins = self._config.pluginmanager
        if plugins.hasplugin("timeout") and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(self.plan(file).seconds))
        if plugins.hasplugin("xdist") and item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(f"batchtest-{self.plan(file).name}"))

    def result(self, file: Path) -> BatchResult:
        """Return what came of a batch, which is run if no one has yet."""
        if file not in self._results:
            self._results[file] = self._shared(file)
        return self._results[file]

    def folder(self, file: Path) -> Path:
        """Return where the workers share what is about this batch."""
        return self._folder() / f"batchtest-{hashlib.sha256(str(file).encode()).hexdigest()[:12]}"

    def _shared(self, file: Path) -> BatchResult:
        folder = self.folder(file)
        folder.mkdir(parents=True, exist_ok=True)
        kept = folder / "result.json"
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not kept.exists():
                text = self._run(file, folder).to_json()
                beside = kept.with_suffix(".new")
                beside.write_text(text, encoding="utf-8")
                beside.replace(kept)
        return BatchResult.from_json(kept.read_text(encoding="utf-8"))

    def _folder(self) -> Path:
        """Return the folder that all workers of this run share."""
        factory: pytest.TempPathFactory = self._config._tmp_path_factory  # type: ignore[attr-defined]
        base = factory.getbasetemp()
        # A worker of xdist has a folder in that of the run.
        return base.parent if hasattr(self._config, "workerinput") else base

    def _run(self, file: Path, folder: Path) -> BatchResult:
        store = self._config.getoption("--batchtest-store") or str(folder / "store.db")
        begun = folder / "begun"
        arguments = ["run", str(file)]
        if begun.exists():
            unfinished = self._unfinished(self.plan(file).name, store)
            arguments = ["resume", unfinished] if unfinished else arguments
        begun.touch()
        command = [sys.executable, "-m", "batchyard", *arguments, "--store", store, "--output", "json", "--quiet"]
        # No shell, and nothing in it but the file's own name.
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        try:
            document = json.loads(done.stdout)
        except ValueError:
            document = {"error": {"message": done.stderr}}
        if "batch" not in document:
            return _not_run(file, done.returncode, document["error"]["message"], store)
        return _read(document, done, store)

    def _unfinished(self, name: str, store: str) -> str:
        """Return the id of the batch that a worker left unfinished, "" if it did not come so far."""
        if not Path(store).exists():
            return ""
        with open_store(store) as opened:
            left = [
                record
                for record in opened.batches(limit=20, damaged=[])
                if record.name == name and not record.phase.final
            ]
        return left[0].id if left else ""


def _read(document: dict[str, object], done: subprocess.CompletedProcess[str], store: str) -> BatchResult:
    batch: dict[str, str] = document["batch"]  # type: ignore[assignment]
    gate: dict[str, list[dict[str, object]]] = document.get("gate") or {}  # type: ignore[assignment]
    best: dict[str, str] = document.get("best") or {}  # type: ignore[assignment]
    lost: dict[str, list[dict[str, str]]] = document.get("regressions") or {}  # type: ignore[assignment]
    with open_store(store) as opened:
        trials = cells_of(opened.results(batch["id"]))
    return BatchResult(
        id=batch["id"],
        phase=batch["phase"],
        reason=batch["reason"],
        message=batch["message"],
        exit_code=done.returncode,
        checks=tuple(gate.get("checks", [])),
        best=best.get("combination", ""),
        store=store,
        trials=trials,
        log=done.stderr,
        lost=tuple(f"{one['trial']}: {one['message']}" for one in lost.get("trials", []) if one["message"]),
    )


def _not_run(file: Path, exit_code: int, message: str, store: str) -> BatchResult:
    return BatchResult(file.stem, NOT_RUN, "", message, exit_code, (), "", store, {})
