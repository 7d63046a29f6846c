"""Long-running programs of the bed: started once, found again by a later process, stopped by their recorded id.

They outlive the process that starts them. A program whose command or configuration changed is started anew.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.bed.running import BedFailed, holds_within
from cluster.bed.settings import process_environment

if TYPE_CHECKING:
    from collections.abc import Callable

# The shell leaves at once, so the program becomes nobody's child and nobody has to wait for it.
_LAUNCH = 'log="$1"; shift; "$@" >> "$log" 2>&1 < /dev/null & echo $!'
_TAIL = 25


def _always() -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Program:
    """One program of the bed."""

    name: str
    command: tuple[str, ...]
    state: Path
    ready: Callable[[], bool] = _always
    """Whether it does its work; asked again and again while it starts."""
    deadline: float = 60
    """Seconds within which it must be ready."""
    grace: float = 15
    """Seconds that it is given to end by itself."""
    configuration: str = ""
    """A digest of the files that it reads at its start."""

    @property
    def log(self) -> Path:
        """What it printed."""
        return self.state / "logs" / f"{self.name}.log"

    @property
    def pid(self) -> int | None:
        """Its process id, or None when it does not run."""
        record = self._record()
        return record["pid"] if record and _started(record["pid"]) == record["started"] else None

    @property
    def current(self) -> bool:
        """Whether it runs with this very command and configuration."""
        record = self._record()
        return self.pid is not None and record is not None and record["identity"] == self._identity()

    def start(self) -> None:
        """Start it unless it runs as it should; does not wait until it is ready."""
        if self.current:
            return
        self.stop()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        launch = ["setsid", "sh", "-c", _LAUNCH, "sh", str(self.log), *self.command]
        said = subprocess.run(
            launch, capture_output=True, text=True, check=True, env=process_environment(), cwd=self.state
        )
        pid = int(said.stdout)
        self._file.parent.mkdir(parents=True, exist_ok=True)
        record = {"pid": pid, "started": _started(pid), "identity": self._identity()}
        self._file.write_text(json.dumps(record), encoding="utf-8")

    def await_ready(self) -> None:
        """Wait until it does its work.

        Raises:
            BedFailed: It ended, or was not ready in time; with the end of its log.
        """
        if not holds_within(self.deadline, lambda: self.pid is None or self.ready()):
            raise BedFailed(
                f"{self.name} was not ready within {self.deadline:.0f} s; the end of {self.log}:\n{self.tail()}"
            )
        if self.pid is None:
            raise BedFailed(f"{self.name} ended by itself; the end of {self.log}:\n{self.tail()}")

    def stop(self, grace: float | None = None) -> None:
        """Stop it and wait until it is gone; after the grace it is killed. Does nothing when it does not run."""
        pid = self.pid
        if pid is not None:
            patience = self.grace if grace is None else grace
            for number, seconds in ((signal.SIGCONT, 0.0), (signal.SIGTERM, patience), (signal.SIGKILL, 10.0)):
                _signal(pid, number)
                if seconds and holds_within(seconds, lambda: self.pid is None, every=0.05):
                    break
        self._file.unlink(missing_ok=True)

    def pause(self) -> None:
        """Freeze it, for tests of what happens when it hangs."""
        if self.pid is not None:
            _signal(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after a pause."""
        if self.pid is not None:
            _signal(self.pid, signal.SIGCONT)

    def tail(self) -> str:
        """Return the end of its log."""
        if not self.log.is_file():
            return "(nothing)"
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL:])

    @property
    def _file(self) -> Path:
        return self.state / "run" / f"{self.name}.json"

    def _identity(self) -> list[str]:
        return [*self.command, self.configuration]

    def _record(self) -> dict[str, Any] | None:
        try:
            record: dict[str, Any] = json.loads(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return record


def _started(pid: int) -> int | None:
    """Return when a process began, in ticks since the machine did; None when it is gone or only not yet reaped."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in {"Z", "X"} else int(fields[19])


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
