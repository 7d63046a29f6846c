"""Runs the command line as a user does, in a process of its own, and writes the files it is given."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

TESTS = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Bench:
    """A folder with a store in it, where commands are run with an environment that holds nothing else."""

    folder: Path
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def store(self) -> Path:
        """Return the store that every command uses."""
        return self.folder / "data" / "store.db"

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment of the commands."""
        home = {"HOME": str(self.folder), "PATH": os.defpath, "LC_ALL": "C.UTF-8", "BATCHYARD_STORE": str(self.store)}
        return {**home, **self.env}

    def run(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            command(*arguments),
            cwd=self.folder,
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=110,
        )

    def json(self, *arguments: str, exit_code: int = 0) -> Any:
        """Run a command with ``--output json`` and return its one document."""
        done = self.run(*arguments, "--output", "json")
        assert done.returncode == exit_code, done.stderr
        return json.loads(done.stdout)

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        """Start a command; whoever called waits for its end."""
        return subprocess.Popen(
            command(*arguments),
            cwd=self.folder,
            env=self.environment,
            text=True,
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
        )

    def write(self, name: str = "batch.yaml", **spec: Any) -> str:
        """Write a BatchTest and return the file's name; ``spec`` replaces parts of one that passes."""
        path = self.folder / name
        path.write_text(json.dumps(batch_test(**spec)), encoding="utf-8")
        return name


def command(*arguments: str) -> list[str]:
    """Return the words that start the command line."""
    return [sys.executable, "-m", "batchyard", *arguments]


def batch_test(**spec: Any) -> dict[str, Any]:
    """Return a small BatchTest of the no-op workflow as JSON; ``spec`` replaces whole parts."""
    return {
        "apiVersion": "batchyard.dev/v1alpha1",
        "kind": "BatchTest",
        "metadata": {"name": "small"},
        "spec": {
            "workflow": workflow("noop"),
            "variants": {"matrix": {"a": ["x", "y"]}},
            "cases": [{"name": "one", "input": {"case": "one"}}, {"name": "two", "input": {"case": "two"}}],
            "parallelism": 2,
            **spec,
        },
    }


def workflow(name: str) -> dict[str, Any]:
    """Return the part of a spec that names one of the tests' workflows."""
    return {"factory": f"workflows.{name}:build", "source": {"path": str(TESTS)}}
