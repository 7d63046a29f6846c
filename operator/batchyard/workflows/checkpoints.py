"""LangGraph's checkpoints in one SQLite file per worker process: durable before the next node begins, and cheap.

Survives the death of the process (WAL, ``synchronous=NORMAL``), not always a power cut. Not for several writers:
each process has a file of its own. Why it is as it is: docs/adr/0003-checkpoints.md.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    PendingWrite,
    get_checkpoint_id,
    get_checkpoint_metadata,
)

from batchyard.workflows.checkpoint_file import CheckpointFile, CheckpointRow, Place, WritesRow
from batchyard.workflows.triggers import triggered
from batchyard.workflows.unstorable import StateNotSerialisable, blame

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from langchain_core.runnables import RunnableConfig
    from langgraph.checkpoint.serde.base import SerializerProtocol

    from batchyard.model.execution import Checkpoint as Milestone
    from batchyard.workflows.files import WorkspaceFiles
    from batchyard.workflows.recorder import Recorder

RECORDER_KEY = "__batchyard_recorder"
"""Where a run's ``Recorder`` travels in ``configurable``; LangGraph keeps names like this out of the metadata."""

_REMEMBERED = 128
"""How many namespaces' newest checkpoints are known; forgetting one makes the next checkpoint a whole one."""


TaskWrites: TypeAlias = tuple[str, str, list[tuple[str, Any]]]
"""A task, its path and what it wrote: channels and values."""

_PendingWrites: TypeAlias = list[PendingWrite]  # named here, as the class has a method called list


class _Tip(NamedTuple):
    """The checkpoint stored last in a namespace of a thread: its channels' versions, and which of them had values."""

    id: str
    versions: ChannelVersions
    held: frozenset[str]

    def differs(self, channel: str, version: str | int | float | None, is_held: bool) -> bool:
        """Return whether a child with this version, and with or without a value, must say so itself."""
        return version is None or self.versions.get(channel) != version or (channel in self.held) != is_held


