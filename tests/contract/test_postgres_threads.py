"""Threads kept in a real PostgreSQL: whole, readable and usable by LangGraph itself, bounded, and never for ever."""

from __future__ import annotations

import operator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

import psycopg
import pytest
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send

from batchyard.decide.forking import ForkPoint
from batchyard.engine.controller import ExecutionController, RunSettings
from batchyard.model.errors import CheckpointsUnavailable, NotKept
from batchyard.model.execution import CheckpointNotFound
from batchyard.testing.state_adapter_conformance import ListeningProbe
from batchyard.workflows.checkpoint_reading import read_history
from batchyard.workflows.langgraph import LangGraphStateAdapter
from batchyard.workflows.postgres_threads import Keeping, PostgresThreads
from batchyard.workflows.thread_copy import import_thread

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

THREAD = "batch-1/plain/one/0#1@1"
KEEPING = Keeping("batch-1", days=30, max_bytes=10_000_000)


class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    facts: dict[str, Any]
    share: float


def ran(name: str) -> Any:
    return lambda _state: {"log": [name]}


def build(_variants: Mapping[str, str]) -> StateGraph[Any]:
    """Return split -> three parts at once -> a subgraph of two nodes -> last."""
    inner = StateGraph(State)
    inner.add_node("weigh", ran("weigh"))
    inner.add_node("choose", ran("choose"))
    inner.add_edge(START, "weigh")
    inner.add_edge("weigh", "choose")
    inner.add_edge("choose", END)
    graph = StateGraph(State)
    graph.add_node("split", lambda _state: {"log": ["split"], "facts": {"of": [1, 2]}, "share": 0.25})
    graph.add_node("part", ran("part"))
    graph.add_node("inner", inner.compile())
    graph.add_node("last", ran("last"))
    graph.add_edge(START, "split")
    graph.add_conditional_edges("split", lambda _state: [Send("part", {}) for _ in range(3)], ["part"])
    graph.add_edge("part", "inner")
    graph.add_edge("inner", "last")
    graph.add_edge("last", END)
    return graph


@pytest.fixture
def adapter(tmp_path: Path) -> Iterator[LangGraphStateAdapter]:
    with closing(LangGraphStateAdapter(build, tmp_path / "worker.db")) as made:
        run(made, THREAD)
        yield made


def run(adapter: LangGraphStateAdapter, thread: str) -> None:
    controller = ExecutionController(adapter, RunSettings(50, "sync"))
    controller.create(thread, {}, {"log": ["asked"]})
    assert controller.run(thread, ListeningProbe()).status == "completed"


def after(adapter: LangGraphStateAdapter, node: str) -> str:
    return next(point.id for point in reversed(adapter.history(THREAD)) if node in point.nodes)


def at(checkpoint: str) -> ForkPoint:
    return ForkPoint("plain/one/0", THREAD, checkpoint)


def counted(url: str, thread: str = THREAD) -> list[int]:
    """Return how many rows the database has of a thread, in each of LangGraph's tables."""
    counting = [
        "SELECT count(*) FROM checkpoints WHERE thread_id = %s",
        "SELECT count(*) FROM checkpoint_blobs WHERE thread_id = %s",
        "SELECT count(*) FROM checkpoint_writes WHERE thread_id = %s",
    ]
    with psycopg.connect(url) as connection:
        found = [connection.execute(statement.encode(), (thread,)).fetchone() for statement in counting]
    return [row[0] for row in found if row]


def test_langgraphs_own_saver_reads_a_kept_thread_as_ours_has_it(
    adapter: LangGraphStateAdapter, postgres_url: str
) -> None:
    PostgresThreads(postgres_url, KEEPING).keep(THREAD, adapter.take_out(THREAD))

    with PostgresSaver.from_conn_string(postgres_url) as theirs:
        kept = [*theirs.list({"configurable": {"thread_id": THREAD}})]
    ours = [*adapter.checkpoints.list({"configurable": {"thread_id": THREAD}})]
    assert len({one.config["configurable"]["checkpoint_ns"] for one in ours}) > 1
    assert [(one.config, one.checkpoint["channel_values"], one.parent_config) for one in kept] == [
        (one.config, one.checkpoint["channel_values"], one.parent_config) for one in ours
    ]
    assert [sorted(map(repr, one.pending_writes or [])) for one in kept] == [
        sorted(map(repr, one.pending_writes or [])) for one in ours
    ]


def test_a_graph_of_langgraphs_own_goes_on_from_a_kept_thread(
    adapter: LangGraphStateAdapter, postgres_url: str
) -> None:
    PostgresThreads(postgres_url, KEEPING).keep(THREAD, adapter.take_out(THREAD))

    with PostgresSaver.from_conn_string(postgres_url) as theirs:
        graph = build({}).compile(checkpointer=theirs)
        boundary = {"thread_id": THREAD, "checkpoint_ns": "", "checkpoint_id": after(adapter, "part")}
        ended = graph.invoke(None, {"configurable": boundary})

    assert ended == adapter.state(THREAD)


