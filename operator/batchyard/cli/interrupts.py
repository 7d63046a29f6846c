"""Ctrl-C and TERM: the first asks the batch to end and keep what is finished, the second ends everything at once."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Self

from batchyard.decide.finish import EXIT_INTERRUPTED

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SHOW_CURSOR = b"\x1b[?25h\n"


class Interrupts:
    """Answers the signals while it is entered. Before there is a batch to end, a signal raises KeyboardInterrupt."""

    def __init__(self) -> None:
        """Have nothing to stop yet."""
        self._stop: Callable[[], None] | None = None
        self._asked, self._last_words = False, ""
        self._before: list[object] = []

    def __enter__(self) -> Self:
        self._before = [signal.signal(number, self._hear) for number in _SIGNALS]
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in zip(_SIGNALS, self._before, strict=True):
            signal.signal(number, handler)  # type: ignore[arg-type]

    def on_first(self, stop: Callable[[], None], last_words: str = "") -> None:
        """Call ``stop`` at the next signal instead of raising; the second ends everything with ``last_words``."""
        self._stop, self._last_words = stop, last_words

    def over(self) -> None:
        """Have nothing to stop any more: from now on a signal raises KeyboardInterrupt again."""
        self._stop, self._asked = None, False

    def _hear(self, _number: int, _frame: FrameType | None) -> None:
        if self._asked:
            # No clean-up: it may be what hangs. Worker processes end by themselves when this process is gone.
            if sys.stderr.isatty():
                os.write(sys.stderr.fileno(), _SHOW_CURSOR)
            if self._last_words:
                os.write(sys.stderr.fileno(), f"{self._last_words}\n".encode())
            os._exit(EXIT_INTERRUPTED)
        self._asked = True
        if self._stop is None:
            raise KeyboardInterrupt
        self._stop()
