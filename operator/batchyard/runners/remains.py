"""What an attempt left in its worker's checkpoint file: how far it came, and its thread to go on from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import structlog

from batchyard.decide.prefixes import as_shared, offered
from batchyard.decide.retention import keep_thread
from batchyard.engine.attempts import Prefix
from batchyard.model.execution import ExecutionNotFound
from batchyard.model.trial import NodeBoundary

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from batchyard.clock import Clock
    from batchyard.engine.attempts import Ended, Order

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Remains:
    """Reads checkpoint files whose worker may be dead, with the workflow framework's two ways to.

    ``take_thread`` takes a thread of this name out of a file: all of it, or up to a checkpoint.
    """

    read_boundaries: Callable[[Path, str], tuple[NodeBoundary, ...]]
    take_thread: Callable[..., bytes] | None
    clock: Clock

    def boundaries(self, file: Path, order: Order, node: tuple[str, float] | None) -> tuple[NodeBoundary, ...]:
        """Return the boundaries a killed attempt reached, and the ``node`` it was in since when."""
        try:
            reached = self.read_boundaries(file, order.thread_id)
        except Exception as err:  # a file cut off mid-write must not hide how the attempt ended
            _log.warning("boundaries of a killed attempt cannot be read", error=str(err))
            reached = ()
        if order.beginning is not None:
            count = len(order.beginning.boundaries)
            reached = (*as_shared(reached[:count]), *reached[count:])
        if node is None:
            return reached
        entry = reached[-1].exit_checkpoint if reached else None
        running = NodeBoundary(
            node[0], "running", max(0.0, self.clock.monotonic() - node[1]), entry, step=len(reached) + 1
        )
        return (*reached, running)

    def with_thread(self, file: Path, order: Order, ended: Ended) -> Ended:
        """Return the end with the attempt's thread, if its order asks for it and there is one."""
        if self.take_thread is None or not keep_thread(order.keep, ended.result.outcome):
            return ended
        try:
            return replace(ended, thread=self.take_thread(file, order.thread_id))
        except ExecutionNotFound:
            return ended  # it was over before its first checkpoint
        except Exception as err:  # how the attempt ended is known, and counts more
            _log.warning("an attempt's thread cannot be kept", error=str(err))
            return ended

    def with_prefix(self, file: Path, order: Order, ended: Ended) -> Ended:
        """Return the end with as much of the attempt's run as trials that wait for it can go on from."""
        shared = offered(ended.result.boundaries, order.share)
        if not shared or self.take_thread is None:
            return ended
        try:
            piece = self.take_thread(file, order.thread_id, shared[-1].exit_checkpoint)
        except Exception as err:  # how the attempt ended is known; the others run from their input
            _log.warning("the beginning of a run cannot be taken out of its file", error=str(err))
            return ended
        return replace(ended, prefix=Prefix(piece, shared))
