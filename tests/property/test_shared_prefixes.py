"""Batches over generated graphs end alike with and without shared beginnings, and share all that they can.

Graphs have conditional edges, nodes side by side, nodes that are sent work, cycles and graphs within; each variant
decides what some nodes do. The trials run where they stand, each on the next of two workers' files, so that beginnings
travel from one to the other.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from itertools import groupby, takewhile
from operator import add, attrgetter, ne
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send
from typing_extensions import TypedDict

from batchyard.clock import SystemClock
from batchyard.decide.prefixes import Shape
from batchyard.engine.attempts import Ended
from batchyard.engine.backlog import Backlog
from batchyard.engine.controller import RunSettings
from batchyard.engine.marks import ShareableNode
from batchyard.engine.prefixes import SharedPrefixes
from batchyard.judge import EvaluationEngine
from batchyard.local_prefixes import PrefixFolder
from batchyard.model.matrix import Plan
from batchyard.model.trial import Case, Combination
from batchyard.runners.attempt import execute
from batchyard.runners.finish import Finish
from batchyard.runners.meter import Meter
from batchyard.runners.remains import Remains
from batchyard.workflows.checkpoint_file import read_boundaries
from batchyard.workflows.langgraph import LangGraphStateAdapter
from batchyard.workflows.thread_copy import export_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from batchyard.engine.ports import StopRequest
    from batchyard.model.trial import AttemptResult, NodeBoundary
    from batchyard.model.usage import Usage

NOW = datetime(2026, 1, 1, tzinfo=UTC)
COMBINATIONS = tuple(Combination(f"{x}-{y}", {"x": x, "y": y}) for x in "01" for y in "01")
CASES = (Case("even", {"seed": 2}), Case("odd", {"seed": 3}))


class State(TypedDict, total=False):
    """``path`` has what every node says of itself."""

    seed: int
    path: Annotated[list[str], add]


@dataclass(frozen=True)
class Part:
    """One piece of a graph: ``kind`` with the variants that decide what its nodes do ("" for none)."""

    kind: str
    by: tuple[str, str, str]
    declared: bool


PARTS = st.lists(
    st.builds(
        Part,
        st.sampled_from(["node", "graph", "fan", "branch", "turn", "send", "cycle"]),
        st.tuples(*[st.sampled_from(["", "", "", "x", "y"])] * 3),
        st.sampled_from([True, True, True, False]),
    ),
    min_size=2,
    max_size=5,
)


def says(name: str, variant: str) -> Any:
    """A node that tells its name and the variant it was made with."""
    return lambda state: {"path": [f"{name}{variant}{state['seed']}"]}


def reads(name: str, variants: Mapping[str, str], by: str) -> Any:
    """A node that tells its name and the variant that it reads, while it runs, from the factory's mapping."""
    match by:
        case "x":
            return lambda state: {"path": [f"{name}{variants['x']}{state['seed']}"]}
        case "y":
            return lambda state: {"path": [f"{name}{variants.get('y')}{state['seed']}"]}
        case _:
            return says(name, "")


def within(name: str, chosen: Sequence[str]) -> Any:
    """A graph that turns, perhaps as a variant has it, and says the turns' own variants."""
    inner: StateGraph[State, None, State, State] = StateGraph(State)
    inner.add_node(f"{name}-first", says(f"{name}/first", chosen[0]))
    inner.add_edge(START, f"{name}-first")
    for side in "lr":
        inner.add_node(f"{name}-{side}", says(f"{name}/{side}", chosen[2]))
        inner.add_edge(f"{name}-{side}", END)
    inner.add_conditional_edges(f"{name}-first", turning(name, chosen[1]), [f"{name}-l", f"{name}-r"])
    return inner.compile()


def turning(name: str, variant: str) -> Callable[[State], str]:
    return lambda state: f"{name}-{'l' if (state['seed'] + int(variant or 0)) % 2 else 'r'}"


def sending(name: str, variant: str) -> Callable[[State], list[Send]]:
    """An edge that sends two or three pieces of work to the left node, as a variant may have it."""
    return lambda state: [Send(f"{name}-l", {"seed": state["seed"] + n}) for n in range(2 + int(variant or 0))]


def again(name: str, variant: str) -> Callable[[State], str]:
    """An edge that leads back to the left node once or twice, as a variant may have it."""
    turns = 2 + int(variant or 0)
    return lambda state: f"{name}-{'l' if sum(said.startswith(f'{name}-l') for said in state['path']) < turns else 'r'}"


