"""The pages of the documentation as the tests see them: their fenced blocks, and the notes that say where these run.

A note is an HTML comment, which readers do not see:

- ``<!-- page: local -->`` anywhere outside a block says where the page's commands run (see ``Place``);
- ``<!-- with: docs/start-local.md -->`` has the files of that page written first;
- ``<!-- before: cp -r examples/docs_search/. . -->`` is run first, for what the page takes for granted;
- right above a block, ``<!-- runs: cluster -->`` says it for this one, ``<!-- exits: 1 -->`` that its last command ends
  so, and ``<!-- file: greet.py -->`` that the reader writes the block into that file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CHECKOUT = Path(__file__).resolve().parents[2]

_NOTE = re.compile(r"^\s*<!-- (page|with|before|runs|exits|file|fragment): ?(.*?) ?-->\s*$")
_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>[\w-]*)\s*$")
_HERE = re.compile(r"<<-?\s*['\"]?(\w+)['\"]?")
_ASKS_A_CLUSTER = re.compile(r"\bkubectl\b|\bhelm\b|--kube\b")
_TYPED = re.compile(r"^\s*(?:[-$] )?(?:\S*python3? -m )?(?:batchyard|kubectl|helm|docker|make|pip) +\S")
# The usage lines of the command line's reference, and drawings.
_NOT_TYPED = re.compile(r"\[OPTIONS\]|[\u2500-\u25ff]")
_NOT_OURS = {"build", "dist", "node_modules"}


class Place(StrEnum):
    """Where commands run, each page's in a copy of the checkout and in order."""

    LOCAL = "local"
    """On this machine."""
    CLUSTER = "cluster"
    """With a cluster in which the operator is installed, in a namespace of the page's own."""
    BARE_CLUSTER = "bare-cluster"
    """With a cluster in which the page itself installs the operator and removes it."""
    EITHER = "local or cluster"
    """Commands that name the cluster run with one, the others without."""


@dataclass(frozen=True, slots=True)
class Command:
    """One command of a page."""

    text: str
    line: int
    exits: int = 0
    shows: tuple[str, ...] = ()
    """The lines that the page shows as its output; ``...`` stands for any."""


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block."""

    language: str
    text: str
    line: int
    notes: Mapping[str, str] = field(default_factory=dict)

    def stray_commands(self) -> list[str]:
        """Return the lines of a block of another kind that a reader would take for commands; nothing runs those."""
        lines = () if self.language == "console" else self.text.splitlines()
        return [line for line in lines if _TYPED.match(line) and not _NOT_TYPED.search(line)]

    def commands(self) -> list[Command]:
        """Return the commands of a block of them, with what each shows."""
        last = int(self.notes.get("exits", "0"))
        found = list(_commands(self.text.splitlines(), self.line + 1))
        return [
            Command(text, line, last if number == len(found) else 0, tuple(shows))
            for number, (text, line, shows) in enumerate(found, 1)
        ]


@dataclass(frozen=True, slots=True)
class Page:
    """One page."""

    name: str
    text: str
    blocks: tuple[Block, ...]
    notes: Mapping[str, str]
    before: tuple[str, ...] = ()

    @property
    def place(self) -> Place:
        """Return where its commands run, unless a block says otherwise."""
        # All pages of the runbook are for those who run an operator.
        usual = Place.CLUSTER if self.name.startswith("docs/runbook/") else Place.LOCAL
        return Place(self.notes.get("page", usual))

    def files(self) -> dict[str, str]:
        """Return the files that a reader writes, by name, those of the page it builds on included."""
        before = read(self.notes["with"]).files() if "with" in self.notes else {}
        return before | {block.notes["file"]: block.text for block in self.blocks if "file" in block.notes}

    def commands(self, place: Place) -> list[Command]:
        """Return the commands that run in a place, in order."""
        blocks = [block for block in self.blocks if block.language == "console"]
        return [command for block in blocks for command in block.commands() if self._place(block, command) == place]

    def _place(self, block: Block, command: Command) -> Place:
        place = Place(block.notes.get("runs", self.place))
        if place is Place.EITHER:
            return Place.CLUSTER if _ASKS_A_CLUSTER.search(command.text) else Place.LOCAL
        return place


@cache
def every_page() -> list[Page]:
    """Return all pages of the checkout."""
    found = sorted(CHECKOUT.rglob("*.md"))
    names = [path.relative_to(CHECKOUT) for path in found]
    kept = [name for name in names if not any(part.startswith(".") or part in _NOT_OURS for part in name.parts)]
    return [read(str(name)) for name in kept]


def with_commands(*places: Place) -> list[Page]:
    """Return the pages that have commands for one of the places."""
    return [page for page in every_page() if any(page.commands(place) for place in places)]


def read(name: str) -> Page:
    """Return a page by its path within the checkout."""
    text = (CHECKOUT / name).read_text(encoding="utf-8")
    notes = list(_notes(text))
    before = tuple(value for key, value in notes if key == "before")
    return Page(name, text, tuple(_blocks(text.splitlines())), dict(notes), before)


def _notes(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        if found := _NOTE.match(line):
            yield found[1], found[2]


def _blocks(lines: list[str]) -> Iterator[Block]:
    number = 0
    while number < len(lines):
        opened = _FENCE.match(lines[number])
        if opened is None:
            number += 1
            continue
        indent, start = opened["indent"], number
        number += 1
        inside = []
        while number < len(lines) and lines[number].rstrip() != f"{indent}```":
            inside.append(lines[number].removeprefix(indent))
            number += 1
        number += 1
        yield Block(opened["language"], "".join(f"{line}\n" for line in inside), start + 1, _above(lines, start))


def _above(lines: list[str], start: int) -> dict[str, str]:
    """Return the notes that stand right above a line."""
    notes = {}
    while start and (found := _NOTE.match(lines[start - 1])):
        notes[found[1]] = found[2]
        start -= 1
    return notes


def _commands(lines: list[str], first: int) -> Iterator[tuple[str, int, list[str]]]:
    number = 0
    while number < len(lines):
        if not lines[number].startswith("$ "):
            raise ValueError(f"line {first + number} shows output before any command: {lines[number]}")
        start, text = number, lines[number].removeprefix("$ ")
        number += 1
        while text.endswith("\\") and number < len(lines):
            text = f"{text}\n{lines[number]}"
            number += 1
        if here := _HERE.search(text):
            end = lines.index(here[1], number) + 1
            text = "\n".join([text, *lines[number:end]]) + "\n"
            number = end
        shows = []
        while number < len(lines) and not lines[number].startswith("$ "):
            shows.append(lines[number])
            number += 1
        yield text, first + start, shows
