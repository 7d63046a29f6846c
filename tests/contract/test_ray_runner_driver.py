"""The driver of the Ray runner, on fake actors: who gets which order, and what becomes of an actor that fails."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from batchyard.engine.attempts import Ended, Stop
from batchyard.model.outcome import Outcome, Reason
from batchyard.runners.ray import RayBatchTestRunner
from batchyard.runners.ray_flight import MARGIN_SECONDS
from ray_fakes import FakeActors, passed
from runner_bench import CLOCK, LONG, Seen, an_order, await_true, limits, run_all

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def runner_on(actors: FakeActors, parallelism: int = 1, **changes: float | None) -> Iterator[RayBatchTestRunner]:
    with RayBatchTestRunner(actors=actors, limits=limits(**changes), parallelism=parallelism, clock=CLOCK) as runner:
        yield runner


def ended(runner: RayBatchTestRunner, ordinal: int = 0) -> Ended:
    """The end of one attempt."""
    return Seen().hear(runner, lambda seen: ordinal in seen.ended, f"the end of attempt {ordinal}")[ordinal]


def told(end: Ended) -> tuple[Outcome, str]:
    return end.result.outcome, end.result.reason


LOST = (Outcome.ERRORED, Reason.WORKER_LOST)
UNPLACED = (Outcome.ERRORED, Reason.ENVIRONMENT_FAILED)


@pytest.mark.proves("ray-runner")
def test_two_hundred_trials_are_run_by_as_many_actors_as_may_run_at_once() -> None:
    actors = FakeActors(prompt=True)

    with runner_on(actors, 3) as runner:
        seen = run_all(runner, [an_order("pass", n) for n in range(200)])

    assert {end.result.outcome for end in seen.ended.values()} == {Outcome.PASSED}
    assert len(actors.made) <= 3
    assert sum(actor.asked("run") for actor in actors.made) == 200


def test_no_more_actors_are_asked_for_than_orders_wait() -> None:
    actors = FakeActors()

    with runner_on(actors, 5) as runner:
        runner.submit(an_order("pass", 0))
        runner.submit(an_order("pass", 1))
        for number in (0, 1):
            actors.nth(number).get_ready()
            actors.nth(number).begin()
        assert runner.stop(Stop(Outcome.CANCELLED, Reason.CANCELLED)) == []
        for number in (0, 1):
            actors.nth(number).answer("more", (passed(an_order("pass", 0), "s"),))

    assert len(actors.made) == 2


def test_an_attempt_whose_actor_dies_is_errored_with_what_ray_said_and_another_takes_its_place() -> None:
    actors = FakeActors()

    with runner_on(actors) as runner:
        runner.submit(an_order("pass", 0))
        actors.nth(0).get_ready()
        actors.nth(0).begin()
        actors.nth(0).die("it was evicted")
        lost = ended(runner)
        runner.submit(an_order("pass", 1))
        actors.nth(1).get_ready()
        actors.nth(1).run_through()
        after = ended(runner, 1)

    assert told(lost) == LOST
    assert "it was evicted" in lost.result.message
    assert (lost.result.worker, lost.confirmed) == ("s0", False)
    assert after.result.outcome is Outcome.PASSED
    assert actors.made[0].killed


def test_no_trial_pays_for_an_actor_that_died_idle() -> None:
    actors = FakeActors()

    with runner_on(actors) as runner:
        runner.submit(an_order("pass", 0))
        actors.nth(0).get_ready()
        actors.nth(0).run_through()
        ended(runner)
        actors.nth(0).die()
        await_true(lambda: actors.made[0].killed, "the end of the idle actor")
        runner.submit(an_order("pass", 1))
        actors.nth(1).get_ready()
        actors.nth(1).run_through()

        assert ended(runner, 1).result.outcome is Outcome.PASSED


def test_an_actor_that_does_not_answer_in_time_is_killed_and_its_attempt_timed_out() -> None:
    actors = FakeActors()
    trial, grace = 0.2, 0.1

    with runner_on(actors, trial=trial, grace=grace) as runner:
        runner.submit(an_order("pass", 0))
        runner.submit(an_order("pass", 1))
        actors.nth(0).get_ready()
        actors.nth(0).begin()
        late = ended(runner)
        actors.nth(1).get_ready()
        actors.nth(1).run_through()
        after = ended(runner, 1)
        actors.made[0].answer("more", (passed(an_order("pass", 0), "s0"),))
        nothing_more = runner.next_event(0.1)

    assert told(late) == (Outcome.TIMED_OUT, Reason.TRIAL_DEADLINE_EXCEEDED)
    assert (late.signals, late.confirmed) == (("KILL",), False)
    assert "its Ray actor did not answer and was killed" in late.result.message
    assert late.overrun_seconds is not None
    assert grace + MARGIN_SECONDS <= late.overrun_seconds < grace + MARGIN_SECONDS + 5
    assert after.result.outcome is Outcome.PASSED
    assert nothing_more is None
    assert actors.made[0].killed


def test_an_attempt_lost_after_a_stop_ends_as_the_stop_says() -> None:
    actors = FakeActors()

    with runner_on(actors) as runner:
        runner.submit(an_order("pass", 0))
        actors.nth(0).get_ready()
        actors.nth(0).begin()
        runner.stop(Stop(Outcome.CANCELLED, Reason.FAIL_FAST))
        actors.nth(0).die()

        assert told(ended(runner)) == (Outcome.CANCELLED, Reason.FAIL_FAST)


def test_an_attempt_under_way_at_the_batchs_deadline_is_timed_out_when_its_actor_says_nothing() -> None:
    actors = FakeActors()

    with runner_on(actors, batch=2.0, grace=0.0) as runner:
        runner.submit(an_order("pass", 0))
        runner.submit(an_order("pass", 1))
        actors.nth(0).get_ready()
        actors.nth(0).begin()
        seen = Seen().hear(runner, lambda seen: len(seen.ended) == 2, "both ends")

    assert told(seen[0]) == (Outcome.TIMED_OUT, Reason.BATCH_DEADLINE_EXCEEDED)
    assert told(seen[1]) == (Outcome.NOT_RUN, "")
    assert len(actors.made) == 1


# -- actors that do not start ----------------------------------------------------------------------------------------


def test_an_order_for_which_no_actor_starts_in_time_is_errored_saying_what_room_there_is() -> None:
    actors = FakeActors()

    with runner_on(actors, 2, environment=2.0) as runner:
        runner.submit(an_order("pass", 0))
        refused = ended(runner)
        runner.submit(an_order("pass", 1))
        actors.nth(1).get_ready()
        actors.nth(1).run_through()
        after = ended(runner, 1)

    assert told(refused) == UNPLACED
    assert "no Ray actor started within 2 s (each needs 4 CPU" in refused.result.message
    assert actors.made[0].killed
    assert after.result.outcome is Outcome.PASSED


@pytest.mark.proves("bug-12")
def test_a_runner_goes_on_with_the_actors_that_start() -> None:
    actors = FakeActors()

    with runner_on(actors, 2, environment=2.0) as runner:
        for number in range(3):
            runner.submit(an_order("pass", number))
        actors.nth(1).get_ready()
        late = CLOCK.monotonic() + 2.0
        actors.nth(1).run_through()
        await_true(lambda: CLOCK.monotonic() > late, "the time at which a runner without actors would give up")
        actors.nth(1).run_through()
        actors.nth(1).run_through()
        seen = Seen().hear(runner, lambda seen: len(seen.ended) == 3, "three ends")

    assert {end.result.outcome for end in seen.ended.values()} == {Outcome.PASSED}


def test_an_actor_that_cannot_start_costs_one_attempt_and_the_next_order_asks_again() -> None:
    actors = FakeActors()

    with runner_on(actors) as runner:
        runner.submit(an_order("pass", 0))
        actors.nth(0).die("no module named batchyard")
        refused = ended(runner)
        runner.submit(an_order("pass", 1))
        actors.nth(1).get_ready()
        actors.nth(1).run_through()
        after = ended(runner, 1)

    assert told(refused) == UNPLACED
    assert "a Ray actor could not start: its Ray actor was lost: no module named batchyard" in refused.result.message
    assert after.result.outcome is Outcome.PASSED


def test_an_actor_that_cannot_start_costs_nothing_while_another_works() -> None:
    actors = FakeActors()

    with runner_on(actors, 2) as runner:
        runner.submit(an_order("pass", 0))
        runner.submit(an_order("pass", 1))
        actors.nth(0).get_ready()
        actors.nth(0).begin()
        actors.nth(1).die()
        actors.nth(0).answer("more", (passed(an_order("pass", 0), "s0"),))
        actors.nth(0).run_through()
        seen = Seen().hear(runner, lambda seen: len(seen.ended) == 2, "both ends")

    assert [seen[n].result.outcome for n in (0, 1)] == [Outcome.PASSED] * 2


def test_an_actor_with_another_version_of_the_package_is_not_given_anything() -> None:
    actors = FakeActors()

    with runner_on(actors) as runner:
        runner.submit(an_order("pass", 0))
        actors.nth(0).get_ready("0.0.1")
        refused = ended(runner)

    assert told(refused) == UNPLACED
    assert "batchyard 0.0.1 is installed on its node" in refused.result.message
    assert actors.made[0].killed
    assert actors.made[0].asked("run") == 0


def test_a_cluster_that_takes_no_actors_errors_every_order() -> None:
    actors = FakeActors(broken="the cluster is gone")

    with runner_on(actors, 2) as runner:
        seen = run_all(runner, [an_order("pass", n) for n in range(3)])

    assert {told(end) for end in seen.ended.values()} == {UNPLACED}
    assert "the cluster is gone" in seen[0].result.message


@pytest.mark.parametrize("refuses", ["run", "more"])
def test_an_attempt_that_ray_cannot_pass_on_is_errored(refuses: str) -> None:
    actors = FakeActors(refuses=refuses)

    with runner_on(actors) as runner:
        runner.submit(an_order("pass", 0))
        actors.nth(0).get_ready()
        if refuses == "more":
            actors.nth(0).begin()

        lost = ended(runner)

    assert told(lost) == LOST
    assert f"cannot pickle what {refuses} is given" in lost.result.message


# -- closing ---------------------------------------------------------------------------------------------------------


@pytest.mark.proves("bug-12")
def test_closing_lets_ready_actors_end_in_good_order_and_kills_all() -> None:
    actors = FakeActors()

    with runner_on(actors, 2) as runner:
        runner.submit(an_order("pass", 0))
        runner.submit(an_order("pass", 1))
        actors.nth(0).get_ready()
        actors.nth(0).run_through()
        actors.nth(1)
        ended(runner)
        runner.stop(Stop(Outcome.CANCELLED, Reason.INTERRUPTED))
        if actors.made[0].pending("run"):
            actors.made[0].run_through()

    assert [actor.killed for actor in actors.made] == [True, True]
    assert [actor.asked("close") for actor in actors.made] == [1, 0]


def test_closing_twice_is_closing_once() -> None:
    actors = FakeActors(prompt=True)

    with runner_on(actors) as runner:
        run_all(runner, [an_order("pass", 0)])
        runner.close()

    assert actors.made[0].asked("close") == 1


def test_closing_kills_an_actor_that_does_not_end_its_attempt() -> None:
    actors = FakeActors()
    closing = CLOCK.monotonic()

    with runner_on(actors, grace=0.1) as runner:
        runner.submit(an_order("pass", 0))
        actors.nth(0).get_ready()
        actors.nth(0).begin()

    assert actors.made[0].killed
    assert CLOCK.monotonic() - closing < LONG / 2


def test_a_pause_goes_to_the_actor_that_runs_the_trial_and_to_no_other() -> None:
    actors = FakeActors()

    with runner_on(actors, 2) as runner:
        for number in (0, 1):
            runner.submit(an_order("pass", number))
            actors.nth(number).get_ready()
            actors.nth(number).begin()
        runner.pause(1)
        await_true(lambda: actors.nth(1).asked("pause") == 1, "the pause of the second actor")
        for number in (0, 1):
            actors.nth(number).answer("more", (passed(an_order("pass", number), "s"),))

    assert actors.nth(0).asked("pause") == 0


def test_a_trial_that_was_to_pause_before_it_began_is_told_as_it_begins() -> None:
    actors = FakeActors()

    with runner_on(actors) as runner:
        runner.pause(0)
        runner.submit(an_order("pass", 0))
        actors.nth(0).get_ready()
        actors.nth(0).run_through()
        ended(runner)

    assert actors.nth(0).asked("pause") == 1
