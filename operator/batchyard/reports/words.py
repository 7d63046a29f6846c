"""Numbers and amounts as they are said to people. Pure; not for JSON, which has them whole."""

from __future__ import annotations

import math
from datetime import UTC
from decimal import ROUND_DOWN, Decimal
from typing import TYPE_CHECKING

from batchyard.judge.exact import as_written

if TYPE_CHECKING:
    from datetime import datetime


def counted(count: int, noun: str) -> str:
    """Return a number with its noun."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def first_line(text: str) -> str:
    """Return the first line of a message that may have many."""
    return text.strip().split("\n", 1)[0]


def rate(value: float | None) -> str:
    """Return a share in per cent. Cut, not rounded, as the gate does it: only all is 100% and only nothing is 0%."""
    if value is None:
        return "-"
    shown = _cut(as_written(value) * 100, 1)
    return "<0.1%" if value > 0 and not shown else f"{shown}%"


def number(value: float | None) -> str:
    """Return a score; cut, not rounded."""
    return "-" if value is None or not math.isfinite(value) else str(_cut(as_written(value), 4))


def metric(value: float | None) -> str:
    """Return a metric of whatever size, briefly."""
    return "-" if value is None else f"{value:.5g}"


def signed(value: float) -> str:
    """Return a difference of scores or rates, with its sign."""
    return f"{value:+.4f}"


def p_value(value: float) -> str:
    """Return a p-value: small ones only as small."""
    return "<0.0001" if value < 0.0001 else f"{value:.4f}"


def _cut(value: Decimal, places: int) -> Decimal:
    return value.quantize(Decimal(1).scaleb(-places), rounding=ROUND_DOWN)


def seconds(value: float | None) -> str:
    """Return a duration for people."""
    if value is None:
        return "-"
    if value < 0.9995:
        milliseconds = value * 1000
        return f"{milliseconds:.2f} ms" if milliseconds < 0.995 else f"{milliseconds:.3g} ms"
    if value < 119.95:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02} min"


def rfc3339(moment: datetime) -> str:
    """Return a moment in UTC, to the microsecond."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
