"""Three ways to rank the passages for a question, and the rule that fuses two of them.

Written out rather than imported: a worker process starts in milliseconds, and nothing about the ranking is hidden.
Equal scores keep the passages' order, so a question always gets the same answer.
"""

from __future__ import annotations

import math
from collections import Counter
from functools import cache
from typing import TYPE_CHECKING, NamedTuple, Protocol

from docs_search.corpus import passages, terms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence


class Hit(NamedTuple):
    """A passage, by its number, and how well it fits."""

    passage: int
    score: float


class Retriever(Protocol):
    """Finds passages."""

    def search(self, query: Sequence[str], limit: int) -> list[Hit]:
        """Return at most ``limit`` passages that share a term with the query, the best first."""
        ...


class Bm25:
    """Okapi BM25: a rare word counts for more, a repeated word for less each time, a long passage for less."""

    def __init__(self, texts: Iterable[Sequence[str]], k1: float = 1.5, b: float = 0.75) -> None:
        counts, documents = _count(texts)
        lengths = [counted.total() for counted in counts]
        mean = sum(lengths) / len(lengths)
        self._postings: dict[str, list[Hit]] = {}
        for term, found_in in documents.items():
            rarity = math.log(1 + (len(counts) - len(found_in) + 0.5) / (len(found_in) + 0.5))
            self._postings[term] = [
                Hit(n, rarity * counts[n][term] * (k1 + 1) / (counts[n][term] + k1 * (1 - b + b * lengths[n] / mean)))
                for n in found_in
            ]

    def search(self, query: Sequence[str], limit: int) -> list[Hit]:
        """Add up what each term of the query is worth in each passage."""
        scores: dict[int, float] = {}
        for term in query:
            for hit in self._postings.get(term, ()):
                scores[hit.passage] = scores.get(hit.passage, 0.0) + hit.score
        return _best(scores, limit)


class Tfidf:
    """The cosine between question and passage, each a vector of its terms weighted by how rare they are."""

    def __init__(self, texts: Iterable[Sequence[str]]) -> None:
        counts, documents = _count(texts)
        self._rarity = {term: math.log(len(counts) / len(found_in)) for term, found_in in documents.items()}
        self._postings: dict[str, list[Hit]] = {}
        for number, counted in enumerate(counts):
            for term, weight in self._vector(counted).items():
                self._postings.setdefault(term, []).append(Hit(number, weight))

    def search(self, query: Sequence[str], limit: int) -> list[Hit]:
        """Multiply the question's vector with that of each passage."""
        scores: dict[int, float] = {}
        for term, weight in self._vector(Counter(query)).items():
            for hit in self._postings.get(term, ()):
                scores[hit.passage] = scores.get(hit.passage, 0.0) + weight * hit.score
        return _best(scores, limit)

    def _vector(self, counted: Mapping[str, int]) -> dict[str, float]:
        weights = {term: count * self._rarity.get(term, 0.0) for term, count in counted.items()}
        length = math.sqrt(sum(weight * weight for weight in weights.values())) or 1.0
        return {term: weight / length for term, weight in weights.items()}


class Hybrid:
    """Ask several retrievers and fuse their rankings, so that what all of them like comes first."""

    def __init__(self, retrievers: Sequence[Retriever], depth: int = 50) -> None:
        self._retrievers = retrievers
        self._depth = depth

    def search(self, query: Sequence[str], limit: int) -> list[Hit]:
        """Fuse the first ``depth`` of each ranking."""
        rankings = [retriever.search(query, self._depth) for retriever in self._retrievers]
        return reciprocal_rank_fusion([[hit.passage for hit in ranking] for ranking in rankings], limit)


def reciprocal_rank_fusion(rankings: Iterable[Sequence[int]], limit: int, k: int = 60) -> list[Hit]:
    """Score each passage with the sum of 1 / (k + rank) over the rankings that have it; the first rank is 1.

    Only places count, so scores of different scales need no balancing.
    """
    scores: dict[int, float] = {}
    for ranking in rankings:
        for rank, passage in enumerate(ranking, start=1):
            scores[passage] = scores.get(passage, 0.0) + 1 / (k + rank)
    return _best(scores, limit)


@cache
def retriever(name: str) -> Retriever:
    """Return the retriever of this name over the whole reference, built once per process."""
    return RETRIEVERS[name]()


def _texts() -> list[list[str]]:
    return [terms(f"{passage.heading} {passage.text}") for passage in passages()]


def _titles() -> list[list[str]]:
    return [terms(f"{passage.topic} {passage.heading}") for passage in passages()]


RETRIEVERS: Mapping[str, Callable[[], Retriever]] = {
    "titles": lambda: Tfidf(_titles()),
    "tfidf": lambda: Tfidf(_texts()),
    "bm25": lambda: Bm25(_texts()),
    "hybrid": lambda: Hybrid([retriever("bm25"), retriever("tfidf")]),
}


def _count(texts: Iterable[Sequence[str]]) -> tuple[list[Counter[str]], dict[str, list[int]]]:
    """Return how often each text has each term, and for each term the numbers of the texts that have it."""
    counts = [Counter(text) for text in texts]
    documents: dict[str, list[int]] = {}
    for number, counted in enumerate(counts):
        for term in counted:
            documents.setdefault(term, []).append(number)
    return counts, documents


def _best(scores: Mapping[int, float], limit: int) -> list[Hit]:
    ranked = sorted(scores.items(), key=lambda item: (-item[1], item[0]))
    return [Hit(passage, score) for passage, score in ranked[:limit]]
