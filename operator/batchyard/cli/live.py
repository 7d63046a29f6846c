"""Progress on a terminal: drawn four times a second, and gone when the batch ends. Not for what stays on the screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from batchyard.cli.terminal import printable
from batchyard.cli.words import seconds

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from batchyard.cli.progress import Progress, Standing
    from batchyard.clock import Clock

_REFRESHES_PER_SECOND = 4
_RUNNING_SHOWN = 8
_LINES_AROUND = 6


class LiveView:
    """Draws a batch's progress until it is closed."""

    def __init__(self, console: Console, progress: Progress, clock: Clock) -> None:
        """Begin to draw, in a thread of rich's own."""
        self._console, self._progress, self._clock = console, progress, clock
        self._note = ""
        # stdout is not the display's: it may be a pipe that only the result goes into.
        self._live = Live(
            get_renderable=self._draw,
            console=console,
            refresh_per_second=_REFRESHES_PER_SECOND,
            transient=True,
            redirect_stdout=False,
        )
        self._live.start()

    def note(self, text: str) -> None:
        """Show a line under the rest from now on."""
        self._note = text

    def say(self, text: str) -> None:
        """Write a line above the display, where it stays."""
        self._live.console.print(Text(printable(text)), soft_wrap=True)

    def close(self) -> None:
        """Take the display off the screen."""
        self._live.stop()

    def _draw(self) -> RenderableType:
        now = self._clock.monotonic()
        return render(self._progress.standing(), now=now, height=self._console.height, note=self._note)


def render(standing: Standing, *, now: float, height: int, note: str = "") -> RenderableType:
    """Return what is on the screen of this height at the instant ``now``."""
    lines: list[RenderableType] = [_bar(standing)]
    if sentence := standing.sentence():
        lines.append(_line(sentence))
    room = max(1, min(_RUNNING_SHOWN, height - _LINES_AROUND))
    for trial in standing.running[:room]:
        name = trial.trial if trial.attempt == 1 else f"{trial.trial} (attempt {trial.attempt})"
        lines.append(_line(f"  {seconds(now - trial.since):>8}  {trial.worker:<8} {name}", "dim"))
    if len(standing.running) > room:
        lines.append(_line(f"  and {len(standing.running) - room} more", "dim"))
    if note:
        lines.append(_line(note, "yellow"))
    return Group(*lines)


def _bar(standing: Standing) -> Table:
    grid = Table.grid(padding=(0, 1))
    for _ in range(4):
        grid.add_column(no_wrap=True)
    left = "" if standing.remaining_seconds is None else f"about {seconds(standing.remaining_seconds)} left"
    done, total = standing.done, standing.total
    # Rounded down: it says 100% only when it is over.
    share = f"{done * 100 // total if total else 100}%"
    bar = ProgressBar(total=max(1, total), completed=done, width=30)
    grid.add_row(bar, f"{done}/{total} {share}", seconds(standing.elapsed), left)
    return grid


def _line(text: str, style: str = "") -> Text:
    return Text(printable(text), style=style, no_wrap=True, overflow="ellipsis")
