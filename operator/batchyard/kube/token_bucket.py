"""A token bucket: so many things at once, and then so many a second. Told the time, never asks for it."""

from __future__ import annotations

# Sums of small times fall short of what they should be by a little.
_ROUNDING = 1e-6


class TokenBucket:
    """Holds up to ``burst`` tokens; ``rate`` of them come back each second. Begins full."""

    def __init__(self, rate: float, burst: int, now: float) -> None:
        """``now`` is a monotonic time in seconds, as in every method."""
        self._rate, self._burst = rate, float(burst)
        self._tokens, self._at = float(burst), now

    def wait(self, now: float) -> float:
        """Return in how many seconds there is a token, 0 if there is one."""
        self._refill(now)
        missing = 1 - self._tokens
        return missing / self._rate if missing > _ROUNDING else 0.0

    def take(self, now: float) -> None:
        """Take a token, whether there is one or not: what is taken too early makes the next one wait longer."""
        self._refill(now)
        self._tokens -= 1

    def is_full(self, now: float) -> bool:
        """Return whether the bucket says no more than a new one would."""
        self._refill(now)
        return self._tokens >= self._burst - _ROUNDING

    def _refill(self, now: float) -> None:
        self._tokens = min(self._burst, self._tokens + max(0.0, now - self._at) * self._rate)
        self._at = max(self._at, now)
