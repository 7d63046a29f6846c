"""What hears of a run while it goes on, and how it is asked to stop."""

from __future__ import annotations

from typing import Protocol


class Probe(Protocol):
    """Hears where a run is, and says whether it should stop. Called from the thread that runs the graph or its pools.

    Calls are cheap (no I/O) and never raise.
    """

    def node_started(self, node: str, task: str) -> None:
        """Hear that a top-level node begins; ``task`` tells it from other visits of it that run beside it."""
        ...

    def node_finished(self, node: str, task: str) -> None:
        """Hear that this visit of the node ended, in whatever way."""
        ...

    def on_stop(self, stop: StopRequest) -> None:
        """Keep ``stop`` so that the run can be asked to end at its next node boundary."""
        ...


class StopRequest(Protocol):
    """The soft way to end a run. Safe to call from any thread, at any time, more than once."""

    def __call__(self) -> None:
        """Ask the run to end at its next node boundary."""
        ...
