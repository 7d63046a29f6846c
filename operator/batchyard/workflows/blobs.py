"""A store of file contents by their SHA-256: ``ab/cdef...``, each written whole and once, and checked when read.

Several processes may write at once; what nobody refers to is collected while none does. Not for which file had which
content when: ``snapshots`` says that.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import secrets
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchyard.model.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from pathlib import Path

_CHUNK = 1024 * 1024
_DIGEST = re.compile("[0-9a-f]{64}")
_UNFINISHED = "new"
_LOCK = "lock"
_PAUSE_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Blob:
    """One content: the SHA-256 of it in hexadecimal, and how long it is."""

    digest: str
    size: int


class TooLarge(Exception):
    """A content is longer than it may be; nothing of it was kept."""


class BlobMissing(StoreError):
    """The store does not have this content, or has something else in its place."""


class BlobStore:
    """The contents in one folder, which is made when something is first put there.

    Each content is written beside its place, synced, and renamed into it, so that whatever has a name is whole, also
    after a kill or a power cut.
    """

    def __init__(self, folder: Path) -> None:
        """``folder`` is the store's own; nothing is read or made yet."""
        self.folder = folder

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep the collector out from before a content is put until what refers to it is durable."""
        with self._locked() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)
            yield

    def put(self, data: bytes) -> Blob:
        """Keep these bytes; call it within ``in_use``. Raises ``OSError``."""
        digest = hashlib.sha256(data).hexdigest()
        if not self._has(digest, len(data)):
            with self._unfinished() as (fd, path):
                _write_all(fd, data)
                self._finish(fd, path, digest)
        return Blob(digest, len(data))

    def put_file(self, source: int, most: int) -> Blob:
        """Keep what can be read from a descriptor; call it within ``in_use``. Raises ``OSError`` and ``TooLarge``."""
        seen, size = hashlib.sha256(), 0
        with self._unfinished() as (fd, path):
            while chunk := os.read(source, _CHUNK):
                size += len(chunk)
                if size > most:
                    raise TooLarge
                seen.update(chunk)
                _write_all(fd, chunk)
            digest = seen.hexdigest()
            if not self._has(digest, size):
                self._finish(fd, path, digest)
        return Blob(digest, size)

    def read(self, digest: str) -> bytes:
        """Return a content. Raises ``BlobMissing``."""
        return b"".join(self.chunks(digest))

    def chunks(self, digest: str) -> Iterator[bytes]:
        """Yield a content piece by piece. Raises ``BlobMissing``, at the end if it is another content."""
        seen = hashlib.sha256()
        try:
            with self.place(digest).open("rb") as file:
                while chunk := file.read(_CHUNK):
                    seen.update(chunk)
                    yield chunk
        except OSError as error:
            raise BlobMissing(f"the content {digest[:12]} is not in {self.folder}: {error.strerror}") from error
        if seen.hexdigest() != digest:
            raise BlobMissing(f"the content {digest[:12]} in {self.folder} is damaged: it is not what was put there")

    def verify(self, digest: str) -> None:
        """Raise ``BlobMissing`` if the content is not there or damaged."""
        for _ in self.chunks(digest):
            pass

    def place(self, digest: str) -> Path:
        """Return the file of a content."""
        return self.folder / digest[:2] / digest[2:]

    def digests(self) -> Iterator[str]:
        """Yield the digest of every content there is."""
        for path in self.folder.glob("[0-9a-f][0-9a-f]/*"):
            if _DIGEST.fullmatch(digest := path.parent.name + path.name):
                yield digest

    def collect(self, referenced: Callable[[], Collection[str]], *, patience_seconds: float = 10.0) -> tuple[Blob, ...]:
        """Remove every content that is not referred to, and what a kill left half written; return what went.

        ``referenced`` is asked while nobody can be putting anything. Raises ``StoreError`` if the store is not left
        alone for that, and whatever ``referenced`` raises; then nothing is removed.
        """
        if not self.folder.is_dir():
            return ()
        with self._locked() as lock:
            self._take_alone(lock, patience_seconds)
            kept = set(referenced())
            gone = []
            for digest in [digest for digest in self.digests() if digest not in kept]:
                place = self.place(digest)
                gone.append(Blob(digest, place.stat().st_size))
                place.unlink()
            for path in (self.folder / _UNFINISHED).glob("*"):
                path.unlink()
        return tuple(gone)

    def _take_alone(self, lock: int, patience_seconds: float) -> None:
        waits, pause = int(patience_seconds / _PAUSE_SECONDS), threading.Event()
        for _ in range(waits):
            with suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            pause.wait(_PAUSE_SECONDS)
        raise StoreError(f"the files in {self.folder} are being written to; try again when the batch is over")

    @contextmanager
    def _locked(self) -> Iterator[int]:
        self.folder.mkdir(parents=True, exist_ok=True)
        # A descriptor of its own each time: locks of threads of one process keep each other out too.
        fd = os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            yield fd
        finally:
            os.close(fd)

    @contextmanager
    def _unfinished(self) -> Iterator[tuple[int, Path]]:
        """Give a new file to write to; it is removed unless it was renamed."""
        folder = self.folder / _UNFINISHED
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / secrets.token_hex(8)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400)
        try:
            yield fd, path
        finally:
            os.close(fd)
            path.unlink(missing_ok=True)

    def _finish(self, fd: int, path: Path, digest: str) -> None:
        place = self.place(digest)
        place.parent.mkdir(exist_ok=True)
        os.fsync(fd)
        path.rename(place)
        folder = os.open(place.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _has(self, digest: str, size: int) -> bool:
        try:
            return self.place(digest).stat().st_size == size
        except FileNotFoundError:
            return False


def _write_all(fd: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(fd, left) :]
