"""What a workflow asks while it runs, and what is answered: by a person, or by a case's script.

Not for deciding which answer goes to which question: ``decide.answers``.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchyard.model.trial import JSON


@dataclass(frozen=True, slots=True)
class Question:
    """What a workflow waits to be answered. ``node`` is the top-level node that asked, ``text`` what it asked."""

    id: str
    node: str
    text: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered to a workflow that asked: to the ``question`` of this id, or to the only one there is."""

    value: JSON
    question: str = ""


@dataclass(frozen=True, slots=True)
class ScriptedAnswer:
    """An answer written down before the run: for the next question of ``node`` whose text contains ``question``.

    What is "" is not asked for.
    """

    value: JSON
    node: str = ""
    question: str = ""


NO_ANSWERS: Mapping[str, JSON] = MappingProxyType({})
"""What is given to go on without an answer."""
