"""Evaluators by name. Not for what an evaluator's config may say; that is the model's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from batchyard.judge.observation import Evaluator, Resolve
from batchyard.model.errors import BatchyardError
from batchyard.model.trial import JSON

Maker: TypeAlias = Callable[[Mapping[str, JSON], Resolve | None], Evaluator]
"""Makes an evaluator of its ``config``; the second argument imports the user's functions, None where that is barred."""


class UnknownEvaluator(BatchyardError):
    """No evaluator of this name is installed."""


class DuplicateEvaluator(BatchyardError):
    """An evaluator of this name is installed already."""


class Registry:
    """The evaluators a batch may name."""

    def __init__(self) -> None:
        self._makers: dict[str, Maker] = {}

    def register(self, name: str, maker: Maker) -> None:
        """Add an evaluator. Raises ``DuplicateEvaluator`` if the name is taken."""
        if name in self._makers:
            raise DuplicateEvaluator(f"evaluator {name!r} is registered already; choose another name")
        self._makers[name] = maker

    def get(self, name: str) -> Maker:
        """Return what makes the evaluator. Raises ``UnknownEvaluator``, which names those that are installed."""
        maker = self._makers.get(name)
        if maker is None:
            raise UnknownEvaluator(f"unknown evaluator {name!r}; installed: {', '.join(self.list()) or 'none'}")
        return maker

    def list(self) -> tuple[str, ...]:
        """Return all names in alphabetical order."""
        return tuple(sorted(self._makers))
