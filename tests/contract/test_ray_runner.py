"""The runner on Ray does what every runner must do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from batchyard.testing.runner_conformance import (
    BudgetConformance,
    IsolatedRunnerConformance,
    OpenRunner,
    RunnerLimits,
)
from package_bench import a_wheel
from parity_bench import EVALUATORS, AnyBatch, a_batch, assert_parity, ran
from ray_bench import RayBench, local_ray
from runner_bench import Bench, FolderProvider, an_order, by_thread, run_all

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from batchyard.engine.attempts import BatchTestRunner

# As in test_agents: a Ray of its own process.
pytestmark = pytest.mark.alone

START = 15.0
"""Seconds that an actor may take to start; the suite's own deadlines leave no time for that."""


@pytest.fixture(scope="module", autouse=True)
def _ray() -> Iterator[None]:
    with local_ray(3):
        yield


@pytest.mark.proves("ray-runner")
@pytest.mark.proves("bug-03", by="test_a_result_carries_what_its_order_said")
@pytest.mark.proves("bug-05", by="test_exactly_as_many_trials_run_at_once_as_it_was_opened_for")
@pytest.mark.proves("bug-06", by="test_nothing_nested_in_the_input_is_shared_between_trials")
@pytest.mark.proves("p1-providers", "bug-14", by="test_each_combination_sees_its_own_environment")
class TestOnRay(BudgetConformance, IsolatedRunnerConformance):
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
                allowed=limits.allowed,
                tells_usage=limits.tells_usage,
                batch=limits.batch + START,
            )

        return open_runner


def test_actors_give_each_combination_the_packages_it_asks_for(tmp_path: Path) -> None:
    versions = {"old": "1.0", "new": "2.0"}
    provider = FolderProvider(
        tmp_path / "workspaces",
        {name: {"UV_OFFLINE": "1"} for name in versions},
        packages={name: (str(a_wheel(tmp_path, version=version)),) for name, version in versions.items()},
    )
    orders = [
        an_order("quotes", number, combination=("old", "new")[number % 2], trial_id=f"quotes/{number}")
        for number in range(4)
    ]

    with RayBench(tmp_path).runner(2, provider=provider) as runner:
        seen = run_all(runner, orders)

    found = {number: (ended.result.combination, ended.result.output) for number, ended in seen.ended.items()}
    assert [(name, output["text"]) for _, (name, output) in sorted(found.items()) if isinstance(output, dict)] == [
        ("old", "1.0"),
        ("new", "2.0"),
        ("old", "1.0"),
        ("new", "2.0"),
    ]
    assert len(list((tmp_path / "environments").glob("*/environment.json"))) == 2


@pytest.mark.proves("missing-parity")
def test_two_hundred_batches_have_the_same_verdict_to_the_byte_in_threads_and_on_ray(tmp_path: Path) -> None:
    batches = [a_batch(seed) for seed in range(200)]

    here = ran(Bench(by_thread(), tmp_path, evaluators=EVALUATORS).runner(2, provider=AnyBatch(tmp_path)), batches)
    there = ran(RayBench(tmp_path, evaluators=EVALUATORS).runner(2, provider=AnyBatch(tmp_path)), batches)

    assert_parity(here, there)
    assert {run.record.reason for run in there} == {"", "GateFailed", "AllTrialsFailed"}
