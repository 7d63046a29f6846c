"""What rules of the CRD are written with: a rule with its message, and the expressions of CEL that many of them need.

Not for any single rule.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batchyard.model.trial import JSON


def rule(expression: str, message: str, at: str = "", said: str = "", values: str = "") -> dict[str, JSON]:
    """Return one rule: ``message`` is told, of the field ``at``, where ``expression`` does not hold.

    ``said`` is the message with a %s for each item of ``values``, an expression that gives a list.
    """
    made: dict[str, JSON] = {"rule": expression, "message": message}
    if said:
        # Not put together with `+`: a number as text has no bound, so that would cost without end.
        made["messageExpression"] = f"{quoted(said)}.format({values})"
    if at:
        made["fieldPath"] = f".{at}"
    return made


def some(place: str) -> str:
    """Return the expression that something is in a list or mapping that may not be there."""
    return f"(has({place}) && {place}.size() > 0)"


def quoted(text: str) -> str:
    """Return a text as a literal of CEL."""
    return f"r'{text}'" if "'" not in text else json.dumps(text)
