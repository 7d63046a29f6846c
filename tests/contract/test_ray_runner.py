"""The runner on Ray does what every runner must do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from batchyard.testing.runner_conformance import IsolatedRunnerConformance, OpenRunner, RunnerLimits
from ray_bench import RayBench, local_ray
from runner_bench import FolderProvider

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from batchyard.engine.attempts import BatchTestRunner

START = 5.0
"""Seconds that an actor may take to start; the suite's own deadlines leave no time for that."""


@pytest.fixture(scope="module", autouse=True)
def _ray() -> Iterator[None]:
    with local_ray(3):
        yield


@pytest.mark.proves("ray-runner")
class TestOnRay(IsolatedRunnerConformance):
    """Real actors in a Ray on this machine."""

    @pytest.fixture
    def open_runner(self, tmp_path: Path) -> OpenRunner:
        bench = RayBench(tmp_path, "conformance")

        def open_runner(parallelism: int, limits: RunnerLimits) -> AbstractContextManager[BatchTestRunner]:
            return bench.runner(
                parallelism,
                provider=FolderProvider(tmp_path / "workspaces", limits.env),
                trial=limits.trial,
                grace=limits.grace,
                batch=limits.batch + START,
            )

        return open_runner
