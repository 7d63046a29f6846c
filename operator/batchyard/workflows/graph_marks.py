"""Which nodes of a graph may be shared between combinations, told by fingerprints: a node with its ways out.

What decides where a run goes after a node (its edges, the functions of its conditional edges) belongs to the node's
fingerprint; what the state is made of and where a run begins is ``START``'s. Not for what is shared in the end:
``decide.prefixes`` compares.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.pregel import Pregel

from batchyard.engine.marks import GraphMarks, ShareableNode
from batchyard.model.errors import WorkflowInvalid
from batchyard.workflows.factory import load_named
from batchyard.workflows.fingerprints import Fingerprinter, NoFingerprint, versions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from batchyard.workflows.watched_graph import Graph

Builder = StateGraph[Any, Any, Any, Any]


def graph_marks(
    graph: Graph,
    variants: Mapping[str, str],
    declared: Sequence[ShareableNode],
    environment: str = "",
    source: Path | None = None,
    own: str = "",
) -> GraphMarks:
    """Return the marks of a compiled graph that was made for ``variants``.

    ``environment`` names what the processes that run it see beside the code; it is a part of every fingerprint. ``own``
    is the workflow's package: no library, wherever it lies.
    """
    builder = graph.builder
    marks: dict[str, str] = {}
    leads_to: dict[str, Sequence[str]] = {}
    unmarked: dict[str, str] = {}
    values, unread = _values(declared, source)
    place = (versions(), environment)
    # Nobody says what the way in depends on, so all the variants count.
    for node in (ShareableNode(START, tuple(variants)), *declared):
        if node.name != START and node.name not in builder.nodes:
            continue
        try:
            marker = Fingerprinter(variants, node.depends_on, _plainly, own)
            parts = _beginning(builder) if node.name == START else _node(builder, node.name)
            chosen = [] if node.name == START else [(name, variants.get(name)) for name in sorted(node.depends_on)]
            read = {name: _value(name, values, unread) for name in node.reads}
            marks[node.name] = marker.of([place, node.name, chosen, read, parts])
            leads_to[node.name] = _ways_out(builder, node.name)
        except NoFingerprint as error:
            unmarked[node.name] = str(error)
    return GraphMarks(marks, leads_to, unmarked, tuple(name for name in builder.nodes if name != START), unread)


def _node(builder: Builder, name: str) -> object:
    spec = builder.nodes[name]
    return [
        spec.runnable, spec.input_schema, spec.metadata, spec.retry_policy, spec.ends, spec.defer,
        spec.error_handler_node, spec.is_error_handler, spec.timeout, _leaving(builder, name),
    ]  # fmt: skip


def _leaving(builder: Builder, name: str) -> object:
    """Return what decides where a run goes after a node."""
    plain = sorted(end for start, end in builder.edges if start == name)
    joins = sorted((sorted(starts), end) for starts, end in builder.waiting_edges if name in starts)
    ways = {key: (way.path, way.ends, way.input_schema) for key, way in builder.branches.get(name, {}).items()}
    return [plain, joins, ways]


def _beginning(builder: Builder) -> object:
    """Return what holds for the whole run: the state and its reducers, and where it begins."""
    schemas = [builder.state_schema, builder.input_schema, builder.output_schema, builder.context_schema]
    return [schemas, dict(builder.channels), dict(builder.managed), _leaving(builder, START)]


def _plainly(value: object) -> object | None:
    """Return a graph within a graph as what it was made of; None for anything else."""
    if isinstance(value, CompiledStateGraph):
        made = value.builder
        kept = [value.checkpointer, value.store, value.cache, value.context_schema, value.config, value.name]
        held = [value.interrupt_before_nodes, value.interrupt_after_nodes, value.retry_policy, value.step_timeout]
        return ["graph", kept, held, _beginning(made), {name: _node(made, name) for name in made.nodes}]
    if isinstance(value, Pregel):
        raise NoFingerprint("a graph that is no StateGraph hangs on it")
    return None


def _values(declared: Sequence[ShareableNode], source: Path | None) -> tuple[dict[str, object], dict[str, str]]:
    """Return the values that nodes are declared to read, and why others cannot be had."""
    values: dict[str, object] = {}
    unread: dict[str, str] = {}
    for reference in dict.fromkeys(name for node in declared for name in node.reads):
        try:
            values[reference] = load_named(reference, source)
        except WorkflowInvalid as error:
            unread[reference] = str(error)
    return values, unread


def _value(reference: str, values: Mapping[str, object], unread: Mapping[str, str]) -> object:
    if reference in unread:
        raise NoFingerprint(unread[reference])
    return values[reference]


def _ways_out(builder: Builder, name: str) -> list[str]:
    ends = {end for start, end in builder.edges if start == name}
    ends |= {end for starts, end in builder.waiting_edges if name in starts}
    for way in builder.branches.get(name, {}).values():
        ends |= set(builder.nodes) if way.ends is None else set(way.ends.values())
    if name in builder.nodes:
        ends |= set(builder.nodes[name].ends or ())
    return sorted(ends - {END})
