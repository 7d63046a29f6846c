"""Runs the commands of a page as its reader would: one shell, in a copy of the checkout, one after the other."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.bed.settings import process_environment
from docs.pages import CHECKOUT
from docs.stand_ins import as_it_runs, files_as_they_are, with_images

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from docs.pages import Command, Page

_LEFT_BEHIND = (".git", ".venv", "build", "dist", "__pycache__", "*.egg-info", ".*_cache", ".hypothesis", "results")
# No terminal, no colour, nothing of the caller's settings.
_PLAIN = {"NO_COLOR": "1", "COLUMNS": "160", "TERM": "dumb", "NO_MKDOCS_2_WARNING": "1"}
_FORGOTTEN = ("BATCHYARD_STORE", "BATCHYARD_REQUIRE_CLUSTER", "CI", "RAY_ADDRESS", "MAKEFLAGS", "MAKELEVEL", "MFLAGS")
_MOST_SHOWN = 3000


@dataclass(frozen=True, slots=True)
class Ran:
    """How one command went."""

    command: Command
    code: int | None
    """Its exit code; None if it was not begun or did not end."""
    out: str
    err: str

    def fault(self) -> str:
        """Return what is wrong with it, "" if nothing is."""
        said = f"--- standard output\n{self.out[-_MOST_SHOWN:]}\n--- standard error\n{self.err[-_MOST_SHOWN:]}"
        if self.code != self.command.exits:
            ended = f"ended with {self.code}, not {self.command.exits}"
            return f"line {self.command.line}: `{self.command.text}` {ended}\n{said}"
        if self.command.shows and not _shown(self.command.shows, self.out):
            return f"line {self.command.line}: `{self.command.text}` does not print what the page shows\n{said}"
        return ""


class Shell:
    """A folder and an environment for the commands of one page."""

    def __init__(self, folder: Path, page: Page, values: Mapping[str, str], environment: Mapping[str, str]) -> None:
        """Copy the checkout into the folder, with the files that the page has its reader write."""
        self._values, self._page = values, page
        self.checkout = folder / "checkout"
        self._logs = folder / "logs"
        self._logs.mkdir(parents=True)
        shutil.copytree(CHECKOUT, self.checkout, ignore=shutil.ignore_patterns(*_LEFT_BEHIND), symlinks=True)
        (self.checkout / ".venv").symlink_to(sys.prefix)
        files_as_they_are(self.checkout, values)
        for name, text in page.files().items():
            (self.checkout / name).parent.mkdir(parents=True, exist_ok=True)
            (self.checkout / name).write_text(with_images(text, values), encoding="utf-8")
        self.environment = _environment(folder, environment)

    def run(self, commands: Sequence[Command], seconds: float) -> list[Ran]:
        """Run commands until one does not end as it should; then end what they left running in the background."""
        script = self._logs / "script"
        script.write_text("\n".join(self._script(commands)), encoding="utf-8")
        process = subprocess.Popen(
            ["bash", str(script)],
            cwd=self.checkout,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            pass
        finally:
            _end(process)
        return [self._ran(number, command) for number, command in enumerate(commands)]

    def _script(self, commands: Sequence[Command]) -> list[str]:
        lines = ["set -o pipefail", *(f"{command} || exit" for command in self._page.before)]
        for number, command in enumerate(commands):
            log = self._logs / str(number)
            lines += [
                f"exec > '{log}.out' 2> '{log}.err'",
                as_it_runs(self._page.name, command.text, self._values),
                f"code=$?; echo $code > '{log}.code'; [ $code = {command.exits} ] || exit",
            ]
        return lines

    def _ran(self, number: int, command: Command) -> Ran:
        def said(ending: str) -> str:
            path = self._logs / f"{number}.{ending}"
            return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

        code = said("code").strip()
        return Ran(command, int(code) if code else None, said("out"), said("err"))


def faults_of(ran: Sequence[Ran]) -> str:
    """Return what is wrong with the first command that went wrong, "" if all went well."""
    return next((fault for one in ran if (fault := one.fault())), "")


def _environment(folder: Path, more: Mapping[str, str]) -> dict[str, str]:
    home = folder / "home"
    programs = folder / "bin"
    programs.mkdir()
    home.mkdir()
    (programs / "batchyard").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m batchyard "$@"\n', encoding="utf-8")
    (programs / "batchyard").chmod(0o755)
    environment = process_environment(**_PLAIN, HOME=str(home), BATCHYARD_HOME=str(home / "batchyard"))
    for name in _FORGOTTEN:
        environment.pop(name, None)
    environment |= more
    environment["PATH"] = os.pathsep.join([str(programs), str(Path(sys.prefix) / "bin"), environment["PATH"]])
    return environment


def _shown(lines: Sequence[str], out: str) -> bool:
    """Return whether lines come one after the other in an output, where ``...`` stands for any number of lines."""
    given = [line.rstrip() for line in out.splitlines()]
    pattern = "".join("(?:.*\n)*?" if line.strip() == "..." else f"{re.escape(line.rstrip())}\n" for line in lines)
    return re.search(f"(?:^|\n){pattern}", "\n".join(given) + "\n") is not None


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a shell and all that it started in the background."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            continue
