"""What a factory may give the LangGraph adapter, what it is refused, and what each kind of failure is called."""

from __future__ import annotations

import asyncio
import operator
import threading
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

import pytest
from langchain_core.runnables.config import var_child_runnable_config
from langgraph.cache.memory import InMemoryCache
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_config
from langgraph.func import entrypoint
from langgraph.graph import START, StateGraph
from langgraph.store.memory import InMemoryStore
from langgraph.types import CachePolicy
from pydantic import BaseModel

from batchyard.model.errors import StoreError, WorkflowInvalid
from batchyard.model.outcome import Reason
from batchyard.testing.state_adapter_conformance import ListeningProbe, run
from batchyard.workflows.langgraph import LangGraphStateAdapter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from langgraph.store.base import BaseStore

    AdapterOf = Callable[[Any], LangGraphStateAdapter]


class State(TypedDict, total=False):
    count: int
    held: Any
    log: Annotated[list[Any], operator.add]


@pytest.fixture
def adapter_of(tmp_path: Path) -> Iterator[AdapterOf]:
    """Make an adapter of a factory, or of a graph that the factory shall return."""
    made: list[LangGraphStateAdapter] = []

    def make(factory: Any) -> LangGraphStateAdapter:
        is_factory = callable(factory) or isinstance(factory, str)
        adapter = LangGraphStateAdapter(
            factory if is_factory else lambda _: factory, tmp_path / f"{len(made)}.db", tmp_path
        )
        made.append(adapter)
        return adapter

    yield make
    for adapter in made:
        adapter.close()


def chain(*nodes: Any) -> StateGraph[Any]:
    return StateGraph(State).add_sequence([(f"n{i}", node) for i, node in enumerate(nodes)]).add_edge(START, "n0")


def plain(state: State) -> State:
    return {"count": state["count"] + 1}


def add(factor: str, state: State) -> State:
    return {"count": state["count"] + int(factor)}


@pytest.mark.proves("node-variants")
def test_each_combination_has_a_graph_of_its_own(adapter_of: AdapterOf) -> None:
    def factory(variants: Mapping[str, str]) -> StateGraph[Any]:
        return chain(lambda state: add(variants["by"], state))

    adapter = adapter_of(factory)

    counts = [
        adapter.run(
            adapter.prepare({"by": by}), by, {"count": 0}, probe=ListeningProbe(), recursion_limit=9, durability="sync"
        ).state["count"]
        for by in ("1", "10")
    ]

    assert counts == [1, 10]


def test_each_run_sees_its_own_thread_and_leaves_none_behind(adapter_of: AdapterOf) -> None:
    adapter = adapter_of(chain(lambda _: {"held": get_config()["configurable"]["thread_id"]}))

    seen = [run(adapter, thread).state["held"] for thread in ("first", "second")]

    assert seen == ["first", "second"]
    assert var_child_runnable_config.get() is None


def test_a_cache_policy_does_not_mix_variants_up(adapter_of: AdapterOf) -> None:
    def factory(variants: Mapping[str, str]) -> StateGraph[Any]:
        graph = StateGraph(State).add_edge(START, "n")
        return graph.add_node("n", lambda state: add(variants["by"], state), cache_policy=CachePolicy())

    adapter = adapter_of(factory)
    counts = []
    for by in ("1", "10"):
        workflow = adapter.prepare({"by": by})
        output = adapter.run(workflow, by, {"count": 0}, probe=ListeningProbe(), recursion_limit=9, durability="sync")
        counts.append(output.state["count"])

    assert counts == [1, 10]


def test_a_compiled_graph_is_compiled_anew_with_our_checkpoints_and_its_own_store(adapter_of: AdapterOf) -> None:
    def keep(state: State, *, store: BaseStore) -> State:
        store.put(("seen",), "count", {"count": state["count"]})
        return {}

    theirs, store = InMemorySaver(), InMemoryStore()
    adapter = adapter_of(chain(keep).compile(checkpointer=theirs, store=store, cache=InMemoryCache()))

    output = adapter.run(
        adapter.prepare({}), "t", {"count": 4}, probe=ListeningProbe(), recursion_limit=9, durability="sync"
    )

    assert output.status == "completed", output.message
    assert (adapter.history("t") != (), list(theirs.list(None))) == (True, [])
    assert [item.value for item in store.search(("seen",))] == [{"count": 4}]


