"""Every metric in the catalogue is set by something that really happens: no alert or panel waits for a number for ever.

Read from the code's syntax, so that a metric whose only caller was removed is found the day that happens.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import batchyard
from batchyard.metrics.catalogue import CATALOGUE
from batchyard.metrics.state import StateSnapshot

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchyard.metrics.catalogue import Metric

SOURCES = Path(batchyard.__file__).parent
METRICS = SOURCES / "metrics" / "__init__.py"
_SETTERS = {"_count", "_measure"}


@cache
def parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def trees(*, of_metrics: bool) -> Iterator[ast.Module]:
    for file in sorted(SOURCES.rglob("*.py")):
        if (file == METRICS) is of_metrics and "testing" not in file.parts:
            yield parsed(file)


def strings(node: ast.AST) -> set[str]:
    return {one.value for one in ast.walk(node) if isinstance(one, ast.Constant) and isinstance(one.value, str)}


def called(tree: ast.AST) -> set[str]:
    """Return the names of the methods that are called on anything."""
    calls = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    return {func.attr for func in calls if isinstance(func, ast.Attribute)}


def methods_setting(metric: str) -> set[str]:
    """Return the methods of ``Metrics`` that count or measure this one."""
    found = set()
    for tree in trees(of_metrics=True):
        for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
            # By the name as a string: api_requests_total has a label that no closed set bounds, and is set by hand.
            sets = _SETTERS & called(function) or "inc" in called(function)
            if sets and metric in strings(function) and not function.name.startswith("_"):
                found.add(function.name)
    return found


@cache
def named_outside() -> set[str]:
    """Return every attribute that the code outside the metrics themselves calls or hands on."""
    return {node.attr for tree in trees(of_metrics=False) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}


@cache
def snapshot_fields() -> set[str]:
    """Return which fields a snapshot is given where one is made."""
    return {
        keyword.arg
        for tree in trees(of_metrics=False)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "StateSnapshot"
        for keyword in node.keywords
        if keyword.arg
    }


COUNTED = [metric for metric in CATALOGUE if not metric.sampled and metric.name != "build_info"]
GAUGES = [metric for metric in CATALOGUE if metric.sampled and metric.prefix and metric.name != "leading"]


@pytest.mark.parametrize("metric", COUNTED, ids=lambda metric: metric.name)
@pytest.mark.proves("metrics")
def test_what_is_counted_or_measured_has_a_caller_outside_the_metrics(metric: Metric) -> None:
    assert methods_setting(metric.name) & named_outside()


@pytest.mark.parametrize("metric", GAUGES, ids=lambda metric: metric.name)
def test_what_is_sampled_is_given_by_whoever_makes_a_snapshot(metric: Metric) -> None:
    assert metric.name in StateSnapshot.__dataclass_fields__
    assert metric.name in snapshot_fields()


def test_a_metric_that_nothing_sets_would_be_found() -> None:
    assert not methods_setting("checkpoint_write_seconds")
    assert "audit_buffer_entries" not in snapshot_fields()
