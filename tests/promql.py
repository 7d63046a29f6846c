"""Reads PromQL as far as it names things: which metrics with which label values, and which labels it groups by.

It takes an expression apart token by token and refuses what it does not know, so that nothing is overlooked. Whether
an expression is right as a whole is for Prometheus to say (``tests/cluster/test_prometheus.py``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchyard.metrics.catalogue import CATALOGUE, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from batchyard.metrics.catalogue import Metric

TARGET_LABELS = frozenset({"namespace", "job", "instance", "pod"})
"""What a scrape adds, whatever is scraped."""

_TOKEN = re.compile(
    r"""(?P<space>\s+)
    |(?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    |(?P<number>\d[\d.]*(?:[a-z][a-z0-9]*)?)
    |(?P<word>[a-zA-Z_:][a-zA-Z0-9_:]*)
    |(?P<sign>=~|!~|!=|==|<=|>=|[-+*/%^(){}\[\],<>=@:])""",
    re.VERBOSE,
)
_GROUPING = frozenset({"by", "without", "on", "ignoring", "group_left", "group_right"})
_WORDS = frozenset({"and", "or", "unless", "bool", "offset", "inf", "nan", "start", "end"})
_SUFFIXES = {Kind.HISTOGRAM: ("_bucket", "_sum", "_count")}


@dataclass(frozen=True, slots=True)
class Matcher:
    """One condition on a label."""

    label: str
    op: str
    value: str


@dataclass(frozen=True, slots=True)
class Selector:
    """One metric that is asked for."""

    metric: str
    matchers: tuple[Matcher, ...] = ()


@dataclass(frozen=True, slots=True)
class Names:
    """Everything that an expression names."""

    selectors: tuple[Selector, ...]
    grouped_by: frozenset[str]


def names_of(expression: str) -> Names:
    """Return what an expression names. Raises ``ValueError`` for what is no PromQL that is known here."""
    tokens = _tokens(expression)
    selectors: list[Selector] = []
    labels: set[str] = set()
    at = 0
    while at < len(tokens):
        kind, text = tokens[at]
        follower = tokens[at + 1][1] if at + 1 < len(tokens) else ""
        at += 1
        if text == "{":
            raise ValueError(f"a selector without a metric's name in {expression!r}")
        if kind != "word" or text.lower() in _WORDS:
            continue
        if text in _GROUPING:
            if follower == "(":
                inside, at = _until(tokens, at + 1, ")")
                labels |= {word for kind, word in inside if kind == "word"}
        elif follower != "(" and follower not in {"by", "without"}:
            matchers: tuple[Matcher, ...] = ()
            if follower == "{":
                inside, at = _until(tokens, at + 1, "}")
                matchers = tuple(_matchers(inside))
            selectors.append(Selector(text, matchers))
    return Names(tuple(selectors), frozenset(labels))


def faults_of(expression: str) -> list[str]:
    """Return everything in an expression that the catalogue does not have, a sentence each."""
    names = names_of(expression)
    found: list[str] = []
    possible = set(TARGET_LABELS)
    for selector in names.selectors:
        metric = _metric_of(selector.metric)
        if metric is None:
            found.append(f"there is no metric {selector.metric}")
            continue
        values = _values_of(metric, selector.metric)
        possible |= set(values)
        found += [fault for one in selector.matchers if (fault := _fault(selector.metric, one, values))]
    return found + [f"no metric of it has the label {label}" for label in sorted(names.grouped_by - possible)]


def metrics_of(expression: str) -> set[str]:
    """Return the names in the catalogue of the metrics that an expression asks for."""
    return {
        metric.full_name for one in names_of(expression).selectors if (metric := _metric_of(one.metric)) is not None
    }


def _tokens(expression: str) -> list[tuple[str, str]]:
    found, at = [], 0
    while at < len(expression):
        match = _TOKEN.match(expression, at)
        if match is None:
            raise ValueError(f"no PromQL: {expression[at : at + 20]!r}")
        at = match.end()
        if match.lastgroup != "space":
            found.append((str(match.lastgroup), match[0]))
    return found


def _until(tokens: Sequence[tuple[str, str]], at: int, closing: str) -> tuple[list[tuple[str, str]], int]:
    end = next((place for place in range(at, len(tokens)) if tokens[place][1] == closing), None)
    if end is None:
        raise ValueError(f"{closing} is missing")
    return list(tokens[at:end]), end + 1


def _matchers(tokens: Sequence[tuple[str, str]]) -> Iterator[Matcher]:
    rest = [text for _, text in tokens if text != ","]
    if len(rest) % 3:
        raise ValueError(f"no matchers: {rest}")
    for at in range(0, len(rest), 3):
        label, op, value = rest[at : at + 3]
        yield Matcher(label, op, value[1:-1])


def _metric_of(name: str) -> Metric | None:
    for metric in CATALOGUE:
        if name in {metric.full_name + suffix for suffix in _SUFFIXES.get(metric.kind, ("",))}:
            return metric
    return None


def _values_of(metric: Metric, name: str) -> dict[str, tuple[str, ...]]:
    """Return the labels of a series and the values that each may have; none for whatever value."""
    values = dict(metric.labels)
    if name.endswith("_bucket"):
        values["le"] = (*(str(float(bucket)) for bucket in metric.buckets), "+Inf")
    if "code" in values:
        values["code"] = (*(str(code) for code in range(100, 600)), "error")
    return values


def _fault(metric: str, matcher: Matcher, values: dict[str, tuple[str, ...]]) -> str:
    if matcher.label in TARGET_LABELS:
        return ""
    if matcher.label not in values:
        return f"{metric} has no label {matcher.label}"
    known = values[matcher.label]
    if "~" in matcher.op:
        odd = [
            one for one in matcher.value.split("|") if known and not any(re.fullmatch(one, value) for value in known)
        ]
    else:
        odd = [matcher.value] if known and matcher.value not in known else []
    return f"{metric}: {matcher.label} is never {', '.join(odd)}" if odd else ""
