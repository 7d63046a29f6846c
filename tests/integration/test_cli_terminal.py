"""What a person at a terminal sees of a run: progress that is drawn and goes away, and a table that stays."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import threading
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from command_line import TESTS, Bench, command, workflow

if TYPE_CHECKING:
    from pathlib import Path

CURSOR_BACK = "\x1b[?25h"
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(slots=True)
class Screen:
    """A process on a terminal of its own, and all it wrote there."""

    process: subprocess.Popen[bytes]
    reader: threading.Thread
    chunks: list[bytes]

    @property
    def text(self) -> str:
        return b"".join(self.chunks).decode(errors="replace")  # what was read may end within a character

    def wait_for(self, wanted: str) -> None:
        pause = threading.Event()
        for _ in range(1500):
            if wanted in COLOUR.sub("", self.text):
                return
            if self.process.poll() is not None:
                break
            pause.wait(0.02)
        self.process.kill()
        raise AssertionError(f"{wanted!r} was not shown in {self.text!r}")

    def end(self) -> int:
        code = self.process.wait(timeout=60)
        self.reader.join(timeout=10)
        return code


def on_a_terminal(bench: Bench, *arguments: str, columns: int = 100) -> Screen:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
    process = subprocess.Popen(
        command(*arguments),
        cwd=bench.folder,
        env={"TERM": "xterm-256color", **bench.environment},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    chunks: list[bytes] = []

    def read() -> None:
        with suppress(OSError):  # how a terminal says that nobody writes to it any more
            while chunk := os.read(ours, 65536):
                chunks.append(chunk)
        os.close(ours)

    reader = threading.Thread(target=read)
    reader.start()
    return Screen(process, reader, chunks)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def gated(bench: Bench) -> str:
    slow = {"name": "slow", "input": {"open": str(bench.folder / "gate"), "begun": str(bench.folder / "begun")}}
    return bench.write(
        workflow=workflow("gate"),
        variants={"matrix": {"answer": ["yes"]}},
        cases=[{"name": "quick"}, slow],
        deadlines={"graceSeconds": 0},
    )


def test_progress_is_drawn_and_the_table_follows_it(bench: Bench) -> None:
    screen = on_a_terminal(bench, "run", gated(bench))
    screen.wait_for("1/2 50%")
    screen.wait_for("yes/slow/0")

    (bench.folder / "gate").touch()
    code = screen.end()

    assert code == 0
    shown = COLOUR.sub("", screen.text)
    assert "1 Passed" in shown
    assert "━" in shown
    assert shown.rindex("1/2 50%") < shown.rindex(CURSOR_BACK) < shown.rindex("combination")
    assert "2 of 2 trials finished: 2 Passed" in shown[shown.rindex("combination") :]


def test_every_note_stays_on_the_screen_whole(bench: Bench) -> None:
    reads = {"dependsOn": [], "reads": ["branching:LOCK"]}
    alone = {"name": "n4", "dependsOn": ["last"]}
    file = bench.write(
        workflow={
            "factory": "branching:build",
            "source": {"path": str(TESTS / "workflows")},
            "sharedPrefix": {"nodes": [{"name": "n1", "dependsOn": []}, alone, {"name": "n8", **reads}]},
        },
        variants={"matrix": {"first": ["a"], "last": ["0", "1"]}},
        cases=[{"name": "one", "input": {"log": str(bench.folder / "log")}}],
    )

    screen = on_a_terminal(bench, "run", file, columns=60)
    code = screen.end()

    assert code == 0
    shown = re.sub(r"\s+", " ", COLOUR.sub("", screen.text))
    alone_is = "no two combinations agree on it and on all nodes before it, which must be declared too"
    assert f"note: node n4 is not shared: {alone_is}" in shown
    # The progress below may well be cut, but no note.
    assert re.search(r"note: node n8 is not shared: [^…]*lock", shown)


def test_ctrl_c_is_answered_on_the_screen_and_the_cursor_comes_back(bench: Bench) -> None:
    screen = on_a_terminal(bench, "run", gated(bench))
    screen.wait_for("yes/slow/0")

    screen.process.send_signal(signal.SIGINT)
    code = screen.end()

    assert code == 130
    assert screen.text.rindex(CURSOR_BACK) > screen.text.rindex("\x1b[?25l")
    assert "Go on with: batchyard resume small-" in screen.text


def test_no_colour_is_written_where_none_is_wanted(bench: Bench) -> None:
    plain = replace(bench, env={"NO_COLOR": "1"})
    (bench.folder / "gate").touch()

    coloured, colourless = on_a_terminal(bench, "run", gated(bench)), on_a_terminal(plain, "run", gated(bench))
    codes = coloured.end(), colourless.end()

    assert codes == (0, 0)
    assert "\x1b[1;32m" in coloured.text
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", colourless.text)


def test_nothing_is_wider_than_a_narrow_terminal(bench: Bench) -> None:
    (bench.folder / "gate").touch()
    on_a_terminal(bench, "run", gated(bench)).end()

    screen = on_a_terminal(bench, "show", "small", columns=40)

    assert screen.end() == 0
    assert max(len(line) for line in COLOUR.sub("", screen.text).splitlines()) <= 40


def test_a_dumb_terminal_gets_plain_lines(bench: Bench) -> None:
    (bench.folder / "gate").touch()

    screen = on_a_terminal(replace(bench, env={"TERM": "dumb"}), "run", gated(bench))

    assert screen.end() == 0
    assert "\x1b" not in screen.text
    assert "2 Passed" in screen.text
