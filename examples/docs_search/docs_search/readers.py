"""Three ways to settle on one passage among those that were retrieved, and the sentence of it that answers.

Not for ranking the whole reference: that is ``retrievers``. Equal weights go to the better rank.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import NamedTuple

from docs_search.corpus import Passage, passages, terms, words

VOTERS = 5

_SENTENCE_END = re.compile(r"(?<=[.:!?])\s+|\n")


class Reading(NamedTuple):
    """The passage a reader settled on, counted from 0 in what it was shown, and how many words it had to read."""

    chosen: int
    words_read: int


Reader = Callable[[Sequence[str], Sequence[Passage]], Reading]
"""Takes the question's terms and the passages, the best first and at least one."""


def first(query: Sequence[str], shown: Sequence[Passage]) -> Reading:
    """Trust the retriever: take its first passage."""
    return Reading(0, len(words(shown[0].text)))


def vote(query: Sequence[str], shown: Sequence[Passage]) -> Reading:
    """Let the first five passages vote for their topic, each with 1 / rank; take the winner's best passage."""
    ballots: dict[str, float] = {}
    for rank, passage in enumerate(shown[:VOTERS], start=1):
        ballots[passage.topic] = ballots.get(passage.topic, 0.0) + 1 / rank
    winner = max(ballots, key=lambda topic: ballots[topic])
    chosen = next(n for n, passage in enumerate(shown) if passage.topic == winner)
    return Reading(chosen, len(words(shown[chosen].text)))


def sentence(query: Sequence[str], shown: Sequence[Passage]) -> Reading:
    """Read everything: take the passage with the one sentence that covers most of the question."""
    weights = [max(covered(query, each) for each in sentences(passage)) for passage in shown]
    return Reading(weights.index(max(weights)), sum(len(words(passage.text)) for passage in shown))


READERS: Mapping[str, Reader] = {"first": first, "vote": vote, "sentence": sentence}


def best_sentence(query: Sequence[str], passage: Passage) -> str:
    """Return the sentence that covers most of the question."""
    return max(sentences(passage), key=lambda each: covered(query, each))


def sentences(passage: Passage) -> list[str]:
    """Cut a passage where a sentence ends, and between paragraphs; there is always at least one."""
    return [each for each in _SENTENCE_END.split(passage.text) if each]


def covered(query: Sequence[str], text: str) -> float:
    """Return the summed rarity of the question's terms that the text has."""
    found = set(terms(text))
    rarity = _rarity()
    return sum(rarity[term] for term in dict.fromkeys(query) if term in found)


@cache
def _rarity() -> Mapping[str, float]:
    having = Counter(term for passage in passages() for term in dict.fromkeys(terms(passage.text)))
    return {term: math.log(1 + len(passages()) / count) for term, count in having.items()}
