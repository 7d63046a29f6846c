"""Adds up what one attempt uses, shows it to whoever leads it, and asks for a stop when it is too much.

Inside the worker, so it can only ask. That nothing runs on is the leader's business, who reads the same numbers.
"""

from __future__ import annotations

import math
import os
import sys
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from batchyard.decide.budgets import exceeded, no_step_left
from batchyard.model.usage import Allowance, Kind, Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_MOST_NAMES = 100
_MOST = sys.float_info.max
_KINDS = frozenset(Kind)
_NO_NAMES: Mapping[str, float] = {}


@dataclass(frozen=True, slots=True)
class Metering:
    """What an attempt may use, and ``always``: the kinds that are metrics even if nothing of them was used."""

    allowed: Allowance = field(default_factory=Allowance)
    always: tuple[str, ...] = ()


class UsagePage(Protocol):
    """Where a meter shows what was used: a shared page, or memory of the same process."""

    def set_usage(self, used: Usage, at_ns: int) -> None:
        """Show what was used by this instant of the monotonic clock."""
        ...


class Meter:
    """One attempt's sums. Safe to call from any thread; says nothing once it is retired.

    Of tokens and cost the largest counts of what the workflow reported, what its final state has as a metric and what
    was seen of its models: they are three views of the same thing, so adding them up would count it twice.
    """

    def __init__(self, page: UsagePage, metering: Metering | None = None) -> None:
        """Show sums on ``page``. Without ``metering``, only what is reported is counted."""
        self._page, self._metering = page, metering
        self._lock = threading.Lock()  # guards the sums and the page; reports come from any thread of the workflow
        self._reported: defaultdict[str, float] = defaultdict(float)
        self._seen: defaultdict[str, float] = defaultdict(float)
        self._stated: Mapping[str, float] = _NO_NAMES
        self._steps = 0
        self._pid = os.getpid()
        self._over = False
        self._on_spent: Callable[[], None] | None = None

    def on_spent(self, call: Callable[[], None]) -> None:
        """Have ``call`` made, once, when the budget is exceeded or its last step has begun: now, if that has been."""
        self._on_spent = call
        self._stop_if_spent()

    # -- what is heard -----------------------------------------------------------------------------------------

    def node_started(self) -> None:
        """Count a step."""
        if self._metering is not None:
            with self._lock:
                self._steps += 1
                self._show()
            self._stop_if_spent()

    def node_finished(self) -> None:
        """Show that the attempt moves."""
        if self._metering is not None:
            with self._lock:
                self._show()

    def report(self, numbers: Mapping[str, object]) -> None:
        """Add what the workflow says it used."""
        self._add(self._reported, {name: _amount(name, value) for name, value in numbers.items()})

    def count(self, numbers: Mapping[str, float]) -> None:
        """Add what was seen of the workflow's models."""
        self._add(self._seen, numbers)

    def state(self, metrics: Mapping[str, float]) -> None:
        """Take over what the final state says in its ``metrics``."""
        with self._lock:
            self._stated = metrics
            if self._metering is not None:
                self._show()

    def retire(self) -> None:
        """Say nothing any more: a thread that the attempt left behind must not speak for the next one."""
        with self._lock:
            self._over = True

    # -- what it comes to --------------------------------------------------------------------------------------

    def metrics(self) -> dict[str, float]:
        """Return all sums as metrics of the attempt."""
        with self._lock:
            if self._metering is None and not self._reported:
                return dict(self._stated)
            used = self._used()
            found = {**self._stated, **self._seen, **self._reported}
            names = {*found, *(() if self._metering is None else (Kind.STEPS.value, *self._metering.always))}
        for kind in Kind:
            if kind in names and not (kind is Kind.STEPS and self._metering is None):
                found[kind.value] = getattr(used, kind)
        return found

    def _used(self) -> Usage:
        tokens, cost = (
            max(0.0, *(numbers.get(kind, 0.0) for numbers in (self._reported, self._seen, self._stated)))
            for kind in (Kind.TOKENS, Kind.COST)
        )
        return Usage(self._steps + self._reported.get(Kind.STEPS, 0.0), tokens, cost)

    def _add(self, sums: defaultdict[str, float], numbers: Mapping[str, float]) -> None:
        if os.getpid() != self._pid:
            return  # a forked child has copies of the sums, and must not write over what its parent shows
        with self._lock:
            if self._over:
                return
            for name, number in numbers.items():
                # Budgets hold however many other names there are.
                if name in sums or name in _KINDS or len(sums) < _MOST_NAMES:
                    # Of two finite numbers the sum may be none, which no store takes.
                    sums[name] = max(-_MOST, min(_MOST, sums[name] + number))
            self._show()
        self._stop_if_spent()

    def _show(self) -> None:
        if not self._over:
            self._page.set_usage(self._used(), time.monotonic_ns())

    def _stop_if_spent(self) -> None:
        call, metering = self._on_spent, self._metering
        if call is None or metering is None or not metering.allowed:
            return
        with self._lock:
            used = self._used()
        if exceeded(metering.allowed, used) or no_step_left(metering.allowed, used):
            self._on_spent = None
            call()


def _amount(name: str, value: object) -> float:
    """Return a reported value as a number. Raises ``TypeError`` or ``ValueError`` that say what to report instead."""
    if not name.strip():
        raise ValueError(f"batchyard.report(**{{{name!r}: {value!r}}}): has no name; say what was used, e.g. tokens")
    if isinstance(value, bool) or not hasattr(type(value), "__float__"):
        raise TypeError(f"batchyard.report({name}={value!r}): is no number; report how much was used, e.g. 12 or 0.5")
    try:
        number = float(value)  # type: ignore[arg-type]  # it has __float__: a Decimal, or an array's number
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"batchyard.report({name}={value!r}): is not finite; report what was really used")
    if number < 0 and name in _KINDS:
        raise ValueError(f"batchyard.report({name}={value!r}): is less than nothing; report what was used since")
    return number
