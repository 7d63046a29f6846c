"""What a reader is given and what it gives back. No reader is here."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Protocol, TypeAlias

from batchyard.model.errors import Fault, SpecInvalid

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from batchyard.importing.checks import Check
    from batchyard.importing.losses import Losses
    from batchyard.model.trial import JSON


class Folder(Protocol):
    """Where a file's references lead to."""

    def matching(self, pattern: str) -> Sequence[str]:
        """Return the files that fit a path with ``*`` in it, in order; a path without one is returned as it is."""
        ...

    def read(self, path: str) -> bytes:
        """Return a file's content. Raises ``OSError`` if it cannot be read or is too large."""
        ...


@dataclass(frozen=True, slots=True)
class Source:
    """One file to import. ``name`` is how it is called in messages."""

    name: str
    content: bytes
    folder: Folder

    @property
    def stem(self) -> str:
        """Return the name without folder and ending, from which cases without a name are called."""
        return PurePath(self.name).stem

    @property
    def text(self) -> str:
        """Return the content as text. Raises ``SpecInvalid`` if it is none."""
        try:
            return self.content.decode("utf-8-sig")
        except UnicodeDecodeError as err:
            raise refused(self.name, "", f"is not UTF-8 text: {err.reason}", "save it as UTF-8") from err


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the user asked for beside the file.

    ``input_field`` is the field of the workflow's input that takes a text, ``output_field`` that of its final state
    with the answer. With ``split``, only cases of that split are taken.
    """

    input_field: str = "input"
    output_field: str = "output"
    split: str = ""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A case as a reader found it: without a name that is ours, and its checks not yet made an expectation."""

    label: str
    place: str
    input: JSON
    expected: JSON = None
    checks: tuple[Check, ...] = ()
    threshold: float | None = None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The suggested ``spec.evaluation``; without evaluators there is none. ``note`` says what to look at."""

    evaluators: tuple[Mapping[str, JSON], ...] = ()
    pass_threshold: float | None = None
    note: str = ""

    def to_json(self) -> dict[str, JSON]:
        """Return what stands under ``evaluation``."""
        threshold = {} if self.pass_threshold is None else {"passThreshold": self.pass_threshold}
        return {**threshold, "evaluators": [dict(evaluator) for evaluator in self.evaluators]}


@dataclass(frozen=True, slots=True)
class Found:
    """What a file has in it: the cases, the evaluation if it is not to be made of their checks, and a note on it."""

    proposals: Sequence[Proposal]
    evaluation: Evaluation | None = None
    note: str = ""


Reader: TypeAlias = "Callable[[Source, Wanted, Losses], Found]"
"""Reads one format. Raises ``SpecInvalid`` for a file that is not of it."""


def refused(name: str, place: str, message: str, remedy: str) -> SpecInvalid:
    """Return the error of a file that cannot be imported at all."""
    return SpecInvalid(name, [Fault(place or "file", "", message, remedy)])


def json_lines(source: Source) -> list[tuple[str, JSON]]:
    """Return each line's place and value. Raises ``SpecInvalid`` with every line that is not a JSON object."""
    rows: list[tuple[str, JSON]] = []
    faults: list[Fault] = []
    # Not splitlines(): it also parts at characters that may stand unescaped within a JSON text.
    for number, line in enumerate(source.text.split("\n"), 1):
        if not line.strip():
            continue
        place = f"line {number}"
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as err:
            faults.append(Fault(place, "", f"is not JSON: {err}", "write one JSON object in one line"))
            continue
        if isinstance(value, dict):
            rows.append((place, value))
        else:
            faults.append(Fault(place, "", "is not a JSON object", "write one JSON object in one line"))
    if faults:
        raise SpecInvalid(source.name, faults[:100])
    return rows
