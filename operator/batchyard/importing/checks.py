"""One thing that a case asks of the answer, and how it is spelled for ``judge.checks``. Pure data."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batchyard.model.trial import JSON


class CheckKind(StrEnum):
    """What is asked; the names are those of ``judge.checks``, but for latency, which is an evaluator's."""

    EQUALS = "equals"
    CONTAINS = "contains"
    STARTS_WITH = "startsWith"
    ENDS_WITH = "endsWith"
    MATCHES = "matches"
    IS_JSON = "isJson"
    CONTAINS_JSON = "containsJson"
    LATENCY = "latency"


@dataclass(frozen=True, slots=True)
class Check:
    """A question to the answer. ``every`` asks for all of ``values``, otherwise one is enough.

    ``trimmed`` takes no notice of blanks and punctuation around either side.
    """

    kind: CheckKind
    values: tuple[JSON, ...] = ()
    every: bool = False
    ignore_case: bool = False
    trimmed: bool = False
    negated: bool = False
    weight: float = 1

    def to_json(self, field: str) -> dict[str, JSON]:
        """Return the check as it stands in a case's ``expected.checks``."""
        spelled: dict[str, JSON] = {"check": self.kind.value, "field": field}
        if self.values:
            spelled["all" if self.every else "any"] = list(self.values)
        if self.ignore_case:
            spelled["ignoreCase"] = True
        if self.trimmed:
            spelled["trimmed"] = True
        if self.negated:
            spelled["not"] = True
        if self.weight != 1:
            spelled["weight"] = self.weight
        return spelled
