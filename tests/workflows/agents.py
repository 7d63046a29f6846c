"""Agents as people write them: prebuilt ones, tools that fail and ask, subgraphs, ``Send``, streams and ``Command``.

The variant ``agent`` says which; each ends with the message ``done``. Their model is langchain-core's fake one.
"""

from __future__ import annotations

import asyncio
import operator
from typing import TYPE_CHECKING, Annotated, Any, NotRequired, TypedDict

from langchain_core.language_models.fake_chat_models import FakeMessagesListChatModel
from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import InjectedToolCallId, tool
from langgraph.config import get_stream_writer
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, create_react_agent, tools_condition
from langgraph.types import Command, Send, interrupt
from pydantic import BaseModel

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class ScriptedModel(FakeMessagesListChatModel):
    """Says the response whose turn it is in the conversation, whatever other conversations there were before it."""

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        turn = sum(isinstance(message, AIMessage) for message in messages)
        return ChatResult(generations=[ChatGeneration(message=self.responses[turn].model_copy())])

    def bind_tools(self, *_: Any, **__: Any) -> ScriptedModel:
        """Take any tools: what is called is in the script."""
        return self


def calls(*named: tuple[str, dict[str, Any]]) -> AIMessage:
    """Return a message that calls tools."""
    return AIMessage(
        "", tool_calls=[{"name": name, "args": args, "id": f"call-{at}"} for at, (name, args) in enumerate(named)]
    )


def model(*said: AIMessage | str) -> ScriptedModel:
    return ScriptedModel(responses=[AIMessage(one) if isinstance(one, str) else one for one in said])


@tool
def price(item: str) -> int:
    """Look a price up."""
    return {"tea": 3, "cake": 5}[item]


@tool
def approve(what: str) -> str:
    """Ask a person."""
    return f"{what}: {interrupt(f'approve {what}?')}"


@tool
def hand_over(to: str, tool_call_id: Annotated[str, InjectedToolCallId]) -> Command[str]:
    """Leave the rest to somebody."""
    return Command(update={"messages": [ToolMessage(f"over to {to}", tool_call_id=tool_call_id)], "heir": to})


class Bill(BaseModel):
    """What is to be paid."""

    total: int


class State(MessagesState, total=False):
    heir: str
    parts: Annotated[list[str], operator.add]


class Shelf(TypedDict):
    """A subgraph's own state, of which its parent knows nothing."""

    item: str
    found: NotRequired[int]


def done(_: State) -> dict[str, Any]:
    return {"messages": [AIMessage("done")]}


def react() -> Any:
    return create_react_agent(
        model(calls(("price", {"item": "tea"})), calls(("price", {"item": "cake"})), "done"), [price]
    )


def tool_error_is_handled() -> Any:
    tools = ToolNode([price], handle_tool_errors=True)
    return create_react_agent(model(calls(("price", {"item": "gold"})), "done"), tools)


def tool_raises() -> Any:
    return create_react_agent(model(calls(("price", {"item": "gold"})), "done"), [price])


def unknown_tool() -> Any:
    return create_react_agent(model(calls(("steal", {"item": "gold"})), "done"), [price])


def structured() -> Any:
    said = model(calls(("price", {"item": "tea"})), "done", calls(("Bill", {"total": 3})))
    return create_react_agent(said, [price], response_format=Bill)


def tools_ask() -> Any:
    both = calls(("approve", {"what": "tea"}), ("approve", {"what": "cake"}))
    return create_react_agent(model(both, "done"), [approve])


def by_hand() -> Any:
    """Tools and their condition wired by hand; a tool writes state by a ``Command``."""
    said = model(calls(("hand_over", {"to": "Ann"})), "done").bind_tools([hand_over])
    graph: Any = StateGraph(State)
    graph.add_node("agent", lambda state: {"messages": [said.invoke(state["messages"])]})
    graph.add_node("tools", ToolNode([hand_over]))
    graph.add_edge(START, "agent").add_edge("tools", "agent").add_conditional_edges("agent", tools_condition)
    return graph


def own_state() -> Any:
    inner: Any = StateGraph(Shelf)
    inner.add_node("look", lambda state: {"found": price.invoke({"item": state["item"]})}).add_edge(START, "look")
    shelf = inner.compile()
    graph: Any = StateGraph(State)
    graph.add_node("fetch", lambda _: {"parts": [str(shelf.invoke({"item": "cake"})["found"])]})
    return graph.add_sequence([("done", done)]).add_edge(START, "fetch").add_edge("fetch", "done")


def subgraph_asks() -> Any:
    """A node of its own asks beside a subgraph that does."""
    inner: Any = StateGraph(State)
    inner.add_node("ask", lambda _: {"parts": [interrupt("which shelf?")]}).add_edge(START, "ask")
    graph: Any = StateGraph(State)
    graph.add_node("shelf", inner.compile())
    graph.add_node("till", lambda _: {"parts": [interrupt("which till?")]})
    graph.add_node("done", done)
    return graph.add_edge(START, "shelf").add_edge(START, "till").add_edge(["shelf", "till"], "done")


def map_reduce() -> Any:
    graph: Any = StateGraph(State)
    graph.add_node("price", lambda given: {"parts": [f"{given['item']} {price.invoke(given)}"]})
    graph.add_node("done", done)
    graph.add_conditional_edges(START, lambda _: [Send("price", {"item": item}) for item in ("tea", "cake")], ["price"])
    return graph.add_edge("price", "done")


def streams() -> Any:
    async def count(_: State) -> dict[str, Any]:
        write = get_stream_writer()
        for number in range(3):
            write({"number": number})
            await asyncio.sleep(0)
        return {"parts": ["counted"]}

    async def talk(state: State) -> dict[str, Any]:
        pieces: list[AnyMessage] = [piece async for piece in model("done").astream(state["messages"])]
        return {"messages": [AIMessage("".join(str(piece.content) for piece in pieces))]}

    graph: Any = StateGraph(State)
    return graph.add_sequence([("count", count), ("talk", talk)]).add_edge(START, "count")


def goes_to() -> Any:
    """An agent within a subgraph leaves it for another node of the graph around it."""
    inner: Any = StateGraph(State)
    inner.add_node("leave", lambda _: Command(graph=Command.PARENT, goto="done", update={"heir": "Bob"}))
    inner.add_edge(START, "leave")
    graph: Any = StateGraph(State)
    graph.add_node("route", lambda _: Command(goto="inner", update={"parts": ["routed"]}), destinations=("inner",))
    graph.add_node("inner", inner.compile(), destinations=("done",))
    return graph.add_node("done", done).add_edge(START, "route")


AGENTS: Mapping[str, Callable[[], Any]] = {
    made.__name__.replace("_", "-"): made
    for made in (
        react, tool_error_is_handled, tool_raises, unknown_tool, structured, tools_ask, by_hand, own_state,
        subgraph_asks, map_reduce, streams, goes_to,
    )
}  # fmt: skip


def build(variants: Mapping[str, str]) -> Any:
    """Return the agent as its library makes it: compiled, if that is what it does."""
    return AGENTS[variants["agent"]]()
