"""LangChain chat models inside a graph are counted wherever they are called, once, and priced by their name."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, TypedDict

import pytest
from langchain_core.language_models.fake_chat_models import FakeListChatModel, GenericFakeChatModel
from langchain_core.messages import AIMessage
from langgraph.graph import END, START, StateGraph

from batchyard.reporting import heard_by
from batchyard.runners.meter import Meter, Metering
from batchyard.testing.state_adapter_conformance import ListeningProbe
from batchyard.workflows.langgraph import LangGraphStateAdapter
from batchyard.workflows.model_usage import price_of
from usage_page import UsagePage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from batchyard.workflows.model_usage import Prices


class State(TypedDict, total=False):
    text: str


def model(total: int = 42, name: str = "fake-large-2") -> GenericFakeChatModel:
    def answers() -> Iterator[AIMessage]:
        while True:
            usage: Any = {"input_tokens": total - 12, "output_tokens": 12, "total_tokens": total}
            yield AIMessage("yes it is", usage_metadata=usage, response_metadata={"model_name": name})

    return GenericFakeChatModel(messages=answers())


def asks(state: State) -> State:
    return {"text": str(model().invoke("well?").content)}


def asks_in_silence(state: State) -> None:
    asks(state)


async def asks_later(state: State) -> State:
    return {"text": str((await model().ainvoke("well?")).content)}


def one_node(node: Any) -> StateGraph[Any]:
    return StateGraph(State).add_node("ask", node).add_edge(START, "ask").add_edge("ask", END)


def side_by_side() -> StateGraph[Any]:
    graph: StateGraph[Any] = StateGraph(State)
    for number in range(3):
        graph.add_node(f"ask{number}", asks_in_silence).add_edge(START, f"ask{number}")
    return graph


Run = Any


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a graph and return the metrics of it."""
    files: Counter[str] = Counter()

    def run(graph: StateGraph[Any], prices: Prices | None = None, metering: Metering | None = Metering()) -> Any:  # noqa: B008
        files["made"] += 1
        meter = Meter(UsagePage(), metering)
        given = prices if metering is None else prices or {}
        adapter = LangGraphStateAdapter(lambda _: graph, tmp_path / f"{files['made']}.db", prices=given)
        with heard_by(meter, owns_process=False):
            made = adapter.run(
                adapter.prepare({}), "t", {}, probe=ListeningProbe(), recursion_limit=9, durability="sync"
            )
        adapter.close()
        assert made.status == "completed", made.message
        return meter.metrics()

    return run


@pytest.mark.parametrize(
    ("make", "calls"),
    [
        (lambda: one_node(asks), 1),
        (lambda: one_node(asks_later), 1),
        (side_by_side, 3),
        (lambda: one_node(one_node(asks).compile()), 1),
        (lambda: one_node(lambda state: {"text": "".join(str(c.content) for c in model().stream("well?"))}), 0),
    ],
    ids=["plain", "async", "in a pool", "in a subgraph", "streamed without usage"],
)
def test_each_call_is_counted_once_wherever_it_is_made(
    run: Run, make: Callable[[], StateGraph[Any]], calls: int
) -> None:
    assert run(make()).get("tokens", 0) == 42 * calls


def test_a_model_that_says_nothing_of_its_usage_is_not_counted(run: Run) -> None:
    silent = one_node(lambda state: {"text": str(FakeListChatModel(responses=["yes"]).invoke("well?").content)})

    assert run(silent) == {"steps": 0}


def test_without_metering_no_model_is_counted(run: Run) -> None:
    assert run(one_node(asks), metering=None) == {}


def test_tokens_are_priced_by_what_was_read_and_written(run: Run) -> None:
    metrics = run(one_node(asks), {"fake-large": (1000.0, 5000.0)})

    assert metrics == {"steps": 0, "tokens": 42, "cost": pytest.approx(0.03 + 0.06)}


def test_tokens_of_a_model_without_a_price_are_told_apart(run: Run) -> None:
    assert run(one_node(asks), {"other": (1.0, 1.0)}) == {"steps": 0, "tokens": 42, "unpriced_tokens": 42}


@pytest.mark.parametrize(
    ("name", "price"),
    [("gpt-4o-2024-08-06", 2.0), ("gpt-4o-mini-2024", 3.0), ("gpt-3", 1.0), ("claude", 9.0), ("", 9.0)],
)
def test_the_longest_beginning_of_a_models_name_decides_its_price(name: str, price: float) -> None:
    prices = {"gpt": (1.0, 1.0), "gpt-4o": (2.0, 2.0), "gpt-4o-mini": (3.0, 3.0), "*": (9.0, 9.0)}

    assert price_of(name, prices) == (price, price)
    assert price_of("claude", {"gpt": (1.0, 1.0)}) is None
