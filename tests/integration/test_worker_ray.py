"""A worker on the head of a Ray cluster: the same protocol and the same results, with actors as its runner."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
import ray

from batch_bench import cases
from batchyard.model.outcome import Outcome
from ray_bench import actors_of, local_ray
from runner_bench import lines_of
from worker_bench import OperatorBench, WorkerProcess

if TYPE_CHECKING:
    from pathlib import Path


# As in test_agents: a Ray of its own process.
@pytest.mark.alone
@pytest.mark.slow
def test_a_worker_runs_its_trials_on_the_ray_that_it_finds(tmp_path: Path) -> None:
    waiting = cases("one", "two", "three", log=str(tmp_path / "log"), until=str(tmp_path / "gate"))
    with local_ray(2), OperatorBench(tmp_path, "observed:build", provider="KubeRay", cases=waiting) as bench:
        bench.change_place(started_at=bench.clock.now())
        # What Ray gives to a job that is submitted to it.
        env: dict[str, Any] = {name: os.environ[name] for name in os.environ if name.startswith("RAY_")}  # noqa: TID251
        env["RAY_ADDRESS"] = ray.get_runtime_context().gcs_address
        with WorkerProcess(bench, **env) as worker:
            worker.until(lambda: len(lines_of(tmp_path / "log")) == 2, "both actors to be at work")
            actors = actors_of(os.getpid())
            (tmp_path / "gate").touch()
            assert worker.wait(90) == 0, worker.words

        assert len(actors) == 2
        assert [result.outcome for result in bench.finals] == [Outcome.PASSED] * 3
        assert bench.place.done_stop == ""
