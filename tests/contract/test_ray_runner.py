"""The runner on Ray does what every runner must do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from batchyard.judge.parity import ParityChecker, ParityConfig
from batchyard.testing.runner_conformance import IsolatedRunnerConformance, OpenRunner, RunnerLimits
from parity_bench import EVALUATORS, AnyBatch, a_batch, ran, verdict
from ray_bench import RayBench, local_ray
from runner_bench import Bench, FolderProvider, by_process, by_thread, plain_zygote

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from batchyard.engine.attempts import BatchTestRunner
    from batchyard.model.trial import AttemptResult

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


def test_two_hundred_batches_have_the_same_verdict_to_the_byte_in_processes_in_threads_and_on_ray(
    tmp_path: Path,
) -> None:
    batches = [a_batch(seed) for seed in range(200)]

    with plain_zygote() as zygote:
        places: dict[str, Bench | RayBench] = {
            "processes": Bench(by_process(zygote), tmp_path / "processes", evaluators=EVALUATORS),
            "threads": Bench(by_thread(), tmp_path / "threads", evaluators=EVALUATORS),
            "ray": RayBench(tmp_path / "ray", evaluators=EVALUATORS),
        }
        runs = {name: ran(place.runner(2, provider=AnyBatch(tmp_path)), batches) for name, place in places.items()}

    for one, other, third in zip(runs["processes"], runs["threads"], runs["ray"], strict=True):
        assert verdict(one) == verdict(other) == verdict(third)
        assert ParityChecker(ParityConfig.strict()).check(other.finals, third.finals, order=by_number).equivalent
    reasons = {run.record.reason for run in runs["ray"]}
    assert reasons == {"", "GateFailed", "AllTrialsFailed"}  # nothing was equal for want of anything to tell apart


def by_number(result: AttemptResult) -> int:
    return result.ordinal
