"""Keep the files of executions as they are at each node boundary. Putting them back is ``restoring``'s.

The code under test may change anything at any moment, also from a thread or process it left running: nothing outside
the workspace is read, whatever it puts in the place of a folder.
"""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from batchyard.clock import Clock, SystemClock
from batchyard.model.execution import ExecutionError, FilesLost, Restored
from batchyard.model.file_patterns import FilePatterns
from batchyard.workflows.blobs import BlobMissing, BlobStore, TooLarge
from batchyard.workflows.folder_walk import DEEPEST, Seen, TooDeep, open_seen, opened, walk
from batchyard.workflows.restoring import put_back
from batchyard.workflows.snapshots import TrackedFile, check_whole, encoded, read_snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

_PLACE = "spec.checkpoints.files"
_SETTLED_NS = 100_000_000
"""How long a file must have been left alone before its times are believed: a kernel's stamps are coarse."""


@dataclass(frozen=True, slots=True)
class FileRules:
    """Which files are kept and how much they may be; see ``spec.checkpoints.files``."""

    paths: Sequence[str]
    ignore: Sequence[str]
    max_file_bytes: int
    max_total_bytes: int
    max_files: int


class FilesNotKept(Exception):
    """The files of a boundary cannot be kept: what, where and what to do."""


class _Stamp(NamedTuple):
    """What tells a file that was left alone: nobody can set the time of the last change of its inode."""

    inode: int
    device: int
    size: int
    mtime_ns: int
    ctime_ns: int


@dataclass(slots=True)
class _Workspace:
    """One execution's folder, and what is known of the files in it."""

    path: Path
    identity: tuple[int, int]
    known: dict[str, tuple[_Stamp, TrackedFile]] = field(default_factory=dict)
    files: list[TrackedFile] = field(default_factory=list)
    snapshot: str = ""

    def forget(self) -> None:
        """Take nothing for kept any more: what later boundaries kept may be collected once they are dropped."""
        self.known, self.files, self.snapshot = {}, [], ""