def factory(parts: Sequence[Part]) -> Callable[[Mapping[str, str]], StateGraph[State, None, State, State]]:
    """Return what builds the graph of these parts, one after the other."""

    def build(variants: Mapping[str, str]) -> StateGraph[State, None, State, State]:
        graph: StateGraph[State, None, State, State] = StateGraph(State)
        before: list[str] = [START]
        for number, part in enumerate(parts):
            before = _added(graph, before, f"p{number}", part, variants)
        for name in before:
            graph.add_edge(name, END)
        return graph

    return build


def _added(graph: Any, before: list[str], name: str, part: Part, variants: Mapping[str, str]) -> list[str]:
    chosen = [variants.get(by, "") for by in part.by]
    graph.add_node(name, within(name, chosen) if part.kind == "graph" else reads(name, variants, part.by[0]))
    for earlier in before:
        graph.add_edge(earlier, name)
    if part.kind in ("node", "graph"):
        return [name]
    graph.add_node(f"{name}-l", says(f"{name}-l", chosen[1]))
    graph.add_node(f"{name}-r", reads(f"{name}-r", variants, part.by[2]))
    if part.kind == "fan":
        graph.add_edge(name, f"{name}-l")
        graph.add_edge(name, f"{name}-r")
        graph.add_node(f"{name}-join", says(f"{name}-join", ""))
        graph.add_edge([f"{name}-l", f"{name}-r"], f"{name}-join")
        return [f"{name}-join"]
    if part.kind == "send":
        graph.add_conditional_edges(name, sending(name, chosen[0]), [f"{name}-l"])
        graph.add_edge(f"{name}-l", f"{name}-r")
        return [f"{name}-r"]
    if part.kind == "cycle":
        graph.add_edge(name, f"{name}-l")
        graph.add_conditional_edges(f"{name}-l", again(name, chosen[0]), [f"{name}-l", f"{name}-r"])
        return [f"{name}-r"]
    # Where it turns may depend on a variant, which only the closure of the edge shows.
    graph.add_conditional_edges(
        name, turning(name, chosen[0] if part.kind == "turn" else ""), [f"{name}-l", f"{name}-r"]
    )
    return [f"{name}-l", f"{name}-r"]


def declared_in(parts: Sequence[Part]) -> list[ShareableNode]:
    """Every node of the declared parts, with nothing declared that it depends on: code and closures must tell."""
    endings = ("", "-l", "-r", "-join")
    return [ShareableNode(f"p{n}{ending}") for n, part in enumerate(parts) if part.declared for ending in endings]


@dataclass
class Counting:
    """Counts the nodes that really ran."""

    count: Counter[str] = field(default_factory=Counter)

    def node_started(self, node: str, task: str) -> None:
        self.count[node] += 1

    def node_finished(self, node: str, task: str) -> None:
        """Nothing is to be done."""

    def on_stop(self, stop: StopRequest) -> None:
        """Nobody stops these runs."""


class NoPage:
    """Nobody asks what these runs use."""

    def set_usage(self, used: Usage, at_ns: int) -> None:
        """Nothing is to be done."""


@dataclass
class Ran:
    """What a batch came to."""

    results: dict[str, AttemptResult]
    nodes: int


def run_batch(parts: Sequence[Part], folder: Path, *, share: bool) -> Ran:
    """Run every trial, each on the next of two workers."""
    plan, build, probe, clock = Plan(COMBINATIONS, CASES), factory(parts), Counting(), SystemClock()
    remains = Remains(read_boundaries, export_thread, clock)
    files = {name: folder / f"{name}.db" for name in ("one", "two")}
    workers = {name: LangGraphStateAdapter(build, file) for name, file in files.items()}
    prefixes = None
    if share:
        marks = [
            workers["one"].marks(workers["one"].prepare(each.variants), each.variants, declared_in(parts), "")
            for each in COMBINATIONS
        ]
        assert not any(found.unmarked for found in marks)
        shapes = [Shape(found.marks, {node: tuple(ends) for node, ends in found.leads_to.items()}) for found in marks]
        prefixes = SharedPrefixes(plan, shapes, PrefixFolder(folder / "prefixes"))
    backlog = Backlog(plan, "b", 1, prefixes=prefixes)
    results: dict[str, AttemptResult] = {}
    while (order := backlog.next_order(0.0)) is not None:
        worker = ("one", "two")[len(results) % 2]
        executed = execute(
            order,
            workers[worker],
            EvaluationEngine([], 0.5),
            RunSettings(50, "sync"),
            probe,
            Meter(NoPage()),
            clock.monotonic,
        )
        body = {**asdict(executed), "scores": (), "boundaries": [asdict(each) for each in executed.boundaries]}
        results[order.trial_id] = result = Finish(order, worker, NOW, NOW, 1.0).by_itself(body)
        if prefixes is not None:
            prefixes.ended(remains.with_prefix(files[worker], order, Ended(result)))
        backlog.finish(order.ordinal)
    for adapter in workers.values():
        adapter.close()
    assert not (folder / "prefixes").exists()
    return Ran(results, sum(probe.count.values()))


