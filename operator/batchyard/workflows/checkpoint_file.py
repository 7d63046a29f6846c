"""The file a worker keeps its checkpoints in: tables and queries, and what can be read of it after a kill.

Needs no workflow framework, so that the process that supervises workers can read a dead one's boundaries cheaply.
Not for the states themselves: here they are blobs, which ``workflows.checkpoints`` writes and reads.
"""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from batchyard.model.trial import NodeBoundary
from batchyard.workflows.checkpoint_reading import history_of, reading
from batchyard.workflows.checkpoint_tables import open_file
from batchyard.workflows.thread_copy import insert_piece

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from batchyard.model.execution import Checkpoint

_REMEMBERED = 128
"""How many threads' numbers are kept in memory; forgetting one costs a lookup, no more."""

_PUT = """
INSERT INTO checkpoints
(thread, ns, id, parent, step, whole, run, nodes, kind, body, files, upcoming, led_task, led_path, led_kind,
led_body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (thread, ns, id) DO UPDATE SET parent = excluded.parent, step = excluded.step, whole = excluded.whole,
run = excluded.run, nodes = excluded.nodes, kind = excluded.kind, body = excluded.body, files = excluded.files
"""
_PUT_WRITES = "INSERT INTO writes (thread, ns, checkpoint, task, path, kind, body) VALUES (?, ?, ?, ?, ?, ?, ?)"
_ONE = (
    "SELECT parent, step, whole, run, nodes, kind, body, files FROM checkpoints WHERE thread = ? AND ns = ? AND id = ?"
)
_NEWEST = "SELECT id FROM checkpoints WHERE thread = ? AND ns = ? ORDER BY id DESC LIMIT 1"
_WRITES = "SELECT task, path, kind, body FROM writes WHERE thread = ? AND ns = ? AND checkpoint = ? ORDER BY rowid"
_LED = """
SELECT led_task, led_path, led_kind, led_body FROM checkpoints
WHERE thread = ? AND ns = ? AND parent = ? AND led_task IS NOT NULL ORDER BY id
"""
_CHILDREN = "SELECT id FROM checkpoints WHERE thread = ? AND ns = ? AND parent = ? AND NOT whole"
_NOTHING = (None, None, None, None)
_AFTER_ALL = "~"  # sorts after every id, which are hexadecimal
_BOUNDARIES = """
SELECT c.id, c.parent, c.step, c.nodes FROM checkpoints AS c JOIN threads AS t ON t.number = c.thread
WHERE t.name = ? AND c.ns = '' AND c.nodes <> '' ORDER BY c.id
"""


class Place(NamedTuple):
    """What names a checkpoint: the thread's number, the namespace and the id."""

    thread: int
    ns: str
    id: str


class CheckpointRow(NamedTuple):
    """A checkpoint's columns but for its place; ``upcoming`` stays as it is when a checkpoint is replaced."""

    parent: str | None
    step: int | None
    whole: bool
    run: str | None
    nodes: str
    kind: str
    body: bytes
    files: str | None = None
    upcoming: str | None = None


class WritesRow(NamedTuple):
    """What one task wrote on a checkpoint."""

    task: str
    path: str
    kind: str
    body: bytes


