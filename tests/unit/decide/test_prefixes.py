"""Who may share the beginning of a run with whom, and how much of it."""

from __future__ import annotations

from batchyard.decide.prefixes import SHARED, START, Agreement, Shape, as_shared, offered, seconds_of, shared_part
from batchyard.model.trial import NodeBoundary

CHAIN = {START: ("a",), "a": ("b",), "b": ("c",), "c": ("d",), "d": ()}


def shape(**marks: str) -> Shape:
    """The shape of a chain whose nodes have these marks."""
    return Shape({START: "s", **marks}, CHAIN)


def went(*nodes: str, step: int = 1, status: str = "completed", seconds: float = 1.0) -> NodeBoundary:
    """A node's run, with its checkpoint named after it."""
    (node,) = nodes
    return NodeBoundary(node, status, seconds, None, f"after-{node}", step)


RUN = [went("a", step=1), went("b", step=2), went("c", step=3)]
ALL = {START, "a", "b", "c"}


def nodes(boundaries: tuple[NodeBoundary, ...]) -> list[str]:
    return [boundary.node for boundary in boundaries]


def test_a_run_is_shared_up_to_the_first_node_that_differs() -> None:
    assert nodes(shared_part(RUN, {START, "a", "b"})) == ["a", "b"]


def test_nothing_is_shared_by_graphs_that_begin_differently() -> None:
    assert shared_part(RUN, {"a", "b"}) == ()
    assert not Agreement([shape(a="1"), Shape({START: "other", "a": "1"}, CHAIN)]).leaders(1)


def test_a_step_is_shared_as_a_whole_or_not_at_all() -> None:
    side_by_side = [went("a", step=1), went("b", step=2), went("x", step=2), went("c", step=3)]

    assert nodes(shared_part(side_by_side, ALL)) == ["a"]


def test_a_node_that_did_not_complete_is_no_boundary() -> None:
    assert nodes(shared_part([RUN[0], went("b", step=2, status="failed")], ALL)) == ["a"]
    assert nodes(shared_part([RUN[0], NodeBoundary("b", "completed", 1.0, None, None, 2)], ALL)) == ["a"]


def test_what_a_trial_shared_itself_it_passes_on() -> None:
    assert nodes(shared_part(as_shared(RUN), ALL)) == ["a", "b", "c"]
    assert {boundary.status for boundary in as_shared(RUN)} == {SHARED}


def test_a_run_offers_the_longest_part_that_any_follower_wants_but_never_its_last_step() -> None:
    assert nodes(offered(RUN, [{START, "a"}, {START, "a", "b"}])) == ["a", "b"]
    assert nodes(offered(RUN, [ALL])) == ["a", "b"]
    assert offered(RUN, []) == ()


def test_a_shared_part_took_as_long_as_the_slowest_node_of_each_step() -> None:
    steps = [went("a", step=1, seconds=2), went("b", step=2, seconds=1), went("c", step=2, seconds=3)]

    assert seconds_of(steps) == 5
    assert seconds_of([]) == 0


def test_each_combination_follows_the_one_that_goes_along_the_longest() -> None:
    agreement = Agreement([shape(a="1", b="1"), shape(a="1", b="2"), shape(a="1", b="2"), shape(a="2", b="2")])

    assert [list(agreement.leaders(index)) for index in range(4)] == [[], [0], [1, 0], []]
    assert list(agreement.followers(0)) == [1]
    assert list(agreement.followers(1)) == [2]


def test_what_lies_behind_a_difference_does_not_count() -> None:
    agreement = Agreement([shape(a="1", b="1", c="1", d="1"), shape(a="1", b="1"), shape(a="1", b="1", c="2", d="1")])

    assert list(agreement.leaders(2)) == [0, 1]
    assert agreement.shared_nodes() == {"a", "b"}


def test_a_node_without_a_mark_is_shared_with_nobody() -> None:
    assert not Agreement([shape(), shape()]).leaders(1)
