"""Agents as people write them run unchanged wherever trials run, and leave the same results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from batch_bench import BatchBench, Ran
from batchyard.compose import LocalEngine
from batchyard.config import RayConfig
from batchyard.model.outcome import Outcome, Reason
from ray_bench import local_ray
from workflows.agents import AGENTS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.filterwarnings("ignore:create_react_agent has been moved")

# A Ray that is started late in a long run of tests under xdist did not come up there; in a process of its own it does.
PLACES = ("processes", "threads", pytest.param("ray", marks=pytest.mark.alone))
ANSWERS = [
    {"value": "yes", "question": "tea"},
    {"value": "no", "question": "cake"},
    {"value": "second till", "node": "till"},
    {"value": "top shelf", "node": "shelf"},
]


@pytest.fixture(scope="module", params=PLACES)
def ran(request: pytest.FixtureRequest, engine: LocalEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    """One batch of every agent, in one of the places where trials run."""
    folder: Path = tmp_path_factory.mktemp(request.param)
    if request.param == "ray":
        with local_ray(2.0), LocalEngine(ray=RayConfig()) as on_ray:
            yield from every_agent(BatchBench(on_ray, folder), "Process")
    else:
        yield from every_agent(BatchBench(engine, folder), {"threads": "Thread"}.get(request.param, "Process"))


def every_agent(bench: BatchBench, isolation: str) -> Iterator[Ran]:
    loaded = bench.load(
        "agents:build",
        variants={"include": [{"name": name, "variants": {"agent": name}} for name in AGENTS]},
        cases=[
            {
                "name": "one",
                "input": {"messages": [{"role": "user", "content": "What is it?"}]},
                "expected": {"messages": [{"content": "done"}]},
                "answers": ANSWERS,
            }
        ],
        environment={"isolation": isolation},
        evaluation={"evaluators": [{"name": "jsonPath", "config": {"path": "$.messages[-1].content"}}]},
    )
    yield bench.run(loaded)
    bench.store.close()


def messages(ran: Ran, agent: str) -> list[tuple[str, Any]]:
    return [(message["type"], message["content"]) for message in ran.of(agent).output["messages"]]


def nodes(ran: Ran, agent: str) -> list[str]:
    return [boundary.node for boundary in ran.of(agent).boundaries]


def test_every_agent_ends_as_it_should(ran: Ran) -> None:
    ends = {result.combination: (result.outcome, result.message) for result in ran.finals}

    raised = ends.pop("tool-raises")
    assert ends == dict.fromkeys(AGENTS.keys() - {"tool-raises"}, (Outcome.PASSED, ""))
    assert raised[0] is Outcome.FAILED
    assert "node \"tools\" raised KeyError: 'gold'" in raised[1]
    assert ran.of("tool-raises").reason == Reason.NODE_RAISED


def test_the_conversation_is_in_the_result(ran: Ran) -> None:
    assert messages(ran, "react") == [
        ("human", "What is it?"), ("ai", ""), ("tool", "3"), ("ai", ""), ("tool", "5"), ("ai", "done"),
    ]  # fmt: skip
    assert ran.of("react").output["messages"][1]["tool_calls"][0]["args"] == {"item": "tea"}


def test_every_turn_of_the_agent_and_its_tools_is_a_boundary(ran: Ran) -> None:
    assert nodes(ran, "react") == ["agent", "tools", "agent", "tools", "agent"]
    assert all(boundary.exit_checkpoint for boundary in ran.of("react").boundaries)


def test_a_tool_s_error_that_the_agent_is_told_is_part_of_the_conversation(ran: Ran) -> None:
    handled = ran.of("tool-error-is-handled").output["messages"][2]
    unknown = ran.of("unknown-tool").output["messages"][2]

    assert (handled["status"], "KeyError" in handled["content"]) == ("error", True)
    assert (unknown["status"], "steal is not a valid tool" in unknown["content"]) == ("error", True)


def test_a_structured_response_is_in_the_result(ran: Ran) -> None:
    assert ran.of("structured").output["structured_response"] == {"total": 3}


def test_tools_that_ask_at_once_are_each_told_their_own_answer(ran: Ran) -> None:
    assert [text for kind, text in messages(ran, "tools-ask") if kind == "tool"] == ["tea: yes", "cake: no"]


def test_a_subgraph_that_asks_beside_a_node_is_told_its_own_answer(ran: Ran) -> None:
    assert ran.of("subgraph-asks").output["parts"] == ["top shelf", "second till"]
    assert nodes(ran, "subgraph-asks").count("shelf") == 2


def test_a_tool_may_write_the_state(ran: Ran) -> None:
    assert ran.of("by-hand").output["heir"] == "Ann"


@pytest.mark.parametrize(
    ("agent", "parts"),
    [("own-state", ["5"]), ("map-reduce", ["tea 3", "cake 5"]), ("streams", ["counted"]), ("goes-to", ["routed"])],
)
def test_subgraphs_sent_tasks_streams_and_jumps_leave_what_they_wrote(ran: Ran, agent: str, parts: list[str]) -> None:
    assert ran.of(agent).output["parts"] == parts


def test_an_agent_that_leaves_its_subgraph_goes_on_outside(ran: Ran) -> None:
    assert (ran.of("goes-to").output["heir"], nodes(ran, "goes-to")) == ("Bob", ["route", "inner", "done"])
