"""The states at a kept thread's node boundaries, as digests: enough to tell whether two are the same.

Nothing of the workflow is imported and no value is made of a class of its own, so a supervisor may read a thread that
it does not trust. Not for showing a state (``workflows.langgraph``).
"""

from __future__ import annotations

import hashlib
import json
import math
from typing import TYPE_CHECKING

import ormsgpack

from batchyard.judge.first_difference import Step
from batchyard.workflows.checkpoint_reading import INTERNAL, number_of, reading

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

    from batchyard.model.trial import JSON

MOST_BYTES = 16 * 1024 * 1024
"""Of a longer thread no state is read."""

_SIZE = "SELECT coalesce(sum(length(body)), 0) FROM checkpoints WHERE thread = ? AND ns = ''"
_ROWS = "SELECT id, parent, step, whole, nodes, kind, body FROM checkpoints WHERE thread = ? AND ns = '' ORDER BY id"
_FIRST_STEP = -1
_MESSAGES = "langchain_core.messages"
_UNORDERED = frozenset({"set", "frozenset"})


def read_steps(path: Path, thread_id: str) -> tuple[Step, ...]:
    """Return every step of a thread with its state; nothing unless all of it is there and can be compared.

    Raises ``StoreError`` if the file is damaged.
    """
    with reading(path) as connection:
        number = None if connection is None else number_of(connection, thread_id)
        if connection is None or number is None or connection.execute(_SIZE, (number,)).fetchone()[0] > MOST_BYTES:
            return ()
        rows = connection.execute(_ROWS, (number,)).fetchall()
    try:
        return _steps(rows)
    except (ValueError, TypeError, KeyError, RecursionError):
        # Encoded by something else than LangGraph's own serializer, or deeper than can be compared.
        return ()


def _steps(rows: list[sqlite3.Row]) -> tuple[Step, ...]:
    steps: list[Step] = []
    state: dict[str, bytes] = {}
    before: str | None = None
    for place, (id_, parent, step, whole, nodes, kind, body) in enumerate(rows, _FIRST_STEP):
        # With a step left out, as by the durability "exit", nobody knows which node a difference comes from.
        if step != place or parent != before or kind != "msgpack":
            return ()
        checkpoint, changed, _ = _unpacked(body)
        values = checkpoint["channel_values"]
        for key in list(state) if whole else changed:
            state.pop(key, None)
        state |= {key: _digest(value) for key, value in values.items() if not INTERNAL.match(key)}
        steps.append(Step(tuple(name for name, _ in json.loads(nodes)) if nodes else (), dict(state)))
        before = id_
    return tuple(steps)


def _digest(value: JSON) -> bytes:
    return hashlib.sha256(_canonical(value).encode("utf-8", "surrogatepass")).digest()


def _canonical(value: JSON) -> str:
    """Return a text that two values share if they are the same: the order of keys does not matter, NaN is NaN."""
    if isinstance(value, dict):
        members = sorted(f"{_canonical(key)}:{_canonical(item)}" for key, item in value.items())
        return f"{{{','.join(members)}}}"
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_canonical, value))}]"
    if isinstance(value, float) and math.isnan(value):
        return "nan"
    return repr(value)


def _unpacked(body: bytes) -> JSON:
    return ormsgpack.unpackb(body, ext_hook=_object, option=ormsgpack.OPT_NON_STR_KEYS)


def _object(code: int, data: bytes) -> str:
    """Return a value of a class as text: its class and what it was made of, without making it."""
    try:
        content = _unpacked(data)
    except ValueError:
        return f"{code}:{data.hex()}"
    match content:
        case ["builtins", str(name), list(items), *_] if name in _UNORDERED:
            return f"{code}:{name}:{sorted(map(_canonical, items))}"
        case [str(module), name, dict(fields), *rest] if module.startswith(_MESSAGES):
            # LangGraph gives a message that has no id a random one.
            return f"{code}:{_canonical([module, name, {**fields, 'id': None}, *rest])}"
        case _:
            return f"{code}:{_canonical(content)}"