def test_a_subgraph_with_a_cache_is_refused(adapter_of: AdapterOf) -> None:
    adapter = adapter_of(chain(chain(plain).compile(cache=InMemoryCache())))

    with pytest.raises(WorkflowInvalid, match=r'subgraph "n0" .* node cache'):
        adapter.prepare({})


@entrypoint()
def functional(_: int) -> int:
    return 1


async def later(_: Mapping[str, str]) -> StateGraph[Any]:
    return chain(plain)


def broken(_: Mapping[str, str]) -> StateGraph[Any]:
    raise LookupError("no such retriever")


@pytest.mark.parametrize(
    ("factory", "said"),
    [
        (lambda _: chain(plain).compile(interrupt_before=["n0"]), r"compiled to be held at nodes; .* interrupt\(\)"),
        (lambda _: functional, "returned a Pregel that is not made of a StateGraph"),
        (lambda _: {"nodes": []}, "returned a dict; it must return a StateGraph"),
        (lambda _: None, "returned a NoneType"),
        (later, 'factory "later" is asynchronous; make it a plain function'),
        (lambda: chain(plain), "cannot be called with the variants: too many positional arguments; give it exactly"),
        (lambda _, more: chain(plain), "cannot be called with the variants: missing a required argument"),
        (broken, r'"broken" raised LookupError: no such retriever \(.*raise LookupError.*variants {.a.: .1.}'),
        (lambda _: StateGraph(State).add_node("n", plain), "does not compile: ValueError: .*entrypoint"),
        ("no_such_module:build", 'no module "no_such_module" in .*workflow.source.path'),
    ],
)
def test_a_factory_that_gives_no_graph_is_refused_with_what_to_do(
    adapter_of: AdapterOf, factory: Any, said: str
) -> None:
    adapter = adapter_of(factory)

    with pytest.raises(WorkflowInvalid, match=said):
        adapter.prepare({"a": "1"})


def test_a_factory_is_found_in_the_source_folder(adapter_of: AdapterOf, tmp_path: Path) -> None:
    (tmp_path / "flow_for_adapter.py").write_text(
        "from langgraph.graph import START, StateGraph\n"
        "def build(variants):\n"
        "    graph = StateGraph(dict)\n"
        "    return graph.add_node('n', lambda state: {'seen': variants['a']}).add_edge(START, 'n')\n"
    )
    adapter = adapter_of("flow_for_adapter:build")

    output = run(adapter)

    assert output.state == {"__root__": {"seen": "1"}}
    assert adapter.state("t") == output.state


def test_a_checkpoint_file_that_is_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("this is no database, and it is longer than a header would be" * 20)

    with pytest.raises(StoreError, match=r"notes\.txt.*remove it or choose another"):
        LangGraphStateAdapter(lambda _: chain(plain), path)


class Strict(BaseModel):
    count: int
    names: list[str] = []


def test_a_pydantic_state_is_given_back_as_its_fields(adapter_of: AdapterOf) -> None:
    def name(state: Strict) -> dict[str, Any]:
        return {"names": [*state.names, f"seen {state.count}"]}

    output = run(adapter_of(StateGraph(Strict).add_node(name).add_edge(START, "name")))

    assert output.state == {"count": 0, "names": ["seen 0"]}


def test_a_conditional_edge_that_raises_is_its_nodes_fault(adapter_of: AdapterOf) -> None:
    def route(_: State) -> str:
        raise LookupError("no way out")

    graph = chain(plain).add_conditional_edges("n0", route, ["n0"])

    output = run(adapter_of(graph))

    assert output.message == 'node "n0" raised LookupError: no way out'
    assert output.boundaries[0].status == "failed"


