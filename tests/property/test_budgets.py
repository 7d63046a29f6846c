"""Budgets over all that can be used: more is never less over, what is exactly used up is within, nothing is lost."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from batchyard.decide.budgets import Ledger, exceeded, no_step_left, sentence
from batchyard.model.usage import Allowance, Kind, Usage

amounts = st.floats(0, 1e12)
usages = st.builds(Usage, amounts, amounts, amounts)
bounds = st.none() | st.floats(1e-6, 1e12)
allowances = st.builds(Allowance, bounds, bounds, bounds)
moves = st.lists(st.tuples(st.integers(0, 3), usages, st.booleans()), max_size=30)


@given(allowances, usages, usages)
def test_what_is_over_its_budget_stays_so_however_much_more_is_used(
    allowed: Allowance, used: Usage, more: Usage
) -> None:
    assert exceeded(allowed, used) is None or exceeded(allowed, used + more) is not None


@given(allowances, usages)
def test_only_what_has_a_limit_and_is_above_it_is_exceeded(allowed: Allowance, used: Usage) -> None:
    kind = exceeded(allowed, used)

    assert kind is None or getattr(used, kind) > getattr(allowed, kind)
    assert kind is None or sentence(kind, allowed, used)


@given(st.floats(1e-6, 1e9), st.integers(1, 200))
def test_a_budget_that_is_used_up_exactly_in_parts_is_not_exceeded(limit: float, parts: int) -> None:
    used = sum((Usage(cost=limit / parts) for _ in range(parts)), Usage())

    assert exceeded(Allowance(cost=limit), used) is None
    assert exceeded(Allowance(cost=limit), used + Usage(cost=limit / 1000)) is Kind.COST


@given(st.integers(1, 100), st.integers(0, 200))
def test_the_last_step_that_is_allowed_leaves_none_and_exceeds_nothing(limit: int, steps: int) -> None:
    allowed, used = Allowance(steps=limit), Usage(steps=steps)

    assert no_step_left(allowed, used) == (steps >= limit)
    assert (exceeded(allowed, used) is None) == (steps <= limit)


@settings(max_examples=60)
@given(moves)
def test_a_ledger_never_falls_and_never_loses_what_it_heard(told: list[tuple[int, Usage, bool]]) -> None:
    ledger, before = Ledger(), Usage()

    for ordinal, used, over in told:
        (ledger.ended if over else ledger.running)(ordinal, used)

        now = ledger.total
        assert all(getattr(now, kind) >= getattr(before, kind) * (1 - 1e-9) for kind in Kind)
        assert all(getattr(now, kind) >= getattr(used, kind) * (1 - 1e-9) for kind in Kind)
        before = now
