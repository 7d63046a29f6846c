"""What is asked of a state adapter about sharing, and what it answers: plain data, as JSON between processes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True)
class ShareableNode:
    """A node that a BatchTest declares shareable; see ``model.spec_sharing``."""

    name: str
    depends_on: Sequence[str] = ()
    reads: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class GraphMarks:
    """One workflow, as sharing sees it; see ``decide.prefixes.Shape``.

    ``unmarked`` says why a declared node has no fingerprint, ``unread`` why a value that one is declared to read cannot
    be had. ``nodes`` are all of the workflow's nodes.
    """

    marks: Mapping[str, str] = field(default_factory=dict)
    leads_to: Mapping[str, Sequence[str]] = field(default_factory=dict)
    unmarked: Mapping[str, str] = field(default_factory=dict)
    nodes: Sequence[str] = ()
    unread: Mapping[str, str] = field(default_factory=dict)
