"""The folder of the trial that runs here, for its own code to ask for. Not for making or removing folders."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_folder: ContextVar[str] = ContextVar("batchyard_workspace", default="")


def workspace() -> Path:
    """Return the folder of the running trial's files; outside of a trial, the current directory.

    With isolation Process it is the current directory too. Threads share one, so with isolation Thread there is no
    other way to the trial's own folder.
    """
    return Path(_folder.get() or ".").absolute()


@contextmanager
def entered(folder: str) -> Iterator[None]:
    """Make ``folder`` the running trial's, for what this context runs."""
    token = _folder.set(folder)
    try:
        yield
    finally:
        _folder.reset(token)
