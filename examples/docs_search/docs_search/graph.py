"""The workflow: five nodes from a question to the topic of the language reference that answers it.

``build`` is the factory that ``batchtest.yaml`` names. It takes one choice for each dimension and returns the graph
uncompiled, so that whoever runs it can bring a checkpointer of their own.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from langgraph.graph import END, START, StateGraph

# Not ``typing``'s: before Python 3.12 pydantic can check inputs only against this one.
from typing_extensions import TypedDict

from docs_search.corpus import passages, terms, words
from docs_search.readers import READERS, best_sentence
from docs_search.retrievers import RETRIEVERS, retriever

if TYPE_CHECKING:
    from collections.abc import Mapping

RETRIEVED = 20
SHOWN = 10
SHOWN_PER_TOPIC = 3


class Question(TypedDict):
    """What a case gives the workflow."""

    question: str


class Candidate(TypedDict):
    """A passage that may hold the answer, by its number in the corpus."""

    passage: int
    topic: str
    score: float


class State(TypedDict, total=False):
    """What the nodes pass on: plain JSON, so that every checkpoint of it can be stored and read by anyone."""

    question: str
    terms: list[str]
    candidates: list[Candidate]
    shown: list[int]
    chosen: int | None
    words_read: int
    topic: str
    answer: str
    confidence: float
    metrics: dict[str, float]


Graph = StateGraph[State, None, Question, State]


def build(variants: Mapping[str, str]) -> Graph:
    """Return the workflow for one combination, for instance ``{"retriever": "bm25", "reader": "first"}``."""
    retriever_name = _choice(variants, "retriever", RETRIEVERS)
    read_among = READERS[_choice(variants, "reader", READERS)]

    def retrieve(state: State) -> State:
        # Looked up here and not in build(): the index is made by the first trial of a process, then shared.
        hits = retriever(retriever_name).search(state["terms"], RETRIEVED)
        return {"candidates": [_candidate(hit.passage, hit.score) for hit in hits]}

    def read(state: State) -> State:
        if not state["shown"]:
            return {"chosen": None, "words_read": 0}
        reading = read_among(state["terms"], [passages()[number] for number in state["shown"]])
        return {"chosen": state["shown"][reading.chosen], "words_read": reading.words_read}

    graph: Graph = StateGraph(State, input_schema=Question)
    steps = {"normalise": normalise, "retrieve": retrieve, "select": select, "read": read, "cite": cite}
    for name, step in steps.items():
        graph.add_node(name, step)
    for here, there in zip([START, *steps], [*steps, END], strict=True):
        graph.add_edge(here, there)
    return graph


def normalise(state: State) -> State:
    """Turn the question into the terms that passages are indexed by."""
    return {"terms": terms(state["question"])}


def select(state: State) -> State:
    """Choose what the reader is shown: the best candidates, but no more than a few of one topic.

    Without the limit a long page crowds out a short one.
    """
    seen: Counter[str] = Counter()
    shown: list[int] = []
    for candidate in state["candidates"]:
        seen[candidate["topic"]] += 1
        if seen[candidate["topic"]] <= SHOWN_PER_TOPIC:
            shown.append(candidate["passage"])
    return {"shown": shown[:SHOWN]}


def cite(state: State) -> State:
    """Give the answer with its source. ``metrics`` are numbers for the comparison table."""
    asked, chosen = dict.fromkeys(state["terms"]), state["chosen"]
    metrics = {"candidates": float(len(state["candidates"])), "wordsRead": float(state["words_read"])}
    if chosen is None:
        return {"topic": "", "answer": "", "confidence": 0.0, "metrics": metrics}
    passage = passages()[chosen]
    found = set(terms(f"{passage.heading} {passage.text}"))
    answer = best_sentence(state["terms"], passage)
    return {
        "topic": passage.topic,
        "answer": answer,
        "confidence": round(sum(term in found for term in asked) / len(asked), 3),
        "metrics": {**metrics, "answerWords": float(len(words(answer)))},
    }


def _candidate(number: int, score: float) -> Candidate:
    return {"passage": number, "topic": passages()[number].topic, "score": round(score, 6)}


def _choice(variants: Mapping[str, str], dimension: str, known: Mapping[str, object]) -> str:
    chosen = variants.get(dimension, "")
    if chosen not in known:
        raise ValueError(f"{dimension}: {chosen!r} is not among the variants ({', '.join(known)})")
    return chosen
