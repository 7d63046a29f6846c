"""Forks, files, the idle deadline and early endings with trials on a local Ray: what worker processes here do too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from batch_bench import BatchBench
from batchyard.compose import LocalEngine
from batchyard.config import RayConfig
from batchyard.engine.forks import bound
from batchyard.model.outcome import Outcome, Reason
from ray_bench import local_ray

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# As in test_agents: a Ray of its own process.
pytestmark = pytest.mark.alone

NAMES = ("a", "b")
FILES = {"paths": ["out/"], "maxFileBytes": 1000}


@pytest.fixture(scope="module")
def on_ray() -> Iterator[LocalEngine]:
    with local_ray(2.0), LocalEngine(ray=RayConfig()) as engine:
        yield engine


@pytest.fixture
def bench(on_ray: LocalEngine, tmp_path: Path) -> Iterator[BatchBench]:
    made = BatchBench(on_ray, tmp_path)
    yield made
    made.store.close()


def test_a_fork_begins_at_the_boundary_with_the_files_that_it_had(bench: BatchBench) -> None:
    spec: dict[str, Any] = {
        "cases": [{"name": name, "input": {"case": name}} for name in NAMES],
        "checkpoints": {"files": FILES, "keep": "Always"},
    }
    first = bench.run(bench.load("writing:build", name="first", **spec))

    fork = bench.load("writing:build", name="second", forkFrom={"batchTest": "first", "node": "one"}, **spec)
    forked = bench.run(bound(bench.store, fork))

    assert first.outcomes == forked.outcomes == {Outcome.PASSED: 2}
    assert [[boundary.node for boundary in final.boundaries] for final in forked.finals] == [["two"]] * 2
    assert [final.output["log"] for final in forked.finals] == [f"{name} one\n{name} two\n" for name in NAMES]


def test_a_trial_without_progress_is_ended(bench: BatchBench) -> None:
    ran = bench.run(
        bench.load(
            "hostile:build",
            variants={"matrix": {"act": ["ok", "ignores_sigterm_and_sleeps"]}},
            deadlines={"batchSeconds": 120, "trialSeconds": 60, "idleSeconds": 2, "graceSeconds": 0.3},
        )
    )

    assert ran.of("ok").outcome is Outcome.PASSED
    ended = ran.of("ignores-sigterm-and-sleeps")
    assert (ended.outcome, ended.reason) == (Outcome.TIMED_OUT, Reason.IDLE_DEADLINE_EXCEEDED)


def test_a_batch_ends_once_its_comparison_is_decided(bench: BatchBench) -> None:
    wanted = {"variants": {"side": "old"}}
    ran = bench.run(
        bench.load(
            "noop:build",
            variants={"matrix": {"side": ["old", "new"]}},
            cases=[{"name": f"case-{number}", "input": {}, "expected": wanted} for number in range(100)],
            evaluation={"evaluators": [{"name": "exactMatch", "config": {"field": "variants"}}]},
            gate={"baseline": {"combination": "old", "sequential": {}}},
        )
    )

    assert ran.finished.reason == Reason.GATE_FAILED
    assert [sealed.entry.message for sealed in ran.audited("DecidedEarly")] == ["look 1 of 8: Failed"]
    # Those of the first look, and of the next cases what ran or was about to.
    assert 60 <= sum(ran.outcomes.values()) - ran.outcomes[Outcome.NOT_RUN] <= 70
