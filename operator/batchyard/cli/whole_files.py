"""Writes files whole or not at all, so that nobody ever reads half of one."""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def written_whole(files: Mapping[Path, str]) -> None:
    """Write all of the texts, each in the place of what was there.

    Every text is on the disk before the first one gets its name. Raises ``OSError``; then no file that could not be
    written is touched.
    """
    with ExitStack() as made:
        names = {path: _beside(path, text, made) for path, text in files.items()}
        for path, name in names.items():
            name.replace(path)


def _beside(path: Path, text: str, made: ExitStack) -> Path:
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    made.callback(temporary.unlink, missing_ok=True)
    with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
        # What mkstemp makes is for nobody else to read; a new file is as the user's others are.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    return temporary
