"""promptfoo's assertions as checks, and the compact ones of its CSV files. What cannot be one is a loss."""

from __future__ import annotations

import json
import re
import warnings
from typing import TYPE_CHECKING, NamedTuple

from batchyard.importing.checks import Check, CheckKind
from batchyard.importing.templates import filled

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from batchyard.importing.losses import Losses
    from batchyard.model.trial import JSON

_ONE: Mapping[str, CheckKind] = {
    "equals": CheckKind.EQUALS,
    "contains": CheckKind.CONTAINS,
    "icontains": CheckKind.CONTAINS,
    "starts-with": CheckKind.STARTS_WITH,
    "regex": CheckKind.MATCHES,
}
_SEVERAL = {"contains-all", "contains-any", "icontains-all", "icontains-any"}
_JSON = {"is-json": CheckKind.IS_JSON, "contains-json": CheckKind.CONTAINS_JSON}
_CODE = {"javascript", "python", "ruby", "webhook"}
_GRADED = {
    "llm-rubric", "g-eval", "factuality", "model-graded-closedqa", "model-graded-factuality", "answer-relevance",
    "context-faithfulness", "context-recall", "context-relevance", "conversation-relevance", "select-best", "similar",
    "similar:cosine", "similar:dot", "similar:euclidean", "classifier", "moderation", "pi", "search-rubric",
}  # fmt: skip
_READ = {"type", "value", "threshold", "weight"}
_COMPACT = re.compile(r"(?P<type>(?:not-)?[a-z][a-z-]*)(?:\((?P<threshold>\d+(?:\.\d+)?)\))?:(?P<value>[\s\S]*)\Z")
_KNOWN = {*_ONE, *_SEVERAL, *_JSON, *_CODE, *_GRADED, "latency", "cost", "levenshtein", "rouge-n", "bleu"}
_NAMED_GROUP = re.compile(r"\(\?<(?![=!])")


class Placed(NamedTuple):
    """An assertion and where it stands."""

    place: str
    assertion: JSON


def placed(assertions: JSON, place: str, losses: Losses) -> list[Placed]:
    """Return the assertions of a list with their places."""
    if isinstance(assertions, list):
        return [Placed(f"{place}[{index}]", assertion) for index, assertion in enumerate(assertions)]
    if assertions is not None:
        losses.add(place, "an `assert` that is no list", "write a list of assertions")
    return []


def checks_of(assertions: Sequence[Placed], variables: Mapping[str, JSON], losses: Losses) -> tuple[Check, ...]:
    """Return what a test's assertions ask of its answer."""
    return tuple(check for one in assertions for check in _checks(one.assertion, one.place, variables, losses))


def compact(text: str) -> dict[str, JSON]:
    """Return an assertion as the ``__expected`` column of a CSV file spells it: ``type(threshold):value``."""
    for begin, kind in (("fn:", "javascript"), ("eval:", "javascript"), ("grade:", "llm-rubric")):
        if text.startswith(begin):
            return {"type": kind, "value": text.removeprefix(begin)}
    match = _COMPACT.match(text)
    if match is None or match["type"].removeprefix("not-") not in _KNOWN:
        bare = text.removeprefix("not-")
        return {"type": text} if bare in _JSON else {"type": "equals", "value": text}
    threshold = {} if match["threshold"] is None else {"threshold": float(match["threshold"])}
    return {"type": match["type"], "value": match["value"], **threshold}


def _checks(assertion: JSON, place: str, variables: Mapping[str, JSON], losses: Losses) -> Iterator[Check]:
    kind = assertion.get("type") if isinstance(assertion, dict) else None
    if not isinstance(kind, str):
        losses.add(place, "an assertion without a `type`", "name one")
        return
    if kind == "assert-set":
        if assertion.get("threshold") is not None:
            losses.add(place, "an `assert-set` with a threshold", "write it as a `callable` evaluator")
            return
        yield from checks_of(placed(assertion.get("assert"), f"{place}.assert", losses), variables, losses)
        return
    check = _check(kind, assertion, place, variables, losses)
    if check is not None:
        for key, value in assertion.items():
            if value is not None and key not in _READ:
                losses.add(place, f"`{key}` of an assertion", "leave it, or write a `callable` evaluator that does it")
        yield check


def _check(
    kind: str, assertion: Mapping[str, JSON], place: str, variables: Mapping[str, JSON], losses: Losses
) -> Check | None:
    bare, negated = kind.removeprefix("not-"), kind.startswith("not-")
    value, whole = filled(assertion.get("value"), variables)
    if not whole:
        losses.add(place, "a template that is more than {{name}} of a variable", "write the value out")
        return None
    if isinstance(value, str) and value.startswith("file://"):
        losses.add(place, f"assertion `{kind}` with its value in a file", "write the value into the config")
        return None
    weight = assertion.get("weight")
    weight = float(weight) if isinstance(weight, int | float) and weight >= 0 else 1.0
    if bare == "latency" and not negated:
        limit = assertion.get("threshold")
        if isinstance(limit, int | float) and limit > 0:
            return Check(CheckKind.LATENCY, (limit / 1000,), weight=weight)
    if bare in _JSON and value is not None:
        losses.add(place, f"the JSON schema of `{kind}`", "check it in a `callable` evaluator")
    values = _values(bare, value)
    if values is None or not _compiles(bare, values):
        _tell(kind, bare, place, losses)
        return None
    check_kind = _JSON.get(bare) or _ONE.get(bare, CheckKind.CONTAINS)
    ignore_case = bare.startswith("icontains")
    return Check(check_kind, values, bare.endswith("-all"), ignore_case, negated=negated, weight=weight)


def _values(bare: str, value: JSON) -> tuple[JSON, ...] | None:
    """Return what the assertion holds the answer against, None if it cannot be one of our checks."""
    if bare in _JSON:
        return ()
    if bare in _SEVERAL:
        items = value.split(",") if isinstance(value, str) else value
        return tuple(_as_text(item).strip() for item in items) if isinstance(items, list) and items else None
    if bare not in _ONE or value is None or value == "":
        return None
    if bare == "equals":
        return (value if isinstance(value, dict | list) else _as_text(value),)
    text = _as_text(value)
    # JavaScript spells a named group without the P.
    return (_NAMED_GROUP.sub("(?P<", text) if bare == "regex" else text,)


def _as_text(value: JSON) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _compiles(bare: str, values: tuple[JSON, ...]) -> bool:
    if bare != "regex":
        return True
    try:
        # Python warns of patterns that JavaScript has no doubts about.
        with warnings.catch_warnings(action="ignore"):
            re.compile(values[0])
    except re.error:
        return False
    return True


def _tell(kind: str, bare: str, place: str, losses: Losses) -> None:
    """Say that an assertion is lost, and what to write in its place."""
    if bare in _CODE:
        remedy = "write it in Python as a `callable` evaluator"
    elif bare in _GRADED:
        remedy = "write a `callable` evaluator that asks your model"
    elif bare == "cost":
        remedy = "have the workflow report it as a metric and name that in a `metric` evaluator"
    elif bare == "regex":
        remedy = "write it as Python's re has it"
    elif bare in {*_ONE, *_SEVERAL, "latency"}:
        remedy = "give it a value of its kind"
    else:
        remedy = "write it as a `callable` evaluator"
    losses.add(place, f"assertion `{kind}`", remedy)
