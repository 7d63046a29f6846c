"""``batchyard.report`` as a workflow calls it, and what a meter makes of it."""

from __future__ import annotations

import asyncio
import math
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

import batchyard
from batchyard.model.usage import Allowance, Usage
from batchyard.reporting import heard_by
from batchyard.runners.meter import Meter, Metering
from usage_page import UsagePage

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def page() -> UsagePage:
    return UsagePage()


@pytest.fixture
def meter(page: UsagePage) -> Iterator[Meter]:
    """A meter that listens in all of this process."""
    made = Meter(page)
    with heard_by(made, owns_process=True):
        yield made


def test_outside_a_trial_a_report_does_nothing_whatever_it_says() -> None:
    batchyard.report(tokens=-1, cost=float("nan"), note="no number")  # type: ignore[arg-type]

    assert batchyard.reporting.listening() is None


def test_importing_batchyard_for_a_report_imports_nothing_heavy() -> None:
    code = "import sys, batchyard; print([m for m in ('pydantic', 'langgraph', 'structlog') if m in sys.modules])"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)

    assert done.stdout.strip() == "[]"


def test_reports_of_the_same_name_add_up(meter: Meter, page: UsagePage) -> None:
    batchyard.report(tokens=100, cost=0.5, retrieved=3)
    batchyard.report(tokens=20, retrieved=1)

    assert meter.metrics() == {"tokens": 120, "cost": 0.5, "retrieved": 4}
    assert page.shown[-1] == Usage(0, 120, 0.5)


def test_no_report_is_lost_whichever_thread_makes_it(meter: Meter) -> None:
    def many() -> None:
        for _ in range(200):
            batchyard.report(tokens=1, cost=0.25)

    threads = [threading.Thread(target=many) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert meter.metrics() == {"tokens": 1600, "cost": 400}


def test_a_report_reaches_the_trial_from_a_coroutine_and_from_a_pool(meter: Meter) -> None:
    async def node() -> None:
        batchyard.report(tokens=1)
        await asyncio.to_thread(batchyard.report, tokens=10)

    asyncio.run(node())
    with ThreadPoolExecutor(1) as pool:
        pool.submit(batchyard.report, tokens=100).result()

    assert meter.metrics()["tokens"] == 111


def test_two_trials_that_share_a_process_hear_only_their_own(page: UsagePage) -> None:
    meters = [Meter(page), Meter(page)]

    def run(number: int) -> None:
        with heard_by(meters[number], owns_process=False):
            for _ in range(100):
                batchyard.report(tokens=10**number)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [meter.metrics() for meter in meters] == [{"tokens": 100}, {"tokens": 1000}]


@pytest.mark.parametrize(
    ("numbers", "error", "text"),
    [
        ({"tokens": "12"}, TypeError, "report(tokens='12'): is no number"),
        ({"retrieved": True}, TypeError, "report(retrieved=True): is no number"),
        ({"note": None}, TypeError, "report(note=None): is no number"),
        ({"cost": float("nan")}, ValueError, "is not finite"),
        ({"tokens": 10**400}, ValueError, "is not finite"),
        ({"cost": -0.5}, ValueError, "is less than nothing"),
        ({"steps": -1}, ValueError, "is less than nothing"),
        ({"": 2}, ValueError, "report(**{'': 2}): has no name"),
        ({" ": 2}, ValueError, "has no name"),
    ],
)
def test_what_is_no_amount_is_refused_in_words_and_nothing_of_it_is_counted(
    meter: Meter, numbers: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error) as raised:
        batchyard.report(**{"tokens": 1, **numbers})

    assert text in str(raised.value)
    assert meter.metrics() == {}


def test_any_kind_of_number_is_an_amount(meter: Meter) -> None:
    batchyard.report(tokens=3, cost=Decimal("0.25"), gained=-2)  # type: ignore[arg-type]

    assert meter.metrics() == {"tokens": 3, "cost": 0.25, "gained": -2}


def test_a_zero_is_a_metric_and_none_says_nothing(meter: Meter) -> None:
    batchyard.report(tokens=0, cost=None)

    assert meter.metrics() == {"tokens": 0}


def test_a_thread_left_behind_does_not_report_for_a_trial_that_is_over(meter: Meter, page: UsagePage) -> None:
    batchyard.report(tokens=1)

    meter.retire()
    batchyard.report(tokens=5)

    assert meter.metrics() == {"tokens": 1}
    assert page.shown == [Usage(tokens=1)]


def test_what_is_seen_reported_and_stated_of_the_same_tokens_is_counted_once(meter: Meter) -> None:
    meter.count({"tokens": 50, "cost": 0.5})
    batchyard.report(tokens=50)
    meter.state({"tokens": 30, "depth": 2})

    assert meter.metrics() == {"tokens": 50, "cost": 0.5, "depth": 2}


def test_without_metering_or_reports_metrics_are_what_the_state_says(page: UsagePage) -> None:
    meter = Meter(page)

    meter.node_started()
    meter.node_finished()
    meter.state({"tokens": 7, "steps": 3})

    assert meter.metrics() == {"tokens": 7, "steps": 3}
    assert page.shown == []


def test_with_metering_steps_are_nodes_and_what_is_reported_besides(page: UsagePage) -> None:
    meter = Meter(page, Metering(always=("cost",)))

    meter.node_started()
    meter.report({"steps": 2})
    meter.node_finished()

    assert meter.metrics() == {"steps": 3, "cost": 0}
    assert page.shown == [Usage(1), Usage(3), Usage(3)]


def test_a_stop_is_asked_for_once_when_the_budget_is_exceeded_and_not_before(page: UsagePage) -> None:
    meter, asked = Meter(page, Metering(Allowance(tokens=100))), []
    meter.on_spent(lambda: asked.append(page.shown[-1].tokens))

    for tokens in (60, 40, 1, 1):
        meter.report({"tokens": tokens})

    assert asked == [101]


def test_a_stop_is_asked_for_when_the_last_step_begins(page: UsagePage) -> None:
    meter, asked = Meter(page, Metering(Allowance(steps=2))), []
    meter.on_spent(lambda: asked.append(page.shown[-1].steps))

    meter.node_started()
    before = list(asked)
    meter.node_started()

    assert (before, asked) == ([], [2])


def test_a_budget_that_is_spent_already_asks_for_the_stop_of_what_begins_now(page: UsagePage) -> None:
    meter, asked = Meter(page, Metering(Allowance(tokens=100))), []
    meter.on_spent(lambda: asked.append("before the answer"))
    meter.report({"tokens": 101})

    meter.on_spent(lambda: asked.append("after it"))

    assert asked == ["before the answer", "after it"]


def test_budgets_are_counted_however_many_other_names_were_reported(page: UsagePage) -> None:
    meter, asked = Meter(page, Metering(Allowance(tokens=10))), []
    meter.on_spent(lambda: asked.append(page.shown[-1].tokens))
    for number in range(200):
        meter.report({f"doc_{number}": 1})

    meter.report({"tokens": 11})

    assert (asked, len(meter.metrics()), meter.metrics()["tokens"]) == ([11], 102, 11)


@pytest.mark.parametrize("huge", [1.5e308, -1.5e308])
def test_sums_stay_finite(page: UsagePage, huge: float) -> None:
    meter = Meter(page)

    meter.report({"looked": huge})
    meter.report({"looked": huge})

    assert math.isfinite(meter.metrics()["looked"])
