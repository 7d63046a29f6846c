"""What the engine needs of whatever keeps the files of executions. ``workflows.files`` implements it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    from batchyard.engine.ports import StateAdapter
    from batchyard.model.execution import Execution, Restored


class FileTracking(Protocol):
    """Keeps files of executions' workspaces with each checkpoint, as ``Checkpoint.files``, and puts them back."""

    def watch(self, thread_id: str, workspace: Path) -> None:
        """Say where an execution's files are; from here on each of its boundaries has a snapshot.

        Raises ``ExecutionError`` if there is no such folder.
        """
        ...

    def unwatch(self, thread_id: str) -> None:
        """Take no more snapshots of an execution."""
        ...

    def verify(self, snapshot: str) -> None:
        """Raise ``FilesLost`` unless every file of a snapshot can be put back."""
        ...

    def restore(self, thread_id: str, snapshot: str, *, remove_later: bool = False) -> Restored:
        """Put the tracked files back as a snapshot has them, each whole or not at all.

        Files that are tracked and that the snapshot does not have stay, or are moved away with ``remove_later``.
        Nothing happens without a workspace. Raises ``FilesLost``.
        """
        ...


def whole_snapshot(adapter: StateAdapter, execution_id: str, checkpoint: str | None) -> str:
    """Return the snapshot of files at a checkpoint, "" if there is none. Raises ``FilesLost`` if it is not whole."""
    if adapter.files is None:
        return ""
    snapshot = next((point.files for point in adapter.history(execution_id) if point.id == checkpoint), "")
    if snapshot:
        adapter.files.verify(snapshot)
    return snapshot


def with_files(adapter: StateAdapter, execution: Execution, snapshot: str, *, remove_later: bool = False) -> Execution:
    """Put an execution's files back and return it with what that did. Raises ``FilesLost``."""
    if adapter.files is None or not snapshot:
        return execution
    return replace(execution, restored=adapter.files.restore(execution.id, snapshot, remove_later=remove_later))
