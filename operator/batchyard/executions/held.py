"""Held executions as they lie on disk: a folder each, with its description, its thread and a lock.

Whoever changes one holds its lock, which the system takes back from a process that dies. Not for moving them.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import string
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from batchyard.decide.execution import heeded
from batchyard.local_files import EXECUTIONS, checkpoints_folder
from batchyard.model.errors import StoreError
from batchyard.model.execution import (
    Execution,
    ExecutionError,
    ExecutionNotFound,
    ExecutionStatus,
    InvalidTransition,
    Move,
)
from batchyard.workflows.checkpoint_reading import read_history
from batchyard.workflows.checkpoint_tables import open_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from batchyard.model.execution import Checkpoint

ID_PREFIX = "x-"
EPOCH = 1
"""All runs of a held execution go on in one worker file, whose name has this number."""


@dataclass(frozen=True, slots=True)
class Held:
    """One execution that a person holds.

    ``origin`` says what it was made from: an attempt (``<trial>#<n>``), another execution, or nothing. ``node`` is
    what a run that was cut off was in. ``outcome`` and ``score`` are those of the run that completed last.
    """

    id: str
    batch: str
    trial: str
    combination: str
    variants: Mapping[str, str]
    case: str
    repeat: int
    created_at: str
    changed_at: str
    status: ExecutionStatus = ExecutionStatus.PENDING
    origin: str = ""
    question: str = ""
    message: str = ""
    outcome: str = ""
    reason: str = ""
    score: float | None = None
    runs: int = 0
    nodes: Sequence[str] = ()

    @property
    def execution(self) -> Execution:
        """Return the execution as ``decide.execution`` looks at it."""
        return Execution(self.id, self.variants, self.status)


@dataclass(frozen=True, slots=True)
class HeldFolder:
    """Where one held execution lies."""

    path: Path
    batch: str
    id: str

    @property
    def thread_file(self) -> Path:
        """Return the file that its worker writes."""
        return checkpoints_folder(self.path, self.batch) / f"e{EPOCH}-s0.db"

    def make_thread_file(self) -> None:
        """Make its file with nothing in it: from then on one that is not there was lost."""
        open_file(self.thread_file).close()

    def history(self) -> Sequence[Checkpoint]:
        """Return its checkpoints, oldest first, none before its first boundary.

        Raises ``ExecutionError`` if they are lost, and ``StoreError`` if they are damaged.
        """
        if not self.thread_file.is_file() or not self.thread_file.stat().st_size:
            raise ExecutionError(
                f"the states of execution {self.id} are lost: {self.thread_file} is not there; put it back from a "
                f"copy, or begin again with what `batchyard execution list {self.batch}` shows"
            )
        return read_history(self.thread_file, self.id)

    def load(self, *, mine: bool = False) -> Held:
        """Return it as it stands. One whose process died while it ran is paused: its last boundary is durable.

        ``mine``: the caller has the lock, so no other process runs it.
        """
        held = self._read()
        if held.status is ExecutionStatus.RUNNING and (mine or not self.is_locked()):
            # It may have ended between the two looks.
            held = self._read()
            if held.status is ExecutionStatus.RUNNING:
                return replace(held, status=ExecutionStatus.PAUSED, message=_DIED)
        return held

    def save(self, held: Held) -> None:
        """Write it down, whole or not at all."""
        self.path.mkdir(parents=True, exist_ok=True)
        begun = self.path / "execution.part"
        with begun.open("w", encoding="utf-8") as file:
            json.dump(asdict(held), file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        begun.replace(self.path / "execution.json")

    @contextmanager
    def locked(self, move: Move) -> Iterator[None]:
        """Keep others from changing it; nothing is asked yet. Raises ``InvalidTransition`` if another is at it."""
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InvalidTransition(self.id, ExecutionStatus.RUNNING, move, _RUNS) from None
            # At once: from now on others ask whoever has the lock.
            self.forget_asked()
            yield

    def is_locked(self) -> bool:
        """Return whether a process runs or changes it."""
        try:
            with (self.path / "lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False

    def ask(self, move: Move) -> None:
        """Leave word for the process that runs it."""
        (self.path / "asked").write_text(heeded(self.asked(), move).value)

    def asked(self) -> Move | None:
        """Return what was asked of the run."""
        try:
            return Move((self.path / "asked").read_text())
        except (OSError, ValueError):
            return None

    def forget_asked(self) -> None:
        """Take back what was asked."""
        (self.path / "asked").unlink(missing_ok=True)

    def _read(self) -> Held:
        try:
            body = json.loads((self.path / "execution.json").read_text(encoding="utf-8"))
            return Held(**{**body, "status": ExecutionStatus(body["status"]), "nodes": tuple(body["nodes"])})
        except FileNotFoundError:
            raise ExecutionNotFound(f"there is no execution {self.id}") from None
        except (OSError, ValueError, TypeError, KeyError) as err:
            raise StoreError(
                f"{self.path / 'execution.json'} cannot be read: {err}; put it back from a copy (the states are beside "
                f"it, in {self.thread_file.relative_to(self.path)})"
            ) from err


_RUNS = "wait until its run has ended, or pause it"
_DIED = "the process that ran it ended without a word; resume goes on from its last boundary"


@dataclass(frozen=True, slots=True)
class HeldFolders:
    """All held executions below a store's files."""

    files: Path

    def new(self, batch: str) -> HeldFolder:
        """Return a folder for one more execution; nothing is made yet."""
        suffix = "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(8))
        return self._folder(batch, ID_PREFIX + suffix)

    def find(self, execution: str) -> HeldFolder:
        """Return an execution by its id or the beginning of it. Raises ``ExecutionNotFound``."""
        found = sorted(self._root.glob(f"*/{_literal(execution)}*/execution.json")) if execution else []
        exact = [path for path in found if path.parent.name == execution]
        if len(exact or found) != 1:
            what = "several executions begin with" if found else "there is no execution"
            raise ExecutionNotFound(f"{what} {execution}; `batchyard execution list BATCH` shows them")
        folder = (exact or found)[0].parent
        return self._folder(folder.parent.name, folder.name)

    def of_batch(self, batch: str) -> Sequence[HeldFolder]:
        """Return the executions of a batch, oldest first; before them those whose description cannot be read."""
        found = (self._root / batch).glob("*/execution.json")
        return sorted((self._folder(batch, path.parent.name) for path in found), key=_made_at)

    @property
    def _root(self) -> Path:
        return self.files / EXECUTIONS

    def _folder(self, batch: str, execution: str) -> HeldFolder:
        return HeldFolder(self._root / batch / execution, batch, execution)


def _made_at(folder: HeldFolder) -> str:
    try:
        return folder.load().created_at
    except (StoreError, ExecutionNotFound):
        return ""


def _literal(text: str) -> str:
    """Return the text with nothing in it that a pattern would be."""
    return "".join(char for char in text if char.isalnum() or char in "-_")
