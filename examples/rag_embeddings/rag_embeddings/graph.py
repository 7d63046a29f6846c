"""The workflow: find notices, take the best, answer with its words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langgraph.graph import END, START, StateGraph
from typing_extensions import TypedDict

from rag_embeddings.retrievers import notices, retriever

if TYPE_CHECKING:
    from collections.abc import Mapping

_SHOWN = 3


class Question(TypedDict):
    """What a case gives."""

    question: str


class State(Question, total=False):
    """The question, the notices that were found for it, the best first, and the answer."""

    found: list[str]
    notice: str
    answer: str
    metrics: dict[str, float]


def build(variants: Mapping[str, str]) -> StateGraph[Any, Any, Any, Any]:
    """Return ``retrieve -> answer`` with the chosen retriever, loaded before any trial's time runs."""
    searcher = retriever(variants["retriever"])

    def retrieve(state: State) -> dict[str, Any]:
        hits = searcher.search(state["question"])[:_SHOWN]
        return {"found": [notices()[hit.place].id for hit in hits]}

    graph: StateGraph[Any, Any, Any, Any] = StateGraph(State)
    graph.add_node("retrieve", retrieve)
    graph.add_node("answer", answer)
    graph.add_edge(START, "retrieve")
    graph.add_edge("retrieve", "answer")
    graph.add_edge("answer", END)
    return graph


def answer(state: State) -> dict[str, Any]:
    """Answer with the best notice's own words; a language model would put them in better ones."""
    texts = {notice.id: notice.text for notice in notices()}
    best = state["found"][0] if state["found"] else ""
    return {"notice": best, "answer": texts.get(best, "I do not know."), "metrics": {"found": len(state["found"])}}