class WorkspaceFiles:
    """Keeps and restores the tracked files of executions. See ``engine.ports.FileTracking``.

    One boundary at a time for each execution; several executions may be at theirs at once.
    """

    def __init__(self, rules: FileRules, blobs: BlobStore, *, clock: Clock | None = None) -> None:
        """Keep contents in ``blobs``, which other processes may share."""
        self._rules, self._blobs, self._clock = rules, blobs, clock or SystemClock()
        self._patterns = FilePatterns(rules.paths, rules.ignore)
        self._watched: dict[str, _Workspace] = {}

    def watch(self, thread_id: str, workspace: Path) -> None:
        """Say where an execution's files are. Raises ``ExecutionError`` if there is no such folder."""
        try:
            with opened(workspace) as folder:
                self._watched[thread_id] = _Workspace(workspace, _identity(folder))
        except OSError as error:
            raise ExecutionError(
                f"execution {thread_id} has no folder for files at {workspace}: {error.strerror}"
            ) from error

    def unwatch(self, thread_id: str) -> None:
        """Take no more snapshots of an execution."""
        self._watched.pop(thread_id, None)

    @contextmanager
    def boundary(self, thread_id: str) -> Iterator[str | None]:
        """Take a snapshot and give its name, None without a workspace; what names it must be durable at the end.

        Raises ``FilesNotKept``.
        """
        workspace = self._watched.get(thread_id)
        if workspace is None:
            yield None
            return
        with self._blobs.in_use():
            try:
                snapshot = self._taken(workspace)
            except TooDeep as error:
                raise FilesNotKept(f"{error}: folders lie more than {DEEPEST} deep; {_OR_IGNORE}") from error
            except OSError as error:
                where = f" at {os.fsdecode(error.filename)}" if error.filename else ""
                raise FilesNotKept(f"the tracked files cannot be kept: {error.strerror}{where}") from error
            yield snapshot

    def verify(self, snapshot: str) -> None:
        """Raise ``FilesLost`` unless every file of a snapshot can be put back."""
        check_whole(self._blobs, snapshot)

    def restore(self, thread_id: str, snapshot: str, *, remove_later: bool = False) -> Restored:
        """Put the tracked files back as a snapshot has them. Raises ``FilesLost``."""
        workspace = self._watched.get(thread_id)
        if workspace is None:
            return Restored()
        workspace.forget()
        try:
            with self._folder(workspace) as folder:
                wanted = read_snapshot(self._blobs, snapshot)
                return put_back(folder, self._patterns, self._blobs, wanted, remove_later=remove_later)
        except (OSError, BlobMissing, TooDeep, FilesNotKept) as error:
            raise FilesLost(
                f"not all files of execution {thread_id} could be put back: {error}; mend that and roll back again"
            ) from error

    def _taken(self, workspace: _Workspace) -> str:
        total, now_ns = 0, int(self._clock.now().timestamp() * 1e9)
        files: list[TrackedFile] = []
        known: dict[str, tuple[_Stamp, TrackedFile]] = {}
        with self._folder(workspace) as folder:
            for seen in walk(folder, self._patterns):
                file = self._kept(workspace, seen, known, now_ns)
                if file is None:
                    continue
                files.append(file)
                total += file.size
                self._check_total(len(files), total)
        workspace.known = known
        if files != workspace.files or not workspace.snapshot:
            workspace.snapshot = self._blobs.put(encoded(files)).digest
            workspace.files = files
        return workspace.snapshot

    def _kept(
        self, workspace: _Workspace, seen: Seen, known: dict[str, tuple[_Stamp, TrackedFile]], now_ns: int
    ) -> TrackedFile | None:
        """Return a file whose content is in the store; None if it is gone."""
        if not seen.is_file:
            raise FilesNotKept(
                f"{seen.path} is {seen.kind}, which is neither followed nor kept; write a plain file, or name it in "
                f"{_PLACE}.ignore"
            )
        stamp, mode = _stamp(seen.status), seen.status.st_mode & 0o777
        before, file = workspace.known.get(seen.path, (None, None))
        if file is not None and before == stamp:
            known[seen.path] = (stamp, file)
            return file._replace(mode=mode)
        if seen.status.st_size > self._rules.max_file_bytes:
            raise self._too_large(seen)
        fd = open_seen(seen)
        if fd is None:
            return None
        try:
            blob = self._blobs.put_file(fd, self._rules.max_file_bytes)
            stamp = _stamp(os.fstat(fd))
        except TooLarge:
            raise self._too_large(seen) from None
        finally:
            os.close(fd)
        file = TrackedFile(seen.path, blob.digest, blob.size, mode)
        # What was written a moment ago could be written again without its times showing it.
        if stamp == _stamp(seen.status) and now_ns - stamp.ctime_ns > _SETTLED_NS:
            known[seen.path] = (stamp, file)
        return file

    def _check_total(self, count: int, total: int) -> None:
        rules = self._rules
        if count > rules.max_files:
            raise FilesNotKept(
                f"there are more than {rules.max_files:,} tracked files; raise {_PLACE}.maxFiles, {_LESS}"
            )
        if total > rules.max_total_bytes:
            raise FilesNotKept(
                f"the tracked files are more than {rules.max_total_bytes:,} bytes together; raise "
                f"{_PLACE}.maxTotalBytes, {_LESS}"
            )

    def _too_large(self, seen: Seen) -> FilesNotKept:
        most = self._rules.max_file_bytes
        return FilesNotKept(f"{seen.path} is more than {most:,} bytes; raise {_PLACE}.maxFileBytes, {_OR_IGNORE}")

    @contextmanager
    def _folder(self, workspace: _Workspace) -> Iterator[int]:
        with ExitStack() as stack:
            try:
                folder = stack.enter_context(opened(workspace.path))
                is_the_same = _identity(folder) == workspace.identity
            except (FileNotFoundError, NotADirectoryError):
                is_the_same = False
            if not is_the_same:
                raise FilesNotKept(f"the workspace {workspace.path} was removed or replaced")
            yield folder


def kept_in(objects: Path, rules: Mapping[str, Any]) -> WorkspaceFiles | None:
    """Return what keeps files by ``FileRules`` as plain data, with their contents in a folder; None without rules."""
    return WorkspaceFiles(FileRules(**rules), BlobStore(objects)) if rules else None


_OR_IGNORE = f"or name it in {_PLACE}.ignore"
_LESS = "or track less"


def _identity(folder: int) -> tuple[int, int]:
    status = os.fstat(folder)
    return status.st_dev, status.st_ino


def _stamp(status: os.stat_result) -> _Stamp:
    return _Stamp(status.st_ino, status.st_dev, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