class SqliteCheckpoints(BaseCheckpointSaver[int]):
    """A LangGraph checkpointer on a file of its own. Safe to call from any thread of its process.

    A checkpoint is one row and one commit. It holds only the channels that changed since its parent if the parent is
    the one stored last, all of them if not. The asynchronous methods do the same work on the calling thread: a commit
    takes less time than handing it to another.
    """

    def __init__(
        self, path: Path, *, serde: SerializerProtocol | None = None, files: WorkspaceFiles | None = None
    ) -> None:
        """Open the file at ``path``, making it if need be; ``files`` keeps files with it. Raises ``StoreError``."""
        super().__init__(serde=serde)
        self._file = CheckpointFile(path)
        self._files = files
        self._tips: dict[tuple[str, str], _Tip] = {}

    def settle(self) -> None:
        """Make durable what waits for the next checkpoint."""
        self._file.settle()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Store a checkpoint; it is durable when this returns. Raises ``StateNotSerialisable`` and ``FilesNotKept``.

        What changed is found by comparing with the parent, not taken from ``new_versions``, which a copy of a
        checkpoint leaves empty.
        """
        configurable = config["configurable"]
        thread_id, ns = str(configurable["thread_id"]), configurable.get("checkpoint_ns") or ""
        id_, parent, versions = checkpoint["id"], configurable.get("checkpoint_id"), checkpoint["channel_versions"]
        described: dict[str, Any] = {**get_checkpoint_metadata(config, metadata)}
        step: int | None = described.get("step")
        recorder: Recorder | None = None if ns else configurable.get(RECORDER_KEY)
        values, changed = checkpoint["channel_values"], None
        held = frozenset(values)
        tip = self._tips.get((thread_id, ns))
        if tip is not None and tip.id == parent:
            changed = [key for key in versions.keys() | held if tip.differs(key, versions.get(key), key in held)]
            values = {key: values[key] for key in changed if key in held}
        kind, body = self._dump([{**checkpoint, "channel_values": values}, changed, described], values)
        nodes = recorder.ran_in(step) if recorder is not None and step is not None else ""
        # Written with the checkpoint: who is killed has no other moment to say it.
        upcoming = None if ns else json.dumps(triggered(checkpoint["channel_values"]))
        run_id = described.get("run_id")
        row = CheckpointRow(parent, step, changed is None, run_id, nodes, kind, body, upcoming=upcoming)
        if self._files is None or ns:
            self._file.put(thread_id, ns, id_, row)
        elif recorder is None:  # an edit: no node ran, so no file changed
            before = next((point.files for point in self.history(thread_id) if point.id == parent), "")
            self._file.put(thread_id, ns, id_, row._replace(files=before or None))
        else:
            with self._files.boundary(thread_id) as snapshot:
                self._file.put(thread_id, ns, id_, row._replace(files=snapshot))
        if len(self._tips) >= _REMEMBERED:
            self._tips.clear()
        self._tips[thread_id, ns] = _Tip(id_, versions, held)
        if recorder is not None and step is not None:
            recorder.stored(step, id_)
        return _config(thread_id, ns, id_)

    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Store what one task wrote on a checkpoint, durably. Raises ``StateNotSerialisable``."""
        configurable = config["configurable"]
        recorder: Recorder | None = configurable.get(RECORDER_KEY)
        numbered = [[WRITES_IDX_MAP.get(channel, at), channel, value] for at, (channel, value) in enumerate(writes)]
        try:
            kind, body = self._dump(numbered, dict(writes))
        except StateNotSerialisable as error:
            if recorder is not None:
                recorder.culprits.setdefault(error.key, task_id)
            raise
        ns = configurable.get("checkpoint_ns") or ""
        row = WritesRow(task_id, task_path, kind, body)
        ordinary = not any(channel in WRITES_IDX_MAP for channel, _ in writes)
        # With no node under way, what follows is the step's checkpoint: the two share a commit. If another node
        # follows instead, its begin settles what is held, so that user code never runs with anything not durable.
        shares = recorder is not None and not ns and ordinary and recorder.idle
        keep = self._file.hold_writes if shares else self._file.put_writes
        keep(str(configurable["thread_id"]), ns, configurable["checkpoint_id"], row)

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return the checkpoint the config names, or the newest of its thread and namespace."""
        configurable = config["configurable"]
        thread_id, ns = str(configurable["thread_id"]), configurable.get("checkpoint_ns") or ""
        thread = self._file.number(thread_id)
        if thread is None:
            return None
        id_ = get_checkpoint_id(config)
        place = Place(thread, ns, id_) if id_ else self._file.newest(thread, ns)
        return None if place is None else self._tuple(thread_id, place)

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """Yield checkpoints, newest first: of a thread, of a namespace too if the config names one, or of all."""
        configurable = config["configurable"] if config is not None else {}
        thread_id = configurable.get("thread_id")
        places = self._file.places(
            thread_id=None if thread_id is None else str(thread_id),
            ns=configurable.get("checkpoint_ns"),
            id_=configurable.get("checkpoint_id"),
            before=get_checkpoint_id(before) if before is not None else None,
        )
        left = len(places) if limit is None else limit
        for name, place in places:
            if left <= 0:
                return
            stored = self._tuple(name, place)
            if stored is not None and all(stored.metadata.get(key) == value for key, value in (filter or {}).items()):
                left -= 1
                yield stored

    def history(self, thread_id: str) -> tuple[Milestone, ...]:
        """Return a thread's top-level checkpoints, oldest first, without reading a state."""
        return self._file.history(thread_id)

    def stored(self, thread_id: str) -> Iterator[tuple[CheckpointTuple, CheckpointRow, Sequence[TaskWrites]]]:
        """Yield all that a thread has, oldest first: each checkpoint, its row, and what each task wrote on it."""
        for _, place in reversed(self._file.places(thread_id=thread_id)):
            found, row = self._tuple(thread_id, place), self._file.one(place)
            if found is not None and row is not None:
                yield found, row, [self._task_writes(writes) for writes in self._file.writes(place)]

    def _task_writes(self, row: WritesRow) -> TaskWrites:
        numbered = self.serde.loads_typed((row.kind, row.body))
        return row.task, row.path, [(channel, value) for _, channel, value in numbered]

    def knows(self, thread_id: str) -> bool:
        """Return whether the thread has anything stored."""
        return self._file.number(thread_id) is not None

    def note_upcoming(self, thread_id: str, checkpoint_id: str, nodes: Sequence[str]) -> None:
        """Keep which nodes a run that ended at this checkpoint would have run next."""
        self._file.note_upcoming(thread_id, checkpoint_id, nodes)

    def forget(self, thread_ids: Iterable[str]) -> None:
        """Delete everything of these threads in one commit; unknown ones are passed over.

        The file does not shrink, but later checkpoints fill the room.
        """
        self._file.forget(thread_ids)
        self._tips.clear()

    def delete_thread(self, thread_id: str) -> None:
        """Delete everything of one thread."""
        self.forget([str(thread_id)])

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Delete the checkpoints that these runs made, and what was written on them."""
        with self._file.transaction():
            self._delete({place for run in run_ids for _, place in self._file.places(run=run)})

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Keep only the newest checkpoint of each namespace of these threads, or nothing (``delete``).

        A state that lives in its ancestors' writes (LangGraph's ``DeltaChannel``) would be cut off by that, so a
        namespace that has such a channel keeps all its checkpoints.
        """
        if strategy == "delete":
            self.forget(thread_ids)
            return
        if strategy != "keep_latest":
            raise ValueError(f'unknown strategy "{strategy}"; there are keep_latest and delete')
        with self._file.transaction():
            for thread_id in thread_ids:
                places = [place for _, place in self._file.places(thread_id=thread_id)]
                newest = {place.ns: place for place in reversed(places)}
                kept = {ns for ns, place in newest.items() if self._leans_on_writes(place)}
                self._delete({place for place in places if place.ns not in kept and place != newest[place.ns]})

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy all of a thread, ancestors and writes included."""
        self._file.copy(source_thread_id, target_thread_id)
        self._tips.clear()

    def roll_back(self, thread_id: str, checkpoint_id: str) -> None:
        """Drop all that a thread has after a checkpoint, and what was written on it."""
        self._file.roll_back(thread_id, checkpoint_id)
        self._tips.clear()

    def fork(self, source_thread_id: str, checkpoint_id: str, target_thread_id: str) -> None:
        """Copy a thread up to a checkpoint, without what was written on that."""
        self._file.copy(source_thread_id, target_thread_id, up_to=checkpoint_id)
        self._tips.clear()

    def take_in(self, thread_id: str, piece: bytes) -> None:
        """Add a thread that was taken out of another file. Raises ``StoreError``."""
        self._file.take_in(thread_id, piece)
        self._tips.clear()

    def _delete(self, doomed: set[Place]) -> None:
        """Delete checkpoints, after giving those that lean on them all their values."""
        for place in doomed:
            for child in self._file.leaning_on(place):
                row = None if child in doomed else self._file.one(child)
                if row is not None:
                    checkpoint, metadata = self._resolve(child, row)
                    kind, body = self.serde.dumps_typed([checkpoint, None, metadata])
                    self._file.replace(child, row._replace(whole=True, kind=kind, body=body))
        self._file.delete(doomed)
        self._tips.clear()

    def _leans_on_writes(self, place: Place) -> bool:
        row = self._file.one(place)
        return row is not None and "counters_since_delta_snapshot" in self.serde.loads_typed((row.kind, row.body))[2]

    def _tuple(self, thread_id: str, place: Place) -> CheckpointTuple | None:
        row = self._file.one(place)
        if row is None:
            return None
        checkpoint, metadata = self._resolve(place, row)
        parent = _config(thread_id, place.ns, row.parent) if row.parent else None
        config = _config(thread_id, place.ns, place.id)
        return CheckpointTuple(config, checkpoint, metadata, parent, self._pending_writes(place))

    def _resolve(self, place: Place, row: CheckpointRow) -> tuple[Checkpoint, CheckpointMetadata]:
        """Return a checkpoint with the values that it left to its ancestors, and its metadata."""
        checkpoint, changed, metadata = self.serde.loads_typed((row.kind, row.body))
        values = checkpoint["channel_values"]
        missing = set() if row.whole else set(checkpoint["channel_versions"]).difference(changed)
        ancestor: CheckpointRow | None = row
        while missing and ancestor is not None and ancestor.parent is not None:
            ancestor = self._file.one(place._replace(id=ancestor.parent))
            if ancestor is not None:
                older, changed, _ = self.serde.loads_typed((ancestor.kind, ancestor.body))
                held = set(missing) if ancestor.whole else missing.intersection(changed)
                values.update({key: older["channel_values"][key] for key in held if key in older["channel_values"]})
                missing -= held
        return checkpoint, metadata

    def _pending_writes(self, place: Place) -> _PendingWrites:
        """Return a checkpoint's writes in the order LangGraph applies them.

        The first regular write of a task at an index stays, as a repeated run may store it again; special ones (an
        answer, an interrupt) replace what was there.
        """
        merged: dict[tuple[str, int], tuple[str, str, Any]] = {}
        for row in self._file.writes(place):
            writes = self.serde.loads_typed((row.kind, row.body))
            replaces = all(channel in WRITES_IDX_MAP for _, channel, _ in writes)
            for index, channel, value in writes:
                if replaces or (row.task, index) not in merged:
                    merged[row.task, index] = (row.path, channel, value)
        ordered = sorted(merged, key=lambda key: (merged[key][0], *key))
        return [(task, *merged[task, index][1:]) for task, index in ordered]

    def _dump(self, whole: object, values: Mapping[str, object]) -> tuple[str, bytes]:
        try:
            return self.serde.dumps_typed(whole)
        except Exception as error:  # a value's own hooks (pydantic, dataclass) may raise anything
            raise blame(self.serde, values, error) from error

    # The same, awaited: LangGraph's loop calls these, and a commit is over before another thread could have woken.

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Do what ``get_tuple`` does."""
        return self.get_tuple(config)

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """Do what ``list`` does."""
        for stored in self.list(config, filter=filter, before=before, limit=limit):
            yield stored

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Do what ``put`` does."""
        return self.put(config, checkpoint, metadata, new_versions)

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Do what ``put_writes`` does."""
        self.put_writes(config, writes, task_id, task_path)

    async def adelete_thread(self, thread_id: str) -> None:
        """Do what ``delete_thread`` does."""
        self.delete_thread(thread_id)

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Do what ``delete_for_runs`` does."""
        self.delete_for_runs(run_ids)

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Do what ``copy_thread`` does."""
        self.copy_thread(source_thread_id, target_thread_id)

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Do what ``prune`` does."""
        self.prune(thread_ids, strategy=strategy)


def _config(thread_id: str, ns: str, id_: str) -> RunnableConfig:
    return {"configurable": {"thread_id": thread_id, "checkpoint_ns": ns, "checkpoint_id": id_}}
