"""Which trial of a finished batch a fork's trial begins from, and what is said when there is none."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from batchyard.decide.forking import ForkPoint, boundary_faults, fork_point, forking
from batchyard.model.matrix import Plan
from batchyard.model.spec_forking import ForkFrom
from batchyard.model.trial import Case, Combination, NodeBoundary
from batchyard.testing.store_builders import a_result

if TYPE_CHECKING:
    from collections.abc import Sequence


def a_fork(**fields: Any) -> ForkFrom:
    return ForkFrom(**{"batch_test": "first", "node": "retrieve", **fields})


def combinations(*pairs: str) -> tuple[Combination, ...]:
    """Return combinations of a retriever and a reader, each written as ``bm25-first``."""
    split = [pair.split("-") for pair in pairs]
    return tuple(Combination("-".join(names), {"retriever": names[0], "reader": names[1]}) for names in split)


def cases(*names: str, question: str = "?") -> tuple[Case, ...]:
    return tuple(Case(name, {"question": question, "of": name}) for name in names)


SOURCE = Plan(combinations("bm25-first", "bm25-vote", "tfidf-first"), cases("ada", "alan"), repeats=2)


def told(fork: ForkFrom, plan: Plan) -> list[tuple[str, str]]:
    pairs, faults = forking(fork, plan, SOURCE)
    assert pairs is None
    return [(fault.path, fault.message) for fault in faults]


def test_a_trial_begins_from_the_same_case_and_repeat_of_the_combination_that_is_named() -> None:
    plan = Plan(combinations("tfidf-best", "bm25-best"), cases("alan"), repeats=2)

    pairs, faults = forking(a_fork(variants={"reader": "first"}), plan, SOURCE)

    assert not faults
    assert pairs is not None
    assert [(plan.trial(n).id, pairs.trial(n).id) for n in range(len(plan))] == [
        ("tfidf-best/alan/0", "tfidf-first/alan/0"),
        ("tfidf-best/alan/1", "tfidf-first/alan/1"),
        ("bm25-best/alan/0", "bm25-first/alan/0"),
        ("bm25-best/alan/1", "bm25-first/alan/1"),
    ]


@settings(max_examples=30)
@given(st.permutations(["bm25-first", "bm25-vote", "tfidf-first"]), st.permutations(["ada", "alan"]), st.integers(1, 2))
def test_a_batch_of_the_same_trials_begins_each_from_its_own(
    names: Sequence[str], case_names: Sequence[str], repeats: int
) -> None:
    plan = Plan(combinations(*names), cases(*case_names), repeats=repeats)

    pairs, _ = forking(a_fork(), plan, SOURCE)

    assert pairs is not None
    assert [pairs.trial(n).id for n in range(len(plan))] == [trial.id for trial in plan]


def test_a_combination_without_counterpart_is_a_fault_that_says_what_it_would_begin_from() -> None:
    ((path, message),) = told(a_fork(), Plan(combinations("bm25-best"), cases("ada")))

    assert path == "spec.forkFrom.variants"
    assert "bm25-best would begin from reader=best, retriever=bm25" in message


def test_what_else_is_not_in_the_other_batch_is_told_all_at_once() -> None:
    plan = Plan(combinations("bm25-first"), (*cases("grace"), *cases("ada", question="why?")), repeats=3)

    assert told(a_fork(), plan) == [
        ("spec.forkFrom.batchTest", "has no case grace"),
        (
            "spec.forkFrom.batchTest",
            "has another input for case ada, and its state would come from that",
        ),
        ("spec.repeats", "are more than the 2 of first"),
    ]


def test_an_expectation_may_differ_from_the_other_batchs() -> None:
    plan = Plan(combinations("bm25-first"), tuple(replace(case, expected="x") for case in cases("ada")))

    _, faults = forking(a_fork(), plan, SOURCE)

    assert not faults


def test_a_trial_begins_where_the_node_had_ended_for_the_last_time() -> None:
    rounds = (
        NodeBoundary("retrieve", "completed", 0.1, "c0", "c1", 1),
        NodeBoundary("read", "completed", 0.1, "c1", "c2", 2),
        NodeBoundary("retrieve", "completed", 0.1, "c2", "c3", 3),
        NodeBoundary("retrieve", "failed", 0.1, "c3", None, 4),
    )
    result = replace(a_result(), boundaries=rounds)

    point = fork_point(SOURCE.trial(0), result, "retrieve")

    assert point == ForkPoint("bm25-first/ada/0", "b1/0#1", "c3", "w-1")


def test_a_trial_that_did_not_end_the_node_gives_no_place_to_begin() -> None:
    assert fork_point(SOURCE.trial(0), a_result(), "read") == ForkPoint("bm25-first/ada/0")
    assert fork_point(SOURCE.trial(0), None, "retrieve") == ForkPoint("bm25-first/ada/0")


def test_a_node_that_no_trial_ended_is_a_fault_and_one_that_some_did_is_not() -> None:
    missing, there = ForkPoint("bm25-first/ada/0"), ForkPoint("bm25-first/ada/1", "b1/1#1", "c1", "w-1")

    (fault,) = boundary_faults(a_fork(node="read"), {0: missing}, ["retrieve"])

    assert (fault.path, fault.value) == ("spec.forkFrom.node", "read")
    assert "retrieve" in fault.message
    assert not boundary_faults(a_fork(node="read"), {0: missing, 1: there}, ["retrieve", "read"])