def test_a_kept_thread_comes_back_up_to_a_boundary_and_goes_on_there(
    adapter: LangGraphStateAdapter, postgres_url: str, tmp_path: Path
) -> None:
    threads = PostgresThreads(postgres_url, KEEPING)
    threads.keep(THREAD, adapter.take_out(THREAD))
    boundary = after(adapter, "part")

    piece = threads.fetch(at(boundary))

    path = tmp_path / "other.db"
    import_thread(path, piece, "new")
    assert read_history(path, "new") == adapter.history(THREAD)[: len(read_history(path, "new"))]
    with closing(LangGraphStateAdapter(build, path)) as other:
        controller = ExecutionController(other, RunSettings(50, "sync"))
        assert controller.adopt("new", {}).upcoming == ("inner",)
        ended = controller.resume("new", ListeningProbe())
    assert [one.node for one in ended.boundaries] == ["inner", "last"]
    assert ended.state == adapter.state(THREAD)


def test_a_thread_that_is_kept_again_replaces_what_was_there(adapter: LangGraphStateAdapter, postgres_url: str) -> None:
    threads = PostgresThreads(postgres_url, KEEPING)
    threads.keep(THREAD, adapter.take_out(THREAD))
    before = counted(postgres_url)

    threads.keep(THREAD, adapter.take_out(THREAD))

    assert counted(postgres_url) == before
    assert all(before)


def test_what_finds_no_room_leaves_nothing(adapter: LangGraphStateAdapter, postgres_url: str) -> None:
    with pytest.raises(NotKept, match="keepLimit"):
        PostgresThreads(postgres_url, Keeping("batch-1", days=30, max_bytes=1000)).keep(
            THREAD, adapter.take_out(THREAD)
        )

    assert counted(postgres_url) == [0, 0, 0]


def test_a_batch_is_bounded_by_all_that_it_has_kept(adapter: LangGraphStateAdapter, postgres_url: str) -> None:
    second = "batch-1/plain/one/1#1@1"
    run(adapter, second)
    PostgresThreads(postgres_url, KEEPING).keep(THREAD, adapter.take_out(THREAD))
    with psycopg.connect(postgres_url) as connection:
        row = connection.execute("SELECT bytes FROM batchyard_threads").fetchone()
    assert row is not None

    with pytest.raises(NotKept):
        PostgresThreads(postgres_url, Keeping("batch-1", 30, row[0] + 1000)).keep(second, adapter.take_out(second))

    PostgresThreads(postgres_url, Keeping("batch-2", 30, row[0] + 1000)).keep(second, adapter.take_out(second))


def test_only_threads_whose_time_is_over_are_deleted(adapter: LangGraphStateAdapter, postgres_url: str) -> None:
    threads, second = PostgresThreads(postgres_url, KEEPING), "batch-1/plain/one/1#1@1"
    run(adapter, second)
    for thread in (THREAD, second):
        threads.keep(thread, adapter.take_out(thread))
    with PostgresSaver.from_conn_string(postgres_url) as theirs:
        build({}).compile(checkpointer=theirs).invoke({"log": []}, {"configurable": {"thread_id": "an app's own"}})
    with psycopg.connect(postgres_url) as connection:
        connection.execute("UPDATE batchyard_threads SET expires_at = now() WHERE thread_id = %s", (THREAD,))

    threads.tidy()

    assert counted(postgres_url) == [0, 0, 0]
    assert all(counted(postgres_url, second))
    assert all(counted(postgres_url, "an app's own"))


def test_many_that_come_first_make_the_tables_once(adapter: LangGraphStateAdapter, postgres_url: str) -> None:
    with ThreadPoolExecutor(6) as pool:
        done = [*pool.map(lambda _: PostgresThreads(postgres_url, KEEPING).tidy(), range(6))]

    assert len(done) == 6
    PostgresThreads(postgres_url, KEEPING).keep(THREAD, adapter.take_out(THREAD))


def test_a_thread_that_is_not_kept_is_missed(adapter: LangGraphStateAdapter, postgres_url: str) -> None:
    threads = PostgresThreads(postgres_url, KEEPING)
    threads.keep(THREAD, adapter.take_out(THREAD))

    with pytest.raises(CheckpointNotFound, match="not kept"):
        threads.fetch(ForkPoint("plain/two/0", "batch-1/plain/two/0#1@1", after(adapter, "split")))
    with pytest.raises(CheckpointNotFound, match="not kept"):
        threads.fetch(at("0" * 32))


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://someone:hunter2@127.0.0.1:1/none",
        "hunter2 is no url",
        "postgresql://someone:hunter2@127.0.0.1:hunter2/none",
    ],
)
def test_a_database_that_cannot_be_asked_is_told_of_without_its_url(url: str) -> None:
    with pytest.raises(CheckpointsUnavailable) as caught:
        PostgresThreads(url, KEEPING).fetch(at("1"))

    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_what_the_database_refuses_is_told_in_its_words(adapter: LangGraphStateAdapter, postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        connection.execute("CREATE VIEW batchyard_threads AS SELECT 1 AS thread_id")

    with pytest.raises(CheckpointsUnavailable, match="batchyard_threads"):
        PostgresThreads(postgres_url, KEEPING).keep(THREAD, adapter.take_out(THREAD))
