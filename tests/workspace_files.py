"""A workspace with tracked files, for tests: written, kept at boundaries, and put back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchyard.workflows.blobs import BlobStore
from batchyard.workflows.files import FileRules, WorkspaceFiles

if TYPE_CHECKING:
    from pathlib import Path

    from batchyard.clock import Clock
    from batchyard.model.execution import Restored


def rules(
    *paths: str, ignore: tuple[str, ...] = (), one: int = 1000, total: int = 10_000, most: int = 100
) -> FileRules:
    return FileRules(paths or ("**",), ignore, one, total, most)


class Bench:
    """One execution "e" and its folder."""

    def __init__(self, folder: Path, wanted: FileRules | None = None, clock: Clock | None = None) -> None:
        self.folder = folder / "workspace"
        self.folder.mkdir()
        self.blobs = BlobStore(folder / "objects")
        self.files = WorkspaceFiles(wanted or rules(), self.blobs, clock=clock)
        self.files.watch("e", self.folder)

    def write(self, **files: str) -> None:
        """Write files; ``__`` in a name stands for ``/``."""
        for name, text in files.items():
            path = self.folder / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def boundary(self) -> str:
        with self.files.boundary("e") as snapshot:
            assert snapshot is not None
            return snapshot

    def back_to(self, snapshot: str, *, remove_later: bool = False) -> Restored:
        self.files.verify(snapshot)
        return self.files.restore("e", snapshot, remove_later=remove_later)

    def content(self) -> dict[str, str]:
        """Return every file of the workspace but for what was moved away."""
        found = (path for path in sorted(self.folder.rglob("*")) if path.is_file() or path.is_symlink())
        named = {str(path.relative_to(self.folder)): path for path in found}
        return {name: path.read_text() for name, path in named.items() if not name.startswith(".batchyard/")}
