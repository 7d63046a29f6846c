"""The checkpoint file gives LangGraph back what it was given, holds little, and can be read without LangGraph."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from langgraph.checkpoint.base import Checkpoint, CheckpointTuple, empty_checkpoint

from batchyard.clock import SystemClock
from batchyard.model.errors import StoreError
from batchyard.testing.state_adapter_conformance import ListeningProbe
from batchyard.workflows.checkpoint_file import CheckpointFile, read_boundaries
from batchyard.workflows.checkpoints import RECORDER_KEY, SqliteCheckpoints
from batchyard.workflows.recorder import Recorder
from batchyard.workflows.unstorable import StateNotSerialisable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from langchain_core.runnables import RunnableConfig


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "worker" / "checkpoints.db"


@pytest.fixture
def saver(path: Path) -> Iterator[SqliteCheckpoints]:
    opened = SqliteCheckpoints(path)
    yield opened
    opened.close()


def at(thread: str = "t", checkpoint: str | None = None, ns: str = "") -> RunnableConfig:
    return {"configurable": {"thread_id": thread, "checkpoint_ns": ns, "checkpoint_id": checkpoint}}


def a_checkpoint(number: int, values: Mapping[str, Any], versions: Mapping[str, int] | None = None) -> Checkpoint:
    made = empty_checkpoint()
    made["id"] = f"{number:04d}"
    made["channel_values"] = dict(values)
    made["channel_versions"] = dict(versions or dict.fromkeys(values, 1))
    return made


def store(
    saver: SqliteCheckpoints,
    number: int,
    values: Mapping[str, Any],
    versions: Mapping[str, int] | None = None,
    *,
    config: RunnableConfig | None = None,
    run: str = "",
) -> RunnableConfig:
    made = a_checkpoint(number, values, versions)
    metadata: Any = {"source": "loop", "step": number, **({"run_id": run} if run else {})}
    return saver.put(config or at(), made, metadata, made["channel_versions"])


def values_of(stored: CheckpointTuple | None) -> dict[str, Any]:
    assert stored is not None
    return stored.checkpoint["channel_values"]


def test_values_that_a_checkpoint_shares_with_its_ancestors_are_found_there(saver: SqliteCheckpoints) -> None:
    first = store(saver, 1, {"a": "old", "b": "kept"}, {"a": 1, "b": 1})
    second = store(saver, 2, {"a": "new", "b": "kept"}, {"a": 2, "b": 1}, config=first)
    third = store(saver, 3, {"a": "new", "b": "kept", "c": "more"}, {"a": 2, "b": 1, "c": 1}, config=second)

    assert values_of(saver.get_tuple(third)) == {"a": "new", "b": "kept", "c": "more"}
    assert values_of(saver.get_tuple(second)) == {"a": "new", "b": "kept"}
    assert values_of(saver.get_tuple(first)) == {"a": "old", "b": "kept"}


def test_a_channel_that_was_emptied_is_not_filled_from_an_ancestor(saver: SqliteCheckpoints) -> None:
    first = store(saver, 1, {"a": 1, "signal": "go"}, {"a": 1, "signal": 1})
    second = store(saver, 2, {"a": 1}, {"a": 1, "signal": 2}, config=first)
    third = store(saver, 3, {"a": 2}, {"a": 2, "signal": 2}, config=second)

    assert values_of(saver.get_tuple(third)) == {"a": 2}


def test_a_value_that_comes_or_goes_without_a_new_version_is_noticed(saver: SqliteCheckpoints) -> None:
    first = store(saver, 1, {"a": 1}, {"a": 1, "b": 1})
    second = store(saver, 2, {"a": 1, "b": 2}, {"a": 1, "b": 1}, config=first)
    third = store(saver, 3, {"b": 2}, {"a": 1, "b": 1}, config=second)

    assert values_of(saver.get_tuple(second)) == {"a": 1, "b": 2}
    assert values_of(saver.get_tuple(third)) == {"b": 2}


def test_branches_from_one_checkpoint_keep_their_own_values(saver: SqliteCheckpoints) -> None:
    root = store(saver, 1, {"a": "root", "b": "root"}, {"a": 1, "b": 1})
    left = store(saver, 2, {"a": "left", "b": "root"}, {"a": 2, "b": 1}, config=root)
    right = store(saver, 3, {"a": "right", "b": "root"}, {"a": 2, "b": 1}, config=root)
    leaf = store(saver, 4, {"a": "left", "b": "leaf"}, {"a": 2, "b": 2}, config=left)

    assert values_of(saver.get_tuple(right)) == {"a": "right", "b": "root"}
    assert values_of(saver.get_tuple(leaf)) == {"a": "left", "b": "leaf"}


def test_a_big_value_is_stored_once_however_many_checkpoints_follow(path: Path) -> None:
    saver = SqliteCheckpoints(path)
    config = at()
    for number in range(50):
        config = store(saver, number, {"big": "x" * 100_000, "n": number}, {"big": 1, "n": number}, config=config)

    saver.close()

    assert path.stat().st_size < 400_000


def test_a_file_that_was_closed_can_be_gone_on_with(path: Path) -> None:
    saver = SqliteCheckpoints(path)
    first = store(saver, 1, {"a": 1, "b": 1})
    saver.close()

    with closing(SqliteCheckpoints(path)) as again:
        second = store(again, 2, {"a": 2, "b": 1}, {"a": 2, "b": 1}, config=first)

        assert values_of(again.get_tuple(second)) == {"a": 2, "b": 1}
        assert values_of(again.get_tuple(first)) == {"a": 1, "b": 1}


@dataclass
class Document:
    title: str


@pytest.mark.parametrize("value", [{1: "int key"}, {1, 2}, b"bytes", Document("x"), None, 1.5, "größer 🙂"])
def test_values_of_every_kind_come_back(saver: SqliteCheckpoints, value: Any) -> None:
    assert values_of(saver.get_tuple(store(saver, 1, {"a": value}))) == {"a": value}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"ok": 1, "a": threading.Lock()}, '"a" holds a _thread.lock, which cannot be stored: Type is not msgpack'),
        ({"a": {"b": [1, {"c": lambda: None}]}}, r'"a\.b\[1\]\.c" holds a function'),
        ({"a": 2**70}, '"a" holds a int, .* Integer exceeds 64-bit range'),
        ({"a": [object()]}, r'"a\[0\]" holds a object'),
    ],
)
def test_what_cannot_be_stored_is_named(saver: SqliteCheckpoints, values: dict[str, Any], said: str) -> None:
    with pytest.raises(StateNotSerialisable, match=said):
        store(saver, 1, values)

    assert saver.get_tuple(at()) is None


def test_a_write_that_cannot_be_stored_is_blamed_on_its_task(saver: SqliteCheckpoints) -> None:
    recorder = Recorder(ListeningProbe(), SystemClock())
    config = store(saver, 1, {"a": 1})
    config["configurable"][RECORDER_KEY] = recorder

    with pytest.raises(StateNotSerialisable, match='"b" holds'):
        saver.put_writes(config, [("a", 1), ("b", threading.Lock())], "task-1")

    assert recorder.culprits == {"b": "task-1"}


def test_pending_writes_come_in_the_order_they_are_applied(saver: SqliteCheckpoints) -> None:
    config = store(saver, 1, {"a": 1})
    saver.put_writes(config, [("x", 1), ("y", 2)], "task-1", "path-b")
    saver.put_writes(config, [("z", 3)], "task-2", "path-a")

    stored = saver.get_tuple(config)

    assert stored is not None
    assert stored.pending_writes == [("task-2", "z", 3), ("task-1", "x", 1), ("task-1", "y", 2)]


def test_a_write_stored_again_changes_nothing_but_an_answer_does(saver: SqliteCheckpoints) -> None:
    config = store(saver, 1, {"a": 1})
    saver.put_writes(config, [("x", "first")], "task")
    saver.put_writes(config, [("x", "again")], "task")
    saver.put_writes(config, [("__resume__", "no")], "task")
    saver.put_writes(config, [("__resume__", "yes")], "task")

    stored = saver.get_tuple(config)

    assert stored is not None
    assert sorted(stored.pending_writes or []) == [("task", "__resume__", "yes"), ("task", "x", "first")]


def test_list_filters_by_metadata_before_and_limit(saver: SqliteCheckpoints) -> None:
    config = at()
    for number in range(6):
        config = store(
            saver, number, {"a": number}, {"a": number}, config=config, run="even" if number % 2 == 0 else "odd"
        )

    def found(**options: Any) -> list[str]:
        return [stored.checkpoint["id"] for stored in saver.list({"configurable": {"thread_id": "t"}}, **options)]

    assert found(filter={"run_id": "odd"}) == ["0005", "0003", "0001"]
    assert found(before=at(checkpoint="0003")) == ["0002", "0001", "0000"]
    assert found(filter={"run_id": "even"}, limit=2) == ["0004", "0002"]
    assert found(limit=0) == []


def test_what_leans_on_a_deleted_checkpoint_keeps_its_values(saver: SqliteCheckpoints) -> None:
    first = store(saver, 1, {"a": 1, "b": 1}, {"a": 1, "b": 1}, run="doomed")
    second = store(saver, 2, {"a": 2, "b": 1}, {"a": 2, "b": 1}, config=first, run="doomed")
    third = store(saver, 3, {"a": 3, "b": 1}, {"a": 3, "b": 1}, config=second)
    fourth = store(saver, 4, {"a": 4, "b": 1}, {"a": 4, "b": 1}, config=third)

    saver.delete_for_runs(["doomed"])

    assert saver.get_tuple(first) is saver.get_tuple(second) is None
    assert values_of(saver.get_tuple(third)) == {"a": 3, "b": 1}
    assert values_of(saver.get_tuple(fourth)) == {"a": 4, "b": 1}


def test_pruning_keeps_the_newest_of_each_namespace_whole(saver: SqliteCheckpoints) -> None:
    config = at()
    for number in range(3):
        config = store(saver, number, {"a": number, "b": "kept"}, {"a": number, "b": 1}, config=config)
    inner = store(saver, 1, {"c": 1}, config=at(ns="sub:1"))

    saver.prune(["t"])

    assert [stored.checkpoint["id"] for stored in saver.list({"configurable": {"thread_id": "t"}})] == ["0002", "0001"]
    assert values_of(saver.get_tuple(config)) == {"a": 2, "b": "kept"}
    assert values_of(saver.get_tuple(inner)) == {"c": 1}


def test_pruning_by_an_unknown_strategy_is_refused(saver: SqliteCheckpoints) -> None:
    with pytest.raises(ValueError, match="there are keep_latest and delete"):
        saver.prune(["t"], strategy="oldest")


def test_a_copied_thread_lives_without_its_source(saver: SqliteCheckpoints) -> None:
    first = store(saver, 1, {"a": 1, "b": 1}, {"a": 1, "b": 1})
    second = store(saver, 2, {"a": 2, "b": 1}, {"a": 2, "b": 1}, config=first)
    saver.put_writes(second, [("a", 3)], "task")

    saver.copy_thread("t", "copy")
    saver.delete_thread("t")

    copied = saver.get_tuple(at("copy"))
    assert values_of(copied) == {"a": 2, "b": 1}
    assert copied is not None
    assert copied.pending_writes == [("task", "a", 3)]
    assert saver.get_tuple(at()) is None


def test_forgotten_threads_are_gone_and_others_stay(saver: SqliteCheckpoints) -> None:
    for thread in ("a", "b", "c"):
        saver.put_writes(store(saver, 1, {"x": thread}, config=at(thread)), [("x", 1)], "task")

    saver.forget(["a", "c", "never"])

    assert [saver.knows(thread) for thread in ("a", "b", "c")] == [False, True, False]
    assert values_of(saver.get_tuple(at("b"))) == {"x": "b"}
    assert values_of(saver.get_tuple(store(saver, 1, {"x": "new"}, config=at("a")))) == {"x": "new"}


def test_forgetting_makes_room_for_what_follows(path: Path) -> None:
    saver = SqliteCheckpoints(path)
    for number in range(300):
        store(saver, 1, {"a": "x" * 2000, "b": number}, config=at(f"thread-{number}"))
        saver.forget([f"thread-{number - 1}"])

    saver.close()

    assert path.stat().st_size < 200_000


def test_threads_that_store_at_once_do_not_mix(saver: SqliteCheckpoints) -> None:
    def work(name: str) -> None:
        config = at(name)
        for number in range(40):
            config = store(saver, number, {"a": name, "n": number}, {"a": 1, "n": number}, config=config)
            saver.put_writes(config, [("n", number)], name)

    workers = [threading.Thread(target=work, args=(f"t{index}",)) for index in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)

    for index in range(6):
        found = list(saver.list({"configurable": {"thread_id": f"t{index}"}}))
        assert [stored.checkpoint["channel_values"] for stored in reversed(found)] == [
            {"a": f"t{index}", "n": number} for number in range(40)
        ]
        assert all(stored.pending_writes == [(f"t{index}", "n", values_of(stored)["n"])] for stored in found)


def test_a_subgraphs_checkpoints_are_apart_from_its_parents(saver: SqliteCheckpoints) -> None:
    store(saver, 1, {"a": "outer"})
    store(saver, 2, {"a": "inner"}, config=at(ns="sub:1"))

    assert values_of(saver.get_tuple(at())) == {"a": "outer"}
    assert values_of(saver.get_tuple(at(ns="sub:1"))) == {"a": "inner"}


def test_the_file_survives_a_process_but_waits_for_no_disk(path: Path, saver: SqliteCheckpoints) -> None:
    store(saver, 1, {"a": 1})

    with closing(sqlite3.connect(path)) as reader:
        assert reader.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert reader.execute("SELECT count(*) FROM checkpoints").fetchone() == (1,)


def test_a_file_of_another_version_is_refused(path: Path) -> None:
    CheckpointFile(path).close()
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA user_version = 99")

    with pytest.raises(StoreError, match=r"version 99.*remove it or choose another"):
        SqliteCheckpoints(path)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(StoreError, match=r"cannot be opened.*choose another folder"):
        SqliteCheckpoints(tmp_path / "file" / "checkpoints.db")


def test_boundaries_can_be_read_without_reading_a_state(path: Path, saver: SqliteCheckpoints) -> None:
    recorder = Recorder(ListeningProbe(), SystemClock())
    config = at()
    for number, node in enumerate(["", "one", "two"]):
        if node:
            recorder.leave(recorder.enter(node, number, node), "completed")
        config["configurable"][RECORDER_KEY] = recorder
        config = store(saver, number, {"a": number}, {"a": number}, config=config)
    with closing(sqlite3.connect(path)) as vandal:
        vandal.execute("UPDATE checkpoints SET body = x'ff'")
        vandal.commit()

    one, two = read_boundaries(path, "t")

    assert (one.node, one.status, one.entry_checkpoint, one.exit_checkpoint, one.step) == (
        "one",
        "completed",
        "0000",
        "0001",
        1,
    )
    assert (two.node, two.entry_checkpoint, two.exit_checkpoint) == ("two", "0001", "0002")


def test_there_are_no_boundaries_where_nothing_was_stored(path: Path, tmp_path: Path) -> None:
    assert read_boundaries(path, "t") == ()
    (tmp_path / "empty.db").touch()
    assert read_boundaries(tmp_path / "empty.db", "t") == ()
    CheckpointFile(path).close()
    assert read_boundaries(path, "t") == ()


def test_boundaries_of_a_damaged_file_are_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "bad.db").write_text("no database at all " * 100)

    with pytest.raises(StoreError, match=r"bad\.db cannot be read"):
        read_boundaries(tmp_path / "bad.db", "t")
