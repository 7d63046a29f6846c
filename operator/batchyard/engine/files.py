"""What the engine needs of whatever keeps the files of executions. ``workflows.files`` implements it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    from batchyard.model.execution import Restored


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
