"""Which trial is handed out next, by which number, and which wait for their retry."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from batchyard.engine.backlog import Backlog
from session_bench import loaded

if TYPE_CHECKING:
    from batchyard.engine.attempts import Order


def backlog(trials: int = 3, epoch: int = 1) -> Backlog:
    return Backlog(loaded(trials).plan, "b", epoch)


def all_orders(waiting: Backlog, now: float = 0.0) -> list[Order]:
    """Take orders until none is handed out."""
    return list(iter(lambda: waiting.next_order(now), None))


def numbers(orders: list[Order]) -> list[tuple[int, int]]:
    return [(order.ordinal, order.attempt) for order in orders]


def test_trials_are_handed_out_once_each_in_written_order() -> None:
    waiting = backlog(4)

    orders = all_orders(waiting)

    assert numbers(orders) == [(0, 1), (1, 1), (2, 1), (3, 1)]
    assert waiting.next_order(1e9) is None
    assert waiting.nothing_waits


def test_trials_that_earlier_sessions_finished_are_left_out() -> None:
    waiting = backlog(5)
    for ordinal in (0, 2, 4):
        waiting.finish(ordinal)

    assert waiting.open_count == 2
    assert numbers(all_orders(waiting)) == [(1, 1), (3, 1)]


def test_a_batch_that_is_finished_has_nothing_waiting_before_anything_is_handed_out() -> None:
    waiting = backlog(2)
    for ordinal in range(2):
        waiting.finish(ordinal)

    assert waiting.nothing_waits
    assert waiting.open_count == 0
    assert list(waiting.open_trials()) == []


def test_attempt_numbers_go_on_where_earlier_sessions_stopped() -> None:
    waiting = backlog(3, epoch=4)
    waiting.recall_attempts({1: 2})

    orders = all_orders(waiting)

    assert numbers(orders) == [(0, 1), (1, 3), (2, 1)]
    assert orders[1].thread_id == "b/left/case-1/0#3@4"


def test_a_retry_is_handed_out_when_it_is_due_and_before_trials_that_were_never_tried() -> None:
    waiting = backlog(2)
    waiting.next_order(0.0)

    waiting.retry(0, at=10.0)
    due = waiting.next_retry_at
    orders = all_orders(waiting, now=10.0)

    assert due == 10.0
    assert numbers(orders) == [(0, 2), (1, 1)]
    assert waiting.next_retry_at is None


def test_a_trial_that_was_never_tried_does_not_wait_for_a_retry_that_is_not_due() -> None:
    waiting = backlog(2)
    waiting.next_order(0.0)
    waiting.retry(0, at=10.0)

    orders = all_orders(waiting, now=9.999)

    assert numbers(orders) == [(1, 1)]
    assert not waiting.nothing_waits


def test_retries_come_in_the_order_in_which_they_are_due() -> None:
    waiting = backlog(3)
    all_orders(waiting)
    for ordinal, at in ((0, 30.0), (1, 10.0), (2, 20.0)):
        waiting.retry(ordinal, at)

    assert [order.ordinal for order in all_orders(waiting, now=30.0)] == [1, 2, 0]


def test_an_order_taken_back_stays_open_and_leaves_its_number_to_the_next() -> None:
    waiting = backlog(2)
    first, _ = all_orders(waiting)

    waiting.take_back(first)

    assert waiting.open_count == 2
    assert [(trial.ordinal, attempt) for trial, attempt in waiting.open_trials()] == [(0, 1), (1, 2)]


@pytest.mark.parametrize("recalled", [{}, {0: 5}])
def test_only_what_the_place_broke_is_counted_whatever_the_attempts_number(recalled: dict[int, int]) -> None:
    waiting = backlog(2)
    waiting.recall_attempts(recalled)
    all_orders(waiting)

    counts = [waiting.count_error(0), waiting.count_error(0), waiting.count_error(1)]

    assert counts == [1, 2, 1]


def test_a_finished_trial_is_open_no_more_though_others_are() -> None:
    waiting = backlog(3)
    all_orders(waiting)

    waiting.finish(1)

    assert waiting.open_count == 2
    assert [trial.id for trial, _ in waiting.open_trials()] == ["left/case-0/0", "left/case-2/0"]


def test_a_hundred_thousand_trials_cost_a_byte_each_and_are_passed_over_at_once() -> None:
    plan = loaded(10, repeats=10_000).plan
    waiting = Backlog(plan, "b", 1)
    for ordinal in range(len(plan) - 1):
        waiting.finish(ordinal)

    order = waiting.next_order(0.0)

    assert order is not None
    assert (len(plan), order.ordinal) == (100_000, 99_999)
    assert waiting.nothing_waits
