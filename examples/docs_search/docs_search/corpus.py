"""The reference that ships with Python, cut into passages, and the words that both sides of a search are made of.

Not for ranking: that is ``retrievers``.
"""

from __future__ import annotations

import re
from functools import cache
from pydoc_data.topics import topics
from typing import NamedTuple

PASSAGE_WORDS = 90
"""Paragraphs are joined until a passage has about this many words: one thought, rarely two."""

_WORD = re.compile(r"[a-z0-9_]+")

# Words that carry no subject. Python's own keywords (``with``, ``not``, ``in``...) stay in: here they are subjects.
STOP_WORDS = frozenset(
    _WORD.findall(
        """
        a about all also am an any are at be been but by can could did do does doing done each get gets give given go
        has have having how however i it its just like made make makes many may me might mine more most much must my no
        now of on once one only other our own same shall should so some such than that the their them then there these
        they this those to too up us very was we were what when where which who whose why will would you your
        """
    )
)

_PARAGRAPH = re.compile(r"\n\s*\n")
_FOOTNOTE = re.compile(r"\[\d+\]")
_UNDERLINE = re.compile(r"^([*=\-~^])\1{3,}$")


class Passage(NamedTuple):
    """A few paragraphs of one topic, with the heading they stand under."""

    topic: str
    heading: str
    text: str


def words(text: str) -> list[str]:
    """Return the lower-case words of a text, in order."""
    return _WORD.findall(text.lower())


def stem(word: str) -> str:
    """Cut the commonest English endings, so that "raises", "raised" and "raising" meet."""
    if word.endswith("s") and not word.endswith("ss") and len(word) > 3:
        word = word[:-1]
    for ending in ("ing", "ed", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word[:-1] + "i" if word.endswith("y") and len(word) > 3 else word


def terms(text: str) -> list[str]:
    """Return what is indexed of a text: stems of its words, without the stop words."""
    return [stem(word) for word in words(text) if word not in STOP_WORDS]


@cache
def passages() -> tuple[Passage, ...]:
    """Cut every topic into passages, once per process.

    Long pages repeat shorter ones word for word ("Compound statements" holds the whole page on "with"). A paragraph
    belongs to the shortest page that has it, so that each answer has one right topic.
    """
    found: list[Passage] = []
    seen: set[tuple[str, ...]] = set()
    for topic in sorted(topics, key=_by_length):
        found.extend(_cut(topic, topics[topic], seen))
    return tuple(found)


def _by_length(topic: str) -> tuple[int, bool, str]:
    # "if" and "else" are one page under two names; the name that its title uses comes first.
    text = topics[topic]
    return len(text), f'"{topic}"' not in text.lstrip().split("\n")[0], topic


def _cut(topic: str, text: str, seen: set[tuple[str, ...]]) -> list[Passage]:
    found: list[Passage] = []
    held: list[str] = []
    heading, size = topic, 0
    for paragraph in _PARAGRAPH.split(text.strip()):
        title = _heading(paragraph)
        if title and held:
            found.append(Passage(topic, heading, "\n".join(held)))
            held, size = [], 0
        if title:
            heading = title
            continue
        key = tuple(words(_FOOTNOTE.sub("", paragraph)))
        if not key or key in seen:
            continue
        seen.add(key)
        held.append(" ".join(paragraph.split()))
        size += len(key)
        if size >= PASSAGE_WORDS:
            found.append(Passage(topic, heading, "\n".join(held)))
            held, size = [], 0
    return [*found, Passage(topic, heading, "\n".join(held))] if held else found


def _heading(paragraph: str) -> str:
    lines = paragraph.strip().split("\n")
    return lines[0].strip() if len(lines) == 2 and _UNDERLINE.match(lines[1].strip()) else ""
