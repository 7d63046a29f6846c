"""The runners do what every runner must do, whichever way their trials are isolated."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from batchyard.testing.runner_conformance import (
    BudgetConformance,
    IsolatedRunnerConformance,
    OpenRunner,
    RunnerConformance,
    RunnerLimits,
)
from parity_bench import EVALUATORS, AnyBatch, a_batch, assert_parity, ran
from runner_bench import Bench, FolderProvider, by_process, by_thread, plain_zygote

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from batchyard.engine.attempts import BatchTestRunner
    from batchyard.runners.process_worker import Zygote


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    with plain_zygote() as started:
        yield started


def opener(bench: Bench) -> OpenRunner:
    def open_runner(parallelism: int, limits: RunnerLimits) -> AbstractContextManager[BatchTestRunner]:
        return bench.runner(
            parallelism,
            provider=FolderProvider(bench.folder / "workspaces", limits.env),
            trial=limits.trial,
            grace=limits.grace,
            allowed=limits.allowed,
            tells_usage=limits.tells_usage,
            batch=limits.batch,
        )

    return open_runner


@pytest.mark.proves("thread-pool-runner")
@pytest.mark.proves("bug-03", by="test_a_result_carries_what_its_order_said")
@pytest.mark.proves("bug-05", by="test_exactly_as_many_trials_run_at_once_as_it_was_opened_for")
@pytest.mark.proves("bug-06", by="test_nothing_nested_in_the_input_is_shared_between_trials")
@pytest.mark.proves("p1-providers", "bug-14", by="test_each_combination_sees_its_own_environment")
class TestWithWorkerProcesses(BudgetConformance, IsolatedRunnerConformance):
    """``isolation: Process``."""

    @pytest.fixture
    def open_runner(self, zygote: Zygote, tmp_path: Path) -> OpenRunner:
        return opener(Bench(by_process(zygote), tmp_path, "conformance"))


@pytest.mark.proves("thread-pool-runner")
@pytest.mark.proves("bug-03", by="test_a_result_carries_what_its_order_said")
@pytest.mark.proves("bug-05", by="test_exactly_as_many_trials_run_at_once_as_it_was_opened_for")
@pytest.mark.proves("bug-06", by="test_nothing_nested_in_the_input_is_shared_between_trials")
class TestWithWorkerThreads(BudgetConformance, RunnerConformance):
    """``isolation: Thread``."""

    @pytest.fixture
    def open_runner(self, tmp_path: Path) -> OpenRunner:
        return opener(Bench(by_thread(), tmp_path, "conformance"))


def test_two_hundred_batches_have_the_same_verdict_to_the_byte_in_processes_and_in_threads(
    zygote: Zygote, tmp_path: Path
) -> None:
    batches = [a_batch(seed) for seed in range(200)]
    spawns = (by_process(zygote), by_thread())

    here, there = (
        ran(Bench(spawn, tmp_path, evaluators=EVALUATORS).runner(2, provider=AnyBatch(tmp_path)), batches)
        for spawn in spawns
    )

    assert_parity(here, there)
    reasons = {run.record.reason for run in here}
    assert reasons == {"", "GateFailed", "AllTrialsFailed"}  # nothing was equal for want of anything to tell apart
