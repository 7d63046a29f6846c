"""A clock that stands still until it is told to go on. A fake: no test of real time uses it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

T0 = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class FakeClock:
    """Both of its times go on together, by ``advance`` and ``advance_to`` only."""

    def __init__(self, *, monotonic: float = 1000.0) -> None:
        """Begin at ``T0`` and this monotonic second."""
        self._begun = self._monotonic = monotonic

    def now(self) -> datetime:
        """Return the time of day."""
        return T0 + timedelta(seconds=self._monotonic - self._begun)

    def monotonic(self) -> float:
        """Return the monotonic second."""
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Go on by so many seconds, which may be none."""
        if seconds < 0:
            raise ValueError(f"time does not go back by {-seconds} s")
        self._monotonic += seconds

    def advance_to(self, monotonic: float) -> None:
        """Go on to an instant; one that has passed changes nothing."""
        self._monotonic = max(self._monotonic, monotonic)
