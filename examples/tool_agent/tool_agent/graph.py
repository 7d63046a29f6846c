"""The agent: model and tools in turns, then a node that says what was answered and what it took."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from typing_extensions import TypedDict

from tool_agent.model import DeskModel
from tool_agent.tools import TOOLS

if TYPE_CHECKING:
    from collections.abc import Mapping

PROMPTS = {
    "short": "You answer at the order desk of a tea shop.",
    "careful": "You answer at the order desk of a tea shop. Promise nothing before you looked at the stock.",
}
"""The variants of the dimension ``prompt``."""


class Question(TypedDict):
    """What a case gives."""

    question: str


class State(MessagesState, total=False):
    """The question, the conversation on it, and what came of it."""

    question: str
    answer: str
    metrics: dict[str, float]


def build(variants: Mapping[str, str]) -> StateGraph[Any, Any, Any, Any]:
    """Return the agent with the chosen prompt and tools. Raises ``KeyError`` for a variant that is not there."""
    prompt, tools = PROMPTS[variants["prompt"]], TOOLS[variants["tools"]]
    model = DeskModel().bind_tools(tools)

    def begin(state: State) -> dict[str, Any]:
        return {"messages": [SystemMessage(prompt), HumanMessage(state["question"])]}

    def agent(state: State) -> dict[str, Any]:
        return {"messages": [model.invoke(state["messages"])]}

    graph: StateGraph[Any, Any, Any, Any] = StateGraph(State)
    graph.add_node("begin", begin)
    graph.add_node("agent", agent)
    graph.add_node("tools", ToolNode(tools, handle_tool_errors=True))
    graph.add_node("settle", settle)
    graph.add_edge(START, "begin")
    graph.add_edge("begin", "agent")
    graph.add_conditional_edges("agent", tools_condition, {"tools": "tools", END: "settle"})
    graph.add_edge("tools", "agent")
    graph.add_edge("settle", END)
    return graph


def settle(state: State) -> dict[str, Any]:
    """Say what was answered, and how many turns and tools it took."""
    messages = state["messages"]
    return {
        "answer": messages[-1].content,
        "metrics": {
            "turns": sum(isinstance(message, AIMessage) for message in messages),
            "toolCalls": sum(isinstance(message, ToolMessage) for message in messages),
        },
    }