def said(result: AttemptResult) -> tuple[object, ...]:
    """All that is to be the same whether a trial shared its beginning or not."""
    path = [(boundary.node, boundary.step) for boundary in result.boundaries]
    return (
        result.outcome,
        result.reason,
        result.message,
        result.score,
        result.output,
        result.output_digest,
        sorted(path),
    )


Step = tuple[tuple[str, tuple[str, ...], bool], ...]
"""The nodes of one step of a run: the name, the values of the variants that decide what it does, whether declared."""


def steps_of(parts: Sequence[Part], result: AttemptResult) -> list[Step]:
    """The steps of a run without its last, which is nobody's to share; read off the parts, not the graph."""
    by = {f"p{n}": part for n, part in enumerate(parts)}
    chosen = dict(zip("xy", result.combination.split("-"), strict=True))

    def known(boundary: NodeBoundary) -> tuple[str, tuple[str, ...], bool]:
        base, _, ending = boundary.node.partition("-")
        part = by[base]
        own = {"": part.by[:1], "l": part.by[1:2], "r": part.by[2:], "join": ()}
        which = part.by if part.kind == "graph" else own[ending]  # all of them decide what is within a graph
        return (boundary.node, tuple(chosen.get(each, "") for each in which), part.declared)

    ordered = sorted(result.boundaries, key=attrgetter("step", "node"))
    return [tuple(map(known, group)) for _, group in groupby(ordered, key=attrgetter("step"))][:-1]


def fewest(parts: Sequence[Part], ran: Ran) -> int:
    """How many nodes have to run if each trial shares all that it has in common with any other of its case."""
    shared: dict[tuple[object, ...], int] = {}
    nodes = 0
    for result in ran.results.values():
        so_far: tuple[object, ...] = (result.case,)
        nodes += len(result.boundaries)
        for step in takewhile(is_declared, steps_of(parts, result)):
            so_far = (*so_far, step)
            shared[so_far] = len(step)
            nodes -= len(step)
    return sum(shared.values()) + nodes


def most(parts: Sequence[Part], ran: Ran) -> int:
    """How many nodes may run if each trial shares with one before it of those that differ in the fewest variants."""
    before: dict[str, list[AttemptResult]] = {}
    nodes = 0
    for result in ran.results.values():
        others = before.setdefault(result.case, [])
        apart = [sum(map(ne, result.combination, other.combination)) for other in others]
        nearest = [other for other, far in zip(others, apart, strict=True) if far == min(apart)]
        nodes += len(result.boundaries) - min((in_common(parts, result, other) for other in nearest), default=0)
        others.append(result)
    return nodes


def in_common(parts: Sequence[Part], one: AttemptResult, other: AttemptResult) -> int:
    """How many nodes two runs have in common before the first step that differs or is not wholly declared."""
    pairs = zip(steps_of(parts, one), steps_of(parts, other), strict=False)
    return sum(len(step) for step, _ in takewhile(lambda pair: pair[0] == pair[1] and is_declared(pair[0]), pairs))


def is_declared(step: Step) -> bool:
    return all(declared for _, _, declared in step)


def chain(*kinds: str, last: str = "y") -> list[Part]:
    """Parts that all may be shared, and whose last node alone is another for each ``last``."""
    return [*(Part(kind, ("", "", ""), declared=True) for kind in kinds), Part("node", (last, "", ""), declared=True)]


@settings(max_examples=30)
@given(PARTS)
@example(chain("send", "cycle"))
@example([Part("send", ("", "y", "x"), declared=True), Part("cycle", ("x", "", "y"), declared=True)])
@example([Part("graph", ("", "x", ""), declared=True), Part("fan", ("", "y", ""), declared=True)])
@pytest.mark.proves("shared-prefix")
def test_sharing_changes_nothing_but_how_many_nodes_run(parts: list[Part]) -> None:
    with TemporaryDirectory() as one, TemporaryDirectory() as other:
        alone = run_batch(parts, Path(one), share=False)
        together = run_batch(parts, Path(other), share=True)

    assert {trial: said(result) for trial, result in together.results.items()} == {
        trial: said(result) for trial, result in alone.results.items()
    }
    assert fewest(parts, alone) <= together.nodes <= most(parts, alone)


@pytest.mark.parametrize("kinds", [("send", "cycle"), ("branch", "graph"), ("fan", "turn")])
def test_what_no_variant_decides_runs_once_a_case(kinds: tuple[str, ...], tmp_path: Path) -> None:
    parts = chain(*kinds)

    ran = run_batch(parts, tmp_path, share=True)

    assert ran.nodes == fewest(parts, ran)
