"""How variants become combinations and a plan becomes trials."""

from __future__ import annotations

import tracemalloc

import pytest

from batchyard.model.matrix import Plan, dimensions, expand_combinations
from batchyard.model.spec import Include, Variants
from batchyard.model.trial import JSON, Case, Combination

MEBIBYTE = 1024 * 1024


def names(variants: Variants) -> list[str]:
    return [combination.name for combination in expand_combinations(variants)]


def a_plan(combinations: int = 2, cases: int = 3, repeats: int = 2) -> Plan:
    return Plan(
        tuple(Combination(f"c{number}", {"d": str(number)}) for number in range(combinations)),
        tuple(Case(f"case-{number}", {"n": number}) for number in range(cases)),
        repeats,
    )


def merged(initial: dict[str, JSON], given: dict[str, JSON]) -> dict[str, JSON]:
    case = Case("one", given)
    return Plan((), (case,), 1, initial).input_for(case)


def test_the_product_comes_in_written_order() -> None:
    variants = Variants(matrix={"retriever": ("tfidf", "bm25"), "reader": ("first", "best")})

    assert names(variants) == ["tfidf-first", "tfidf-best", "bm25-first", "bm25-best"]
    assert expand_combinations(variants)[1].variants == {"retriever": "tfidf", "reader": "best"}


def test_an_exclude_takes_out_every_product_that_has_all_its_values() -> None:
    variants = Variants(
        matrix={"a": ("1", "2"), "b": ("x", "y"), "c": ("p", "q")},
        exclude=({"a": "1", "b": "x"}, {"c": "q", "a": "2"}),
    )

    assert names(variants) == ["1-y-p", "1-y-q", "2-x-p", "2-y-p"]


def test_includes_come_last_under_their_own_names_even_if_excluded_before() -> None:
    variants = Variants(
        matrix={"a": ("1", "2")},
        exclude=({"a": "1"},),
        include=(Include(name="baseline", variants={"a": "1"}),),
    )

    assert names(variants) == ["2", "baseline"]


def test_without_a_matrix_the_includes_are_all_there_is() -> None:
    includes = (Include(name="one", variants={"a": "x"}), Include(name="two", variants={"a": "y"}))
    variants = Variants(include=includes)

    assert names(variants) == ["one", "two"]
    assert dimensions(variants) == {"a": ("x", "y")}


def test_names_are_made_safe_for_kubernetes() -> None:
    variants = Variants(matrix={"model": ("GPT 4.1 (mini)",), "lang": ("en_GB",)})

    assert names(variants) == ["gpt-4-1-mini-en-gb"]


def test_values_that_differ_only_in_what_a_name_cannot_hold_get_a_hash_each() -> None:
    first, second, third = names(Variants(matrix={"a": ("x.y", "x_y", "z")}))

    assert first != second
    assert first.startswith("x-y-")
    assert second.startswith("x-y-")
    assert third == "z"


def test_names_of_other_combinations_do_not_change_when_a_value_is_added() -> None:
    before = names(Variants(matrix={"a": ("x.y", "x_y")}))
    after = names(Variants(matrix={"a": ("new", "x_y", "x.y")}))

    assert set(before) < set(after)


def test_a_value_that_looks_like_a_name_with_its_hash_keeps_names_apart() -> None:
    hashed = names(Variants(matrix={"a": ("x.y", "x_y")}))

    again = names(Variants(matrix={"a": ("x.y", "x_y", *hashed)}))

    assert len(set(again)) == 4


def test_a_long_name_is_cut_and_hashed() -> None:
    first, second = names(Variants(matrix={"a": ("v" * 80 + "1", "v" * 80 + "2")}))

    assert first != second
    assert len(first) <= 63
    assert len(second) <= 63


def test_values_of_which_no_name_can_be_made_are_named_by_hash() -> None:
    first, second = names(Variants(matrix={"a": ("日本", "中国")}))

    assert first != second
    assert first.isalnum()


@pytest.mark.proves("matrix")
def test_trials_go_by_combination_then_case_then_repeat() -> None:
    plan = a_plan(combinations=2, cases=2, repeats=2)

    assert [trial.id for trial in plan] == [
        "c0/case-0/0",
        "c0/case-0/1",
        "c0/case-1/0",
        "c0/case-1/1",
        "c1/case-0/0",
        "c1/case-0/1",
        "c1/case-1/0",
        "c1/case-1/1",
    ]


def test_a_trial_is_found_by_its_ordinal() -> None:
    plan = a_plan(combinations=3, cases=4, repeats=5)

    assert plan.trial(37) == list(plan)[37]
    assert plan.trial(37).ordinal == 37


@pytest.mark.parametrize("ordinal", [-1, 12])
def test_an_ordinal_outside_the_plan_is_refused(ordinal: int) -> None:
    with pytest.raises(IndexError, match="12 trials"):
        a_plan(2, 3, 2).trial(ordinal)


def test_the_initial_state_is_laid_under_the_input() -> None:
    result = merged({"a": 1, "nested": {"x": 1, "y": 2}, "list": [1]}, {"b": 2, "nested": {"y": 3}, "list": [2]})

    assert result == {"a": 1, "b": 2, "nested": {"x": 1, "y": 3}, "list": [2]}


def test_what_is_no_mapping_replaces_what_is_one() -> None:
    assert merged({"a": {"x": 1}, "b": 1}, {"a": None, "b": {"y": 1}}) == {"a": None, "b": {"y": 1}}


@pytest.mark.proves("bug-06")
def test_no_trial_can_change_what_another_is_given() -> None:
    case = Case("one", {"messages": [{"text": "hi"}], "shared": {"deep": {"b": []}}})
    plan = Plan((), (case,), 1, {"memory": {"facts": []}, "shared": {"deep": {"a": []}}})

    first = plan.input_for(case)
    first["messages"][0]["text"] = "changed"
    first["memory"]["facts"].append("changed")
    first["shared"]["deep"]["a"].append("changed")
    first["shared"]["deep"]["b"].append("changed")

    assert plan.input_for(case) == {
        "messages": [{"text": "hi"}],
        "memory": {"facts": []},
        "shared": {"deep": {"a": [], "b": []}},
    }


def test_a_hundred_thousand_trials_are_walked_without_being_kept() -> None:
    tracemalloc.start()
    try:
        plan = a_plan(combinations=10, cases=1000, repeats=10)
        total = sum(1 for trial in plan if trial.id)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert total == 100_000
    assert peak < 2 * MEBIBYTE


def test_a_hundred_thousand_cases_of_their_own_stay_under_200_mebibytes() -> None:
    tracemalloc.start()
    try:
        plan = a_plan(combinations=1, cases=100_000, repeats=1)
        total = sum(1 for trial in plan if plan.input_for(trial.case))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert total == 100_000
    assert peak < 200 * MEBIBYTE
