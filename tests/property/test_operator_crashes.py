"""An operator that dies at any write, before it or after it, leaves what an undisturbed one leaves.

The writes are those of whole stories, enumerated: every call that changes the cluster, and every commit of the store.
Those that the beginnings and ends of several stories have in common are struck in one of them.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kube_fate import Fate
from kube_stories import IN_PROCESS, ON_RAY, OTHERS, Story
from kube_world import Stage

if TYPE_CHECKING:
    from collections.abc import Iterator

STORIES = (IN_PROCESS, ON_RAY, *OTHERS)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Where the stories are played."""
    made = Stage(tmp_path_factory.mktemp("stage"))
    yield made
    made.close()


class Undisturbed:
    """How each story goes if nothing happens, and what it writes on its way."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._known: dict[str, tuple[dict[str, Any], list[str]]] = {}

    def of(self, story: Story) -> tuple[dict[str, Any], list[str]]:
        if story.name not in self._known:
            fate = Fate()
            ending = story.live(self._stage.world([fate]))
            self._known[story.name] = (asdict(ending), list(fate.done))
        return self._known[story.name]


@pytest.fixture(scope="module")
def undisturbed(stage: Stage) -> Undisturbed:
    """What to compare with."""
    return Undisturbed(stage)


def check(story: Story, stage: Stage, undisturbed: Undisturbed, *strikes: dict[tuple[int, str], str]) -> None:
    """Live the story with operators that are struck one after another, and compare its end."""
    expected, writes = undisturbed.of(story)
    fates = [Fate(strikes=one) for one in strikes]

    ending = asdict(story.live(stage.world(fates)))

    struck = [f"{what} {side} write {number}" for one in strikes for (number, side), what in one.items()]
    where = f"{story.name}: {', '.join(struck)} ({writes[next(iter(strikes[0]))[0]]})"
    for name, value in expected.items():
        assert (where, ending[name]) == (where, value)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
@pytest.mark.proves("bug-25", "bug-28")
def test_an_operator_killed_after_any_write_leaves_what_an_undisturbed_one_leaves(
    story: Story, stage: Stage, undisturbed: Undisturbed
) -> None:
    _, writes = undisturbed.of(story)

    for number in range(len(writes))[slice(*story.own)]:
        check(story, stage, undisturbed, {(number, "after"): "crash"})


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_operator_killed_before_any_write_leaves_what_an_undisturbed_one_leaves(
    stage: Stage, undisturbed: Undisturbed
) -> None:
    _, writes = undisturbed.of(ON_RAY)

    for number in range(len(writes)):
        check(ON_RAY, stage, undisturbed, {(number, "before"): "crash"})


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("side", ["before", "after"])
def test_a_write_that_fails_or_whose_answer_is_lost_changes_nothing_in_the_end(
    side: str, stage: Stage, undisturbed: Undisturbed
) -> None:
    _, writes = undisturbed.of(IN_PROCESS)

    for number in range(len(writes)):
        check(IN_PROCESS, stage, undisturbed, {(number, side): "error"})


POINTS = st.tuples(st.integers(0, 60), st.sampled_from(["before", "after"]))


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    story=st.sampled_from(STORIES),
    strikes=st.lists(st.tuples(POINTS, st.sampled_from(["crash", "error"])), min_size=2, max_size=3),
)
def test_nothing_changes_in_the_end_however_often_the_operator_is_struck(
    story: Story, strikes: list[tuple[tuple[int, str], str]], stage: Stage, undisturbed: Undisturbed
) -> None:
    _, writes = undisturbed.of(story)

    each = [{(number % len(writes), side): what} for (number, side), what in strikes]

    check(story, stage, undisturbed, *each)