def test_what_is_no_update_is_its_nodes_fault(adapter_of: AdapterOf) -> None:
    output = run(adapter_of(chain(lambda _: "text")))

    assert (output.status, output.reason) == ("failed", Reason.NODE_RAISED)
    assert output.message.startswith('node "n0" raised InvalidUpdateError: Expected dict, got text')


def test_two_nodes_that_write_one_key_are_both_named(adapter_of: AdapterOf) -> None:
    graph = StateGraph(State)
    for name in ("a", "b"):
        graph.add_node(name, plain).add_edge(START, name)

    output = run(adapter_of(graph))

    assert output.message.startswith('after node "a", "b": InvalidUpdateError: At key \'count\'')


def test_an_input_that_langgraph_refuses_is_called_the_inputs_fault(adapter_of: AdapterOf) -> None:
    output = run(adapter_of(chain(plain)), state={"count": 0, "log": 5})

    assert (output.status, output.reason) == ("failed", Reason.NODE_RAISED)
    assert output.message.startswith("before any node, on the input: TypeError: ")


def test_an_input_that_cannot_be_stored_is_called_the_inputs_fault(adapter_of: AdapterOf) -> None:
    output = run(adapter_of(chain(plain)), state={"count": 2**70})

    assert output.reason == Reason.STATE_NOT_SERIALISABLE
    assert output.message.startswith("the input: state key ")
    assert output.boundaries == ()


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_of_several_nodes_the_one_that_cannot_be_stored_is_named(adapter_of: AdapterOf, durability: str) -> None:
    graph = StateGraph(State)
    graph.add_node("good", lambda _: {"log": [1]}).add_edge(START, "good")
    graph.add_node("bad", lambda _: {"held": {"socket": threading.Lock()}}).add_edge(START, "bad")

    output = run(adapter_of(graph), durability=durability)

    assert output.reason == Reason.STATE_NOT_SERIALISABLE
    assert 'state key "held.socket" holds a _thread.lock' in output.message
    suspects = 'node "bad" or "good"' if durability == "exit" else 'node "bad"'
    assert output.message.startswith(f"{suspects}: ")


def test_a_loop_within_a_subgraph_ends_at_the_recursion_limit_too(adapter_of: AdapterOf) -> None:
    endless = chain(plain).add_edge("n0", "n0").compile()

    output = run(adapter_of(chain(endless)), recursion_limit=6)

    assert output.reason == Reason.RECURSION_LIMIT


def test_a_stop_ends_a_subgraph_at_its_own_boundary(adapter_of: AdapterOf) -> None:
    probe = ListeningProbe()

    def stop(state: State) -> State:
        assert probe.stop is not None
        probe.stop()
        return plain(state)

    output = run(adapter_of(chain(chain(stop, plain).compile(), plain)), probe=probe)

    assert output.status == "stopped"
    assert [(boundary.node, boundary.status) for boundary in output.boundaries] == [("n0", "interrupted")]


def test_boundaries_are_kept_only_at_the_end_if_durability_is_exit(adapter_of: AdapterOf) -> None:
    output = run(adapter_of(chain(plain, plain)), durability="exit")

    assert [boundary.exit_checkpoint for boundary in output.boundaries] == [None, output.last_checkpoint]


def test_a_thread_that_cannot_go_on_alone_is_left_to_its_thread(adapter_of: AdapterOf) -> None:
    async def wait_for_thread(_: State) -> State:
        return {"count": await asyncio.to_thread(lambda: 5)}

    assert run(adapter_of(chain(wait_for_thread))).state["count"] == 5


def test_run_wants_what_prepare_returned(adapter_of: AdapterOf) -> None:
    adapter = adapter_of(chain(plain))

    with pytest.raises(TypeError, match="what prepare"):
        adapter.run("graph", "t", {}, probe=ListeningProbe(), recursion_limit=5, durability="sync")
