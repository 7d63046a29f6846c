"""What the last task of a step wrote shares the commit of the checkpoint that follows, and is never at risk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from langgraph.checkpoint.base import empty_checkpoint

from batchyard.clock import SystemClock
from batchyard.testing.state_adapter_conformance import ListeningProbe
from batchyard.workflows.checkpoints import RECORDER_KEY, SqliteCheckpoints
from batchyard.workflows.recorder import Recorder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def checkpoints(tmp_path: Path) -> Iterator[SqliteCheckpoints]:
    saver = SqliteCheckpoints(tmp_path / "worker.db")
    yield saver
    saver.close()


def durable_writes(tmp_path: Path, config: Any) -> list[str]:
    """Return the tasks whose writes another process would find now."""
    reader = SqliteCheckpoints(tmp_path / "worker.db")
    try:
        found = reader.get_tuple(config)
        return [task for task, _, _ in (found.pending_writes or [])] if found else []
    finally:
        reader.close()


def test_writes_are_durable_before_another_node_begins(checkpoints: SqliteCheckpoints, tmp_path: Path) -> None:
    recorder = Recorder(ListeningProbe(), SystemClock(), checkpoints.settle)
    config: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": "", RECORDER_KEY: recorder}}
    at = checkpoints.put(config, empty_checkpoint(), {"source": "loop", "step": 0}, {})
    at["configurable"][RECORDER_KEY] = recorder
    recorder.leave(recorder.enter("first", 1, "task-1"), "completed")

    checkpoints.put_writes(at, [("x", 1)], "task-1")
    before = durable_writes(tmp_path, at)
    recorder.enter("second", 1, "task-2")

    assert before == []
    assert durable_writes(tmp_path, at) == ["task-1"]


def test_writes_are_durable_at_once_while_a_sibling_runs(checkpoints: SqliteCheckpoints, tmp_path: Path) -> None:
    recorder = Recorder(ListeningProbe(), SystemClock(), checkpoints.settle)
    config: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": "", RECORDER_KEY: recorder}}
    at = checkpoints.put(config, empty_checkpoint(), {"source": "loop", "step": 0}, {})
    at["configurable"][RECORDER_KEY] = recorder
    recorder.enter("sibling", 1, "task-2")

    checkpoints.put_writes(at, [("x", 1)], "task-1")

    assert durable_writes(tmp_path, at) == ["task-1"]


def test_writes_that_led_to_a_checkpoint_are_still_its_parents(checkpoints: SqliteCheckpoints, tmp_path: Path) -> None:
    recorder = Recorder(ListeningProbe(), SystemClock(), checkpoints.settle)
    config: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": "", RECORDER_KEY: recorder}}
    at = checkpoints.put(config, empty_checkpoint(), {"source": "loop", "step": 0}, {})
    at["configurable"][RECORDER_KEY] = recorder

    checkpoints.put_writes(at, [("x", 1)], "task-1")
    child = checkpoints.put(at, empty_checkpoint(), {"source": "loop", "step": 1}, {})

    assert durable_writes(tmp_path, at) == ["task-1"]
    assert durable_writes(tmp_path, child) == []
