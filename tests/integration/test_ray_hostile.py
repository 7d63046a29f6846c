"""Trials that fight their deadline, and actors that are killed or stopped, on a real Ray: all end, nothing is left."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from batch_bench import WORKFLOWS, BatchBench, Ran
from batchyard.compose import LocalEngine
from batchyard.config import RayConfig
from batchyard.linux import descendants
from batchyard.model.outcome import Outcome, Reason, Verdict
from ray_bench import RayBench, actors_of, local_ray
from runner_bench import CLOCK, Seen, an_order, await_all_dead, await_end_of_theirs, await_true, lines_of, run_all

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.hostile

TRIAL, GRACE = 1.5, 0.3

TIMED_OUT = (
    "ignores_sigterm_and_sleeps",
    "sleeps_in_c",
    "holds_the_gil",
    "forks_grandchildren",
    "stops_itself",
    "prints_gigabytes",
)
ENDS = {
    "os_exit": (Outcome.ERRORED, Reason.WORKER_LOST, "exit code 7"),
    "kills_parent": (Outcome.ERRORED, Reason.WORKER_LOST, "'act'"),
    "unserialisable": (Outcome.FAILED, Reason.STATE_NOT_SERIALISABLE, "made"),
    "daemon_left_behind": (Outcome.PASSED, "", ""),
}


@pytest.fixture(scope="module", autouse=True)
def _ray() -> Iterator[None]:
    with local_ray(2):
        yield


@pytest.fixture(scope="module")
def pids(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where each process of an act leaves its pid."""
    return tmp_path_factory.mktemp("pids")


