"""A scoring function that comes along: each case brings its own checks of one field, as imported cases do.

A batch names it with ``{name: callable, config: {function: "batchyard.judge.checks:met"}}``. Not for what is asked of
every case alike; the built-in evaluators do that.
"""

from __future__ import annotations

import json
import re
import string
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from batchyard.judge.fields import output_field, same
from batchyard.judge.observation import CannotJudge, Observed

if TYPE_CHECKING:
    from batchyard.model.trial import JSON


def met(output: Mapping[str, JSON], expected: JSON, context: Observed) -> Mapping[str, JSON]:
    """Return the share, by weight, of ``expected.checks`` that the output meets; a case without any has no score.

    Raises ``CannotJudge`` if a field is missing or a check is not one of ours.
    """
    checks = expected.get("checks") if isinstance(expected, Mapping) else None
    if checks is None:
        return {"score": None}
    weights = [float(check.get("weight", 1)) for check in checks]
    if not any(weights):
        return {"score": None}
    reached = sum(weight for check, weight in zip(checks, weights, strict=True) if _is_met(check, context))
    return {"score": reached / sum(weights)}


def _is_met(check: Mapping[str, JSON], context: Observed) -> bool:
    rule = _RULES.get(check.get("check", ""))
    if rule is None:
        known = ", ".join(_RULES)
        raise CannotJudge(f"case {context.case!r} has a check {check.get('check')!r}; known here: {known}")
    found = output_field(context, check["field"])
    every = "all" in check
    wanted: Sequence[JSON] = check.get("all" if every else "any", (None,))
    ignore_case = bool(check.get("ignoreCase", False))
    if check.get("trimmed"):
        found, wanted = _trimmed(found), [_trimmed(value) for value in wanted]
    answers = (rule(found, value, ignore_case) for value in wanted)
    return (all(answers) if every else any(answers)) is not bool(check.get("not", False))


def _text(value: JSON) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _trimmed(value: JSON) -> str:
    return _text(value).strip(string.whitespace + string.punctuation)


def _folded(value: JSON, ignore_case: bool) -> str:
    return _text(value).casefold() if ignore_case else _text(value)


def _equals(found: JSON, wanted: JSON, ignore_case: bool) -> bool:
    if same(found, wanted, ignore_case=ignore_case):
        return True
    if isinstance(found, str) and not isinstance(wanted, str):
        # The answer of a model is text, also where it is JSON.
        try:
            return same(json.loads(found), wanted, ignore_case=ignore_case)
        except ValueError:
            return False
    return (
        not isinstance(found, str)
        and isinstance(wanted, str)
        and _folded(found, ignore_case) == _folded(wanted, ignore_case)
    )


def _contains(found: JSON, wanted: JSON, ignore_case: bool) -> bool:
    return _folded(wanted, ignore_case) in _folded(found, ignore_case)


def _starts_with(found: JSON, wanted: JSON, ignore_case: bool) -> bool:
    return _folded(found, ignore_case).startswith(_folded(wanted, ignore_case))


def _ends_with(found: JSON, wanted: JSON, ignore_case: bool) -> bool:
    return _folded(found, ignore_case).endswith(_folded(wanted, ignore_case))


def _matches(found: JSON, wanted: JSON, ignore_case: bool) -> bool:
    return re.search(_text(wanted), _text(found), re.IGNORECASE if ignore_case else 0) is not None


def _is_json(found: JSON, _wanted: JSON, _ignore_case: bool) -> bool:
    if not isinstance(found, str):
        return True
    try:
        json.loads(found)
    except ValueError:
        return False
    return True


def _contains_json(found: JSON, _wanted: JSON, _ignore_case: bool) -> bool:
    """Return whether an object or a list stands somewhere in the text."""
    decoder = json.JSONDecoder()
    text = _text(found)
    for begin in re.finditer(r"[\[{]", text):
        try:
            decoder.raw_decode(text, begin.start())
        except ValueError:
            continue
        return True
    return False


_Rule = Callable[["JSON", "JSON", bool], bool]

_RULES: Mapping[str, _Rule] = MappingProxyType(
    {
        "equals": _equals,
        "contains": _contains,
        "startsWith": _starts_with,
        "endsWith": _ends_with,
        "matches": _matches,
        "isJson": _is_json,
        "containsJson": _contains_json,
    }
)
