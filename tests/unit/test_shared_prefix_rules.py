"""What may not stand beside ``workflow.sharedPrefix``, and which trials it leaves alone."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from batchyard.decide.prefixes import START, Shape
from batchyard.engine.attempts import Prefix
from batchyard.engine.backlog import Backlog
from batchyard.engine.prefixes import SharedPrefixes
from batchyard.local_prefixes import PrefixFolder
from batchyard.model.matrix import Plan
from batchyard.model.questions import ScriptedAnswer
from batchyard.model.rules import rule_faults
from batchyard.model.trial import Case, Combination, NodeBoundary
from batchyard.testing.fake_clock import FakeClock
from batchyard.testing.fake_runner import ended

if TYPE_CHECKING:
    from pathlib import Path

COMBINATIONS = tuple(Combination(name, {"side": name}) for name in ("left", "right"))
SHAPES = [Shape({START: "s", "a": "1"}, {START: ("a",), "a": ()})] * 2


def faults(**spec: Any) -> dict[str, str]:
    nodes = [{"name": "a", "dependsOn": ["size"]}, {"name": "a", "dependsOn": []}]
    document = {
        "spec": {
            "workflow": {"sharedPrefix": {"nodes": nodes}},
            "variants": {"matrix": {"side": ["left"]}},
            "cases": [{"name": "one"}],
            **spec,
        }
    }
    return {fault.path: fault.message for fault in rule_faults(document)}


def test_a_dimension_that_is_none_and_a_node_named_twice_are_told_of() -> None:
    found = faults()

    assert "no dimension" in found["spec.workflow.sharedPrefix.nodes[0].dependsOn[0]"]
    assert "already declared" in found["spec.workflow.sharedPrefix.nodes[1].name"]


@pytest.mark.parametrize("other", ["budgets", "files", "forkFrom"])
def test_what_a_trial_has_of_its_own_cannot_be_combined_with_sharing(other: str) -> None:
    assert f"spec.{other}" in faults(**{other: {}})["spec.workflow.sharedPrefix"]


def test_sharing_needs_the_states_between_nodes() -> None:
    assert "needs them" in faults(checkpoints={"durability": "exit"})["spec.checkpoints.durability"]


def backlog_of(case: Case, folder: Path) -> tuple[Backlog, SharedPrefixes]:
    plan = Plan(COMBINATIONS, (case,))
    prefixes = SharedPrefixes(plan, SHAPES, PrefixFolder(folder))
    return Backlog(plan, "b", 1, prefixes=prefixes), prefixes


def test_nodes_that_no_two_combinations_have_in_common_are_told_with_the_reason(tmp_path: Path) -> None:
    shapes = [Shape({START: "s", "a": mark, "b": "same"}, {START: ("a",), "a": ("b",)}) for mark in "12"]
    plan, keeper = Plan(COMBINATIONS, (Case("one", {}),)), PrefixFolder(tmp_path / "kept")

    told = SharedPrefixes(plan, shapes, keeper).told()
    beginning = SharedPrefixes(plan, shapes, keeper, {START: "a lock"}).told()

    alone = "no two combinations agree on it and on all nodes before it, which must be declared too"
    assert told == {"shared": [], "notShared": {"a": alone, "b": alone}}
    assert beginning["notShared"] == {START: "a lock"}


def test_a_trial_waits_for_the_one_it_follows_and_goes_on_from_what_that_left(tmp_path: Path) -> None:
    backlog, prefixes = backlog_of(Case("one", {}), tmp_path / "kept")
    first = backlog.next_order(0.0)
    assert first is not None
    boundary = NodeBoundary("a", "completed", 1.0, None, "after-a", 1)

    while_it_runs = backlog.next_order(0.0)
    waits = not backlog.nothing_waits
    prefixes.ended(replace(ended(first, FakeClock()), prefix=Prefix(b"thread", (boundary,))))
    backlog.finish(first.ordinal)
    second = backlog.next_order(0.0)

    assert first.share == (("__start__", "a"),)
    assert while_it_runs is None
    assert waits
    assert second is not None
    assert second.beginning is not None
    assert (second.beginning.checkpoint, list(second.beginning.boundaries)) == ("after-a", [boundary])


def test_a_case_with_scripted_answers_shares_nothing(tmp_path: Path) -> None:
    backlog, _ = backlog_of(Case("one", {}, answers=(ScriptedAnswer(value="yes"),)), tmp_path / "kept")

    orders = [backlog.next_order(0.0), backlog.next_order(0.0)]

    assert [(order.share, order.beginning) for order in orders if order] == [((), None), ((), None)]
