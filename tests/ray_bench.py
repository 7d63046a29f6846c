"""A bench for the runner on Ray: one local Ray for a module, runners on plain parts in it, and its processes."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from batchyard.config import RayConfig
from batchyard.environments.ray import connected
from batchyard.environments.virtual import VirtualEnvironments
from batchyard.linux import descendants
from batchyard.runners.ray import open_ray_runner
from batchyard.runners.worker import Setup
from plain_parts import FOLDER
from runner_bench import CLOCK, FolderProvider, await_true, limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from batchyard.model.trial import JSON, NodeBoundary
    from batchyard.runners.ray import RayBatchTestRunner
    from batchyard.runners.zygotes import Interpreters


@contextmanager
def local_ray(cpus: float) -> Iterator[None]:
    """A Ray whose actors find the tests' own modules; nothing of it is left afterwards."""
    before = set(descendants(os.getpid()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(FOLDER))
        with connected(RayConfig(), cpus):
            yield
    await_true(lambda: set(descendants(os.getpid())) <= before, "the end of every process of Ray")


def actors_of(driver: int) -> list[int]:
    """The processes of this driver's Ray that are actors of ours now."""
    return [pid for pid in descendants(driver) if b"ray::SlotHost" in _command_of(pid)]


def _command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""  # it ended while we looked


def no_boundaries(_file: Path, _thread: str) -> tuple[NodeBoundary, ...]:
    """Read nothing; plain parts keep no file."""
    return ()


def interpreters(folder: Path) -> Callable[[], Interpreters]:
    """What gives trials in an actor the packages that they ask for, kept below the folder."""
    return partial(VirtualEnvironments, "plain_parts:PlainParts", CLOCK, folder / "environments")


@dataclass
class RayBench:
    """Opens runners in the Ray that there is."""

    folder: Path
    factory: str = "acts"
    cpus: float = 1.0
    evaluators: list[dict[str, JSON]] = field(default_factory=list)

    @contextmanager
    def runner(
        self, parallelism: int = 1, *, provider: FolderProvider | None = None, **changes: Any
    ) -> Iterator[RayBatchTestRunner]:
        """Open a runner under ``limits(**changes)``."""
        with open_ray_runner(
            provider=provider or FolderProvider(self.folder / "workspaces"),
            parts="plain_parts:PlainParts",
            setup=Setup(self.factory, "", str(self.folder), self.evaluators, 0.5, 100, "sync"),
            limits=limits(**changes),
            parallelism=parallelism,
            batch_id="b",
            clock=CLOCK,
            read_boundaries=no_boundaries,
            interpreters=interpreters(self.folder),
            cpus=self.cpus,
        ) as runner:
            yield runner
