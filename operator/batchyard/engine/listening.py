"""How a controller hears that a run can be asked to stop, beside whoever watches the run."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from batchyard.engine.ports import Probe, StopRequest


class Listening:
    """A probe that also tells the controller how the run can be asked to stop."""

    def __init__(self, probe: Probe, heard: Callable[[StopRequest], None]) -> None:
        self._probe, self._heard = probe, heard
        # The hot path: no frame of ours between a node and who watches it.
        self.node_started, self.node_finished = probe.node_started, probe.node_finished

    def on_stop(self, stop: StopRequest) -> None:
        """Keep it, and pass it on."""
        self._heard(stop)
        self._probe.on_stop(stop)
