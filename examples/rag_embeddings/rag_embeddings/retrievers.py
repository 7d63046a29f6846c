"""Three ways of finding a notice: by its words, by its meaning, and by both."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import wordllama  # type: ignore[import-untyped]

_TOKENS = re.compile(r"[a-z]+")
_WORDS_THAT_SAY_NOTHING = frozenset(
    re.findall(
        "[a-z]+",
        """a an and any are at be by can do does for from have how i if in is it its may me my of on or our that the
        their them there those to up use was we what when where which who with would you your""",
    )
)


class Notice(NamedTuple):
    """One notice of the library."""

    id: str
    text: str


class Hit(NamedTuple):
    """A notice's place in the list, and how well it fits."""

    place: int
    score: float


class Retriever(Protocol):
    """Ranks the notices for a question, the best first."""

    def search(self, question: str) -> list[Hit]:
        """Return the notices that have anything to do with the question."""
        ...


@cache
def notices() -> tuple[Notice, ...]:
    """Return all notices."""
    lines = Path(__file__).with_name("notices.jsonl").read_text(encoding="utf-8").splitlines()
    return tuple(Notice(**json.loads(line)) for line in lines)


class Bm25:
    """Okapi BM25 on the notices' words."""

    def __init__(self, k1: float = 1.2, b: float = 0.75) -> None:
        """Count the words of all notices."""
        self._counts = [Counter(_words(notice.text)) for notice in notices()]
        self._lengths = [sum(counts.values()) for counts in self._counts]
        mean = sum(self._lengths) / len(self._lengths)
        self._norms = [k1 * (1 - b + b * length / mean) for length in self._lengths]
        self._k1 = k1

    def search(self, question: str) -> list[Hit]:
        """Rank the notices that share a word with the question."""
        scores = [0.0] * len(self._counts)
        for word in set(_words(question)):
            having = sum(word in counts for counts in self._counts)
            rarity = math.log(1 + (len(self._counts) - having + 0.5) / (having + 0.5))
            for place, counts in enumerate(self._counts):
                if found := counts[word]:
                    scores[place] += rarity * found * (self._k1 + 1) / (found + self._norms[place])
        return _ranked(scores)


class Embeddings:
    """Cosine of embeddings: WordLlama, 256 numbers a text, whose weights are in its wheel."""

    def __init__(self) -> None:
        """Load the model from the package, never from a network, and embed all notices."""
        # The package looks for its tokenizer in a cache folder first, and its own folder is as good as one.
        self._model = wordllama.WordLlama.load(cache_dir=Path(wordllama.__file__).parent, disable_download=True)
        self._vectors = self._embed([notice.text for notice in notices()])

    def search(self, question: str) -> list[Hit]:
        """Rank the notices that point the same way as the question."""
        return _ranked((self._vectors @ self._embed([question])[0]).tolist())

    def _embed(self, texts: list[str]) -> np.ndarray:
        return np.asarray(self._model.embed(texts, norm=True))


class Hybrid:
    """Reciprocal rank fusion of two rankings."""

    def __init__(self, *parts: Retriever) -> None:
        """Fuse what these find."""
        self._parts = parts

    def search(self, question: str) -> list[Hit]:
        """Rank the notices by the sum of 1 / (60 + rank)."""
        scores = [0.0] * len(notices())
        for part in self._parts:
            for rank, hit in enumerate(part.search(question), 1):
                scores[hit.place] += 1 / (60 + rank)
        return _ranked(scores)


@cache
def retriever(name: str) -> Retriever:
    """Return the retriever of this name, made once a process. Raises ``ValueError`` for one that is not there."""
    match name:
        case "bm25":
            return Bm25()
        case "embeddings":
            return Embeddings()
        case "hybrid":
            return Hybrid(retriever("bm25"), retriever("embeddings"))
    raise ValueError(f"retriever: {name!r} is not among the variants (bm25, embeddings, hybrid)")


def _words(text: str) -> list[str]:
    return [word for word in _TOKENS.findall(text.lower()) if word not in _WORDS_THAT_SAY_NOTHING]


def _ranked(scores: list[float]) -> list[Hit]:
    hits = [Hit(place, score) for place, score in enumerate(scores) if score > 0]
    return sorted(hits, key=lambda hit: -hit.score)