class CheckpointFile:
    """A checkpoint file and its one writer. Safe to call from any thread; each change is a commit of its own.

    ``synchronous=NORMAL``: what is committed survives the death of the process, though not always a power cut.
    """

    def __init__(self, path: Path) -> None:
        """Open the file, making it if it is not there. Raises ``StoreError``."""
        self._connection = open_file(path)
        self._lock = threading.RLock()  # guards all below; taken by every public method
        self._numbers: dict[str, int] = {}
        self._held: list[tuple[str, tuple[object, ...]]] = []

    def close(self) -> None:
        """Close the file."""
        with self._settled():
            self._connection.close()

    def settle(self) -> None:
        """Commit the writes that are held, if any."""
        if self._held:
            with self._lock, self.transaction():
                pass

    @contextmanager
    def _settled(self) -> Iterator[None]:
        """Hold the lock, with nothing held back from the connection."""
        with self._lock:
            self.settle()
            yield

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make what is held and what is done inside one commit, all or nothing; other threads wait."""
        with self._lock:
            held, self._held = self._held, []
            self._connection.execute("BEGIN IMMEDIATE")
            for thread_id, row in held:
                self._connection.execute(_PUT_WRITES, (self._number_for(thread_id), *row))
            try:
                yield
            except BaseException:
                self._connection.execute("ROLLBACK")
                self._numbers.clear()
                raise
            self._connection.execute("COMMIT")

    def number(self, thread_id: str) -> int | None:
        """Return the number the file knows a thread by, or None."""
        number = self._numbers.get(thread_id)
        if number is not None:
            return number
        with self._lock:
            row = self._connection.execute("SELECT number FROM threads WHERE name = ?", (thread_id,)).fetchone()
            return None if row is None else self._remember(thread_id, row[0])

    def put(self, thread_id: str, ns: str, id_: str, row: CheckpointRow) -> None:
        """Store a checkpoint, in place of one with the same place."""
        with self._lock:
            self._insert(thread_id, _PUT, (ns, id_, *row, *self._led_to(thread_id, ns, row.parent)))

    def replace(self, place: Place, row: CheckpointRow) -> None:
        """Store a checkpoint in place of the one that is there."""
        with self._settled():
            self._connection.execute(_PUT, (*place, *row, *_NOTHING))

    def put_writes(self, thread_id: str, ns: str, checkpoint: str, row: WritesRow) -> None:
        """Add what one task wrote."""
        self._insert(thread_id, _PUT_WRITES, (ns, checkpoint, *row))

    def hold_writes(self, thread_id: str, ns: str, checkpoint: str, row: WritesRow) -> None:
        """Add what one task wrote with the next commit, which the caller says follows at once, or ``settle``."""
        with self._lock:
            self._held.append((thread_id, (ns, checkpoint, *row)))

    def one(self, place: Place) -> CheckpointRow | None:
        """Return a checkpoint."""
        with self._settled():
            row = self._connection.execute(_ONE, place).fetchone()
        return None if row is None else CheckpointRow(*row)

    def newest(self, thread: int, ns: str) -> Place | None:
        """Return the newest checkpoint of a namespace."""
        with self._settled():
            row = self._connection.execute(_NEWEST, (thread, ns)).fetchone()
        return None if row is None else Place(thread, ns, row[0])

    def writes(self, place: Place) -> list[WritesRow]:
        """Return what tasks wrote on a checkpoint, in the order it was stored."""
        with self._settled():
            own = self._connection.execute(_WRITES, place).fetchall()
            return [WritesRow(*row) for row in own + self._connection.execute(_LED, place).fetchall()]

    def leaning_on(self, place: Place) -> list[Place]:
        """Return the checkpoints that are not whole without this one."""
        with self._settled():
            rows = self._connection.execute(_CHILDREN, place).fetchall()
        return [Place(place.thread, place.ns, row[0]) for row in rows]

    def places(
        self,
        *,
        thread_id: str | None = None,
        ns: str | None = None,
        id_: str | None = None,
        before: str | None = None,
        run: str | None = None,
    ) -> list[tuple[str, Place]]:
        """Return every checkpoint that fits, newest first, each with its thread's id."""
        wanted = {"t.name = ?": thread_id, "c.ns = ?": ns, "c.id = ?": id_, "c.id < ?": before, "c.run = ?": run}
        terms = {term: value for term, value in wanted.items() if value is not None}
        where = f"WHERE {' AND '.join(terms)}" if terms else ""
        query = (
            "SELECT t.name, c.thread, c.ns, c.id FROM checkpoints AS c JOIN threads AS t ON t.number = c.thread "  # noqa: S608 - fixed terms, bound values
            f"{where} ORDER BY c.id DESC"
        )
        with self._settled():
            rows = self._connection.execute(query, tuple(terms.values())).fetchall()
        return [(name, Place(*place)) for name, *place in rows]

    def history(self, thread_id: str) -> tuple[Checkpoint, ...]:
        """Return a thread's top-level checkpoints, oldest first, without reading a state."""
        with self._settled():
            return history_of(self._connection, self.number(thread_id))

    def note_upcoming(self, thread_id: str, checkpoint_id: str, nodes: Sequence[str]) -> None:
        """Keep which nodes a run that ended at this top-level checkpoint would have run next."""
        with self._settled():
            self._set_upcoming(self.number(thread_id), checkpoint_id, nodes)

    def forget(self, thread_ids: Iterable[str]) -> None:
        """Delete everything of these threads in one commit; unknown ones are passed over."""
        with self.transaction():
            for thread_id in thread_ids:
                number = (self.number(thread_id),)
                self._connection.execute("DELETE FROM writes WHERE thread = ?", number)
                self._connection.execute("DELETE FROM checkpoints WHERE thread = ?", number)
                self._connection.execute("DELETE FROM threads WHERE number = ?", number)
                self._numbers.pop(thread_id, None)

    def delete(self, places: Iterable[Place]) -> None:
        """Delete checkpoints and what was written on them."""
        for place in places:
            self._connection.execute("DELETE FROM checkpoints WHERE thread = ? AND ns = ? AND id = ?", place)
            self._connection.execute("DELETE FROM writes WHERE thread = ? AND ns = ? AND checkpoint = ?", place)

    def copy(self, source: str, target: str, *, up_to: str | None = None) -> None:
        """Add all that ``source`` has to ``target`` in one commit: up to a top-level checkpoint, if one is named.

        Ids rise with time, in subgraphs' namespaces too, so what is older than the checkpoint led to it. What was
        written on it belongs to the step after it and is not copied.
        """
        number = self.number(source)
        if number is None:
            return
        upcoming = self._upcoming(source, up_to)
        with self.transaction():
            copied = self._number_for(target)
            last = up_to or _AFTER_ALL
            self._connection.execute(
                "INSERT OR REPLACE INTO checkpoints SELECT ?, ns, id, parent, step, whole, run, nodes, upcoming, kind, "
                "body, led_task, led_path, led_kind, led_body, files FROM checkpoints WHERE thread = ? AND id <= ?",
                (copied, number, last),
            )
            self._connection.execute(
                "INSERT INTO writes SELECT ?, ns, checkpoint, task, path, kind, body FROM writes WHERE thread = ? "
                "AND checkpoint < ? ORDER BY rowid",
                (copied, number, last),
            )
            self._set_upcoming(copied, up_to, upcoming)

    def take_in(self, thread_id: str, piece: bytes) -> None:
        """Add a thread that ``thread_copy`` took out of another file, in one commit. Raises ``StoreError``."""
        with self.transaction():
            insert_piece(self._connection, self._number_for(thread_id), piece)

    def roll_back(self, thread_id: str, checkpoint: str) -> None:
        """Delete all that a thread has after a top-level checkpoint, and what was written on it, in one commit."""
        number, upcoming = self.number(thread_id), self._upcoming(thread_id, checkpoint)
        with self.transaction():
            self._connection.execute("DELETE FROM checkpoints WHERE thread = ? AND id > ?", (number, checkpoint))
            self._connection.execute("DELETE FROM writes WHERE thread = ? AND checkpoint >= ?", (number, checkpoint))
            self._set_upcoming(number, checkpoint, upcoming)

    def _upcoming(self, thread_id: str, checkpoint: str | None) -> tuple[str, ...]:
        return next((point.next for point in self.history(thread_id) if point.id == checkpoint), ())

    def _set_upcoming(self, thread: int | None, checkpoint: str | None, nodes: Sequence[str]) -> None:
        self._connection.execute(
            "UPDATE checkpoints SET upcoming = ? WHERE thread = ? AND ns = '' AND id = ?",
            (json.dumps(list(nodes)), thread, checkpoint),
        )

    def _led_to(self, thread_id: str, ns: str, parent: str | None) -> tuple[object, ...]:
        """Take the one write that is held, if it was made on this parent."""
        if len(self._held) != 1:
            return _NOTHING
        held_thread, (held_ns, checkpoint, *row) = self._held[0]
        if (held_thread, held_ns, checkpoint) != (thread_id, ns, parent):
            return _NOTHING
        self._held.clear()
        return tuple(row)

    def _insert(self, thread_id: str, statement: str, row: tuple[object, ...]) -> None:
        with self._lock:
            number = None if self._held else self._numbers.get(thread_id)
            if number is not None:
                self._connection.execute(statement, (number, *row))
                return
            with self.transaction():
                self._connection.execute(statement, (self._number_for(thread_id), *row))

    def _number_for(self, thread_id: str) -> int:
        """Return a thread's number, giving it one if it is new; inside a transaction."""
        number = self.number(thread_id)
        if number is None:
            self._connection.execute("INSERT INTO threads (name) VALUES (?)", (thread_id,))
            number = self._connection.execute("SELECT last_insert_rowid()").fetchone()[0]
        return self._remember(thread_id, number)

    def _remember(self, thread_id: str, number: int) -> int:
        if len(self._numbers) >= _REMEMBERED:
            self._numbers.clear()
        self._numbers[thread_id] = number
        return number


def read_boundaries(path: Path, thread_id: str) -> tuple[NodeBoundary, ...]:
    """Return the node boundaries that a run completed, in order, from a file whose writer may be dead.

    Reads plain columns only: nothing of the workflow's state is deserialised. Empty if the file or the thread is
    not there. The node that was running when the writer died is not known here.

    Raises:
        StoreError: If the file is damaged.
    """
    with reading(path) as connection:
        rows = [] if connection is None else connection.execute(_BOUNDARIES, (thread_id,)).fetchall()
    return tuple(
        NodeBoundary(node, "completed", seconds, entry_checkpoint=parent, exit_checkpoint=id_, step=step)
        for id_, parent, step, nodes in rows
        for node, seconds in json.loads(nodes)
    )