@pytest.fixture(scope="module")
def ran(pids: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    """The batch of all acts, two at a time, with plain trials between."""
    with LocalEngine(ray=RayConfig()) as engine:
        bench = BatchBench(engine, tmp_path_factory.mktemp("batch"))
        combinations = []
        for act in (*TIMED_OUT, *ENDS):
            combinations.append({"name": _name_of(act), "variants": {"act": act}})
            combinations.append({"name": f"ok-after-{_name_of(act)}", "variants": {"act": "ok"}})
        loaded = bench.load(
            "hostile:build",
            workflow={"factory": "hostile:build", "source": {"path": str(WORKFLOWS)}},
            variants={"include": combinations},
            cases=[{"name": "one", "input": {"pids": str(pids)}}],
            parallelism=2,
            deadlines={"batchSeconds": 100, "trialSeconds": TRIAL, "graceSeconds": GRACE},
        )
        yield bench.run(loaded)
        bench.store.close()


def _name_of(act: str) -> str:
    return act.replace("_", "-")


@pytest.mark.parametrize("act", TIMED_OUT)
@pytest.mark.proves("p0-ray-stub")
def test_a_trial_on_ray_times_out_within_its_deadline_the_grace_and_two_seconds(ran: Ran, act: str) -> None:
    result = ran.of(_name_of(act))

    assert (result.outcome, result.reason) == (Outcome.TIMED_OUT, Reason.TRIAL_DEADLINE_EXCEEDED)
    assert TRIAL <= result.duration_seconds <= TRIAL + GRACE + 2
    assert "in node 'act'" in result.message
    assert "could not be confirmed" not in result.message
    assert [(boundary.node, boundary.status) for boundary in result.boundaries] == [
        ("before", "completed"),
        ("act", "running"),
    ]


@pytest.mark.parametrize("act", ENDS)
def test_a_trial_on_ray_ends_as_documented(ran: Ran, act: str) -> None:
    outcome, reason, text = ENDS[act]

    result = ran.of(_name_of(act))

    assert (result.outcome, result.reason) == (outcome, reason)
    assert text in result.message


@pytest.mark.proves("bug-01")
def test_every_other_trial_passed_and_no_actor_was_lost(ran: Ran) -> None:
    plain = [result for result in ran.finals if result.combination.startswith("ok-")]

    assert [result.outcome for result in plain] == [Outcome.PASSED] * (len(TIMED_OUT) + len(ENDS))
    assert {result.worker.split("-")[1] for result in ran.attempts} == {"s0", "s1"}
    assert ran.finished.verdict is Verdict.SUCCEEDED


def test_not_one_process_of_the_trials_on_ray_is_alive(ran: Ran, pids: Path) -> None:
    assert ran.finished is not None
    await_end_of_theirs(pids, len(TIMED_OUT) + len(ENDS))


def test_a_trial_on_ray_that_eats_memory_is_ended_at_its_bound(tmp_path: Path) -> None:
    # In a batch of its own, with time enough: how fast memory is eaten is the machine's affair.
    pids = tmp_path / "pids"
    pids.mkdir()
    with LocalEngine(ray=RayConfig()) as engine:
        bench = BatchBench(engine, tmp_path)
        loaded = bench.load(
            "hostile:build",
            variants={
                "include": [{"name": "hungry", "variants": {"act": "eats_memory"}}],
                "overrides": [{"match": {"act": "eats_memory"}, "resources": {"memory": "400Mi"}}],
            },
            cases=[{"name": "one", "input": {"pids": str(pids)}}],
        )
        ran = bench.run(loaded)
        bench.store.close()

    assert ran.of("hungry").reason == Reason.OUT_OF_MEMORY
    assert "(environment resources.memory) in node 'act'" in ran.of("hungry").message
    await_all_dead([int(file.read_text()) for file in pids.iterdir()])


# -- actors ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def bench(tmp_path: Path) -> RayBench:
    return RayBench(tmp_path)


def _waits(tmp_path: Path, ordinal: int = 0, until: str = "never") -> dict[str, str]:
    return {"started": str(tmp_path / f"started-{ordinal}"), "until": str(tmp_path / until)}


@pytest.mark.proves("p0-ray-stub")
def test_no_actor_is_started_per_trial(bench: RayBench, tmp_path: Path) -> None:
    with bench.runner(2) as runner:
        for n in (0, 1):  # one actor may be there long before the other
            runner.submit(an_order("waits", n, state=_waits(tmp_path, n, until="both")))
        await_true(lambda: all(lines_of(tmp_path / f"started-{n}") for n in (0, 1)), "both actors")
        (tmp_path / "both").touch()
        first = Seen().hear(runner, lambda seen: len(seen.ended) == 2, "the end of both")
        seen = run_all(runner, [an_order("pass", n) for n in range(2, 200)])
        actors = actors_of(os.getpid())

    ends = [*first.ended.values(), *seen.ended.values()]
    assert {end.result.outcome for end in ends} == {Outcome.PASSED}
    assert {end.result.worker for end in ends} == {"e1-s0", "e1-s1"}
    assert len(actors) == 2
    await_all_dead(actors)


@pytest.mark.proves("bug-11")
def test_a_trial_whose_actor_is_killed_is_errored_its_processes_die_and_the_slot_goes_on(
    bench: RayBench, tmp_path: Path
) -> None:
    with bench.runner() as runner:
        runner.submit(an_order("waits", 0, state=_waits(tmp_path)))
        await_true(lambda: lines_of(tmp_path / "started-0"), "the node")
        (actor,) = actors_of(os.getpid())
        theirs = descendants(actor)
        os.kill(actor, signal.SIGKILL)
        seen = Seen().hear(runner, lambda seen: 0 in seen.ended, "the end of the attempt")
        runner.submit(an_order("pass", 1))
        seen.hear(runner, lambda seen: 1 in seen.ended, "the end of the next")
        await_all_dead(theirs)

    assert (seen[0].result.outcome, seen[0].result.reason) == (Outcome.ERRORED, Reason.WORKER_LOST)
    assert "its Ray actor was lost" in seen[0].result.message
    assert seen[1].result.outcome is Outcome.PASSED
    assert seen[1].result.worker == "e1-s1"


def test_an_actor_that_is_stopped_is_killed_at_the_deadline_with_all_its_processes_and_replaced(
    bench: RayBench, tmp_path: Path
) -> None:
    with bench.runner(trial=2.0, grace=GRACE) as runner:
        runner.submit(an_order("waits", 0, state=_waits(tmp_path)))
        seen = Seen().hear(runner, lambda seen: bool(seen.started), "the start")
        begun = CLOCK.monotonic()
        (actor,) = actors_of(os.getpid())
        theirs = [actor, *descendants(actor)]
        os.kill(actor, signal.SIGSTOP)
        seen.hear(runner, lambda seen: 0 in seen.ended, "the end of the attempt")
        took = CLOCK.monotonic() - begun
        await_all_dead(theirs)
        gone = CLOCK.monotonic() - begun
        runner.submit(an_order("pass", 1))
        seen.hear(runner, lambda seen: 1 in seen.ended, "the end of the next")

    assert (seen[0].result.outcome, seen[0].result.reason) == (Outcome.TIMED_OUT, Reason.TRIAL_DEADLINE_EXCEEDED)
    assert seen[0].signals == ("KILL",)
    assert took < 2.0 + GRACE + 2
    assert gone < 2.0 + GRACE + 2.5
    assert seen[1].result.outcome is Outcome.PASSED


def test_more_slots_than_the_cluster_has_room_for_do_no_harm(bench: RayBench) -> None:
    with bench.runner(5) as runner:
        seen = run_all(runner, [an_order("pass", n) for n in range(30)])

    assert {end.result.outcome for end in seen.ended.values()} == {Outcome.PASSED}


def test_a_trial_that_asks_for_more_processors_than_there_are_is_errored_in_time(tmp_path: Path) -> None:
    with RayBench(tmp_path, cpus=64).runner(environment=1.0) as runner:
        seen = run_all(runner, [an_order("pass", 0)])

    assert (seen[0].result.outcome, seen[0].result.reason) == (Outcome.ERRORED, Reason.ENVIRONMENT_FAILED)
    assert "each needs 64 CPU; the Ray cluster has 2" in seen[0].result.message
