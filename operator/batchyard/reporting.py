"""What a workflow's own code can tell of the trial it runs in: ``batchyard.report``.

Imported by users' code, so it imports nothing heavy. Not for what becomes of what is told: whoever runs an attempt
says who listens.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class Listener(Protocol):
    """Adds up what one attempt uses. Safe to call from any thread."""

    def report(self, numbers: Mapping[str, object]) -> None:
        """Add what the workflow says it used. Raises ``TypeError`` and ``ValueError`` for what is no amount."""
        ...

    def count(self, numbers: Mapping[str, float]) -> None:
        """Add what was seen that it used, of which the workflow itself may say something too."""
        ...


_here: ContextVar[Listener | None] = ContextVar("batchyard_listener", default=None)
_everywhere: Listener | None = None
"""Who listens to threads that have a context of their own, in a process that runs one attempt at a time."""


def report(*, tokens: float | None = None, cost: float | None = None, **numbers: float) -> None:
    """Say what the running trial used since it last said so; may be called from any thread of its code.

    Amounts of the same name are added up and become metrics of the trial; ``tokens``, ``cost`` and ``steps`` count
    against its budgets. Outside a trial nothing happens, whatever is given.

    Args:
        tokens: Tokens of language models; None says nothing of them.
        cost: Money, in the currency of the batch's budgets; None says nothing of it.
        numbers: Whatever else is worth comparing, by name.

    Raises:
        TypeError: Something is no number.
        ValueError: Something is not finite, or less than nothing was used of what has a budget.
    """
    listener = listening()
    if listener is None:
        return
    given: dict[str, object] = {**numbers}
    if tokens is not None:
        given["tokens"] = tokens
    if cost is not None:
        given["cost"] = cost
    listener.report(given)


def listening() -> Listener | None:
    """Return who listens to what this code reports, None outside a trial."""
    return _here.get() or _everywhere


@contextmanager
def heard_by(listener: Listener, *, owns_process: bool) -> Iterator[None]:
    """Have ``listener`` hear what is reported in this context; with ``owns_process`` in all of the process."""
    global _everywhere
    token = _here.set(listener)
    if owns_process:
        _everywhere = listener
    try:
        yield
    finally:
        if owns_process:
            _everywhere = None
        _here.reset(token)
