"""What holds of every matrix and every plan."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchyard.model.matrix import Plan, expand_combinations
from batchyard.model.names import is_dns_label
from batchyard.model.spec import Include, Variants
from batchyard.model.trial import Case, Combination

# Few letters, so that values often become the same name.
VALUES = st.text("aB-._ é", min_size=1, max_size=4) | st.text(min_size=1, max_size=80)


@st.composite
def all_variants(draw: st.DrawFn) -> Variants:
    keys = draw(st.lists(st.sampled_from("abcd"), min_size=1, max_size=3, unique=True))
    matrix = {key: tuple(draw(st.lists(VALUES, min_size=1, max_size=4, unique=True))) for key in keys}

    def choice(some: list[str]) -> dict[str, str]:
        return {key: draw(st.sampled_from(matrix[key])) for key in some}

    parts = draw(st.lists(st.lists(st.sampled_from(keys), min_size=1, unique=True), max_size=3))
    includes = range(draw(st.integers(0, 3)))
    return Variants(
        matrix=matrix,
        exclude=tuple(choice(part) for part in parts),
        include=tuple(Include(name=f"include-{number}-is-mine", variants=choice(keys)) for number in includes),
    )


def plans() -> st.SearchStrategy[Plan]:
    sizes = st.integers(1, 6)
    return st.builds(
        lambda combinations, cases, repeats: Plan(
            tuple(Combination(f"c{number}", {}) for number in range(combinations)),
            tuple(Case(f"case-{number}", {}) for number in range(cases)),
            repeats,
        ),
        sizes,
        sizes,
        sizes,
    )


@given(all_variants())
def test_there_are_as_many_as_the_product_less_the_excluded_plus_the_included(variants: Variants) -> None:
    products = [
        dict(zip(variants.matrix, values, strict=True)) for values in itertools.product(*variants.matrix.values())
    ]
    left_out = [one for one in products if any(entry.items() <= one.items() for entry in variants.exclude)]

    combinations = expand_combinations(variants)

    assert len(products) == math.prod(map(len, variants.matrix.values()))
    assert len(combinations) == len(products) - len(left_out) + len(variants.include)


@given(all_variants())
def test_names_are_unique_and_safe_for_kubernetes(variants: Variants) -> None:
    names = [combination.name for combination in expand_combinations(variants)]

    assert len(set(names)) == len(names)
    assert all(map(is_dns_label, names))


@given(all_variants())
def test_expanding_again_gives_the_same(variants: Variants) -> None:
    again = Variants.model_validate_json(variants.model_dump_json())

    assert expand_combinations(again) == expand_combinations(variants)


@given(all_variants())
def test_a_name_does_not_depend_on_the_order_of_values(variants: Variants) -> None:
    turned = variants.model_copy(update={"matrix": {key: values[::-1] for key, values in variants.matrix.items()}})

    names = {combination.name: combination.variants for combination in expand_combinations(variants)}

    assert {combination.name: combination.variants for combination in expand_combinations(turned)} == names


@given(plans())
@pytest.mark.proves("matrix")
def test_ordinals_and_trials_belong_to_each_other_one_to_one(plan: Plan) -> None:
    trials = list(plan)

    assert [trial.ordinal for trial in trials] == list(range(len(plan)))
    assert len({trial.id for trial in trials}) == len(plan)
    assert all(plan.trial(trial.ordinal) == trial for trial in trials)


@given(plans())
def test_an_ordinal_is_made_of_combination_case_and_repeat(plan: Plan) -> None:
    for trial in plan:
        combination = plan.combinations.index(trial.combination)
        case = plan.cases.index(trial.case)

        assert trial.ordinal == (combination * len(plan.cases) + case) * plan.repeats + trial.repeat
