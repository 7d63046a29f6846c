"""Executions as text and as JSON. Not for moving them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from batchyard.cli import document, tables, terminal
from batchyard.cli.options import Output
from batchyard.executions.sources import Unreadable
from batchyard.model.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from batchyard.executions.moves import Source
    from batchyard.model.execution import Checkpoint
    from batchyard.model.trial import JSON


def print_list(batch: str, found: Sequence[Source | Unreadable], output: Output) -> None:
    """Print the executions of a batch, and which of them cannot be read."""
    sources = [one for one in found if not isinstance(one, Unreadable)]
    damaged = [one for one in found if isinstance(one, Unreadable)]
    if output is Output.JSON:
        named: list[JSON] = [{"name": one.name, "message": one.why} for one in damaged]
        shown: list[JSON] = [execution_json(source) for source in sources]
        document.print_json({"batch": batch, "executions": shown, "unreadable": named})
        return
    console = terminal.out()
    for one in damaged:
        tables.line(console, f"{one.name} cannot be read: {one.why}", style="bold")
    if not found:
        tables.line(console, f"batch {batch}: no execution is held and no attempt's states were kept")
        return
    if not sources:
        return
    table = tables.new_table()
    for name in ("execution", "of", "status", "next", "why"):
        table.add_column(name, overflow="fold")
    for source in sources:
        held = source.held
        table.add_row(
            Text(held.id or "(kept)"),
            Text(terminal.printable(held.origin or held.trial)),
            Text(held.status.value),
            Text(terminal.printable(", ".join(_upcoming(source)))),
            Text(terminal.printable(held.question or held.reason)),
        )
    console.print(table)


def print_one(source: Source, output: Output, *, history: bool = True, state: JSON = None) -> None:
    """Print how one execution stands; ``state`` is the final one, if it just completed."""
    if output is Output.JSON:
        shown = execution_json(source)
        if history:
            shown["history"] = [_checkpoint_json(point) for point in source.history]
        if state is not None:
            shown["state"] = state
        document.print_json(shown)
        return
    console, held = terminal.out(), source.held
    name = held.id or held.origin
    # An ordinary pause needs no input, whatever its outcome is called.
    outcome = "" if held.outcome == Outcome.NEEDS_INPUT and not held.question else held.outcome
    tables.line(console, f"{name}: {held.status}" + (f" ({outcome})" if outcome else ""), style="bold")
    tables.line(console, f"  batch {held.batch}, trial {held.trial}" + (f", from {held.origin}" if held.origin else ""))
    for title, text in (("asks", held.question), ("why", held.message), ("next", ", ".join(_upcoming(source)))):
        for line in text.splitlines():
            tables.line(console, f"  {title}: {line}")
    if history:
        _print_history(console, source.history)
    if state is not None:
        tables.line(console, f"  state: {document.compact(state)}")


def print_state(source: Source, target: Checkpoint, state: JSON, output: Output) -> None:
    """Print a state."""
    if output is Output.JSON:
        document.print_json({"execution": source.held.id or None, "checkpoint": target.id, "state": state})
        return
    console = terminal.out()
    after = f" after {', '.join(target.nodes)}" if target.nodes else ""
    tables.line(console, f"{source.held.id or source.held.origin} at {target.id}{after}", style="bold")
    for key, value in state.items() if isinstance(state, dict) else [("state", state)]:
        tables.line(console, f"  {key}: {document.compact(value)}")


def execution_json(source: Source) -> dict[str, JSON]:
    """Return an execution as JSON; ``execution`` is null for an attempt that nobody has moved yet."""
    held = source.held
    return {
        "execution": held.id or None,
        "batch": held.batch,
        "trial": held.trial,
        "origin": held.origin or None,
        "combination": held.combination,
        "variants": dict(held.variants),
        "case": held.case,
        "status": held.status.value,
        "question": held.question,
        "message": held.message,
        "outcome": held.outcome or None,
        "reason": held.reason,
        "score": held.score,
        "checkpoint": source.history[-1].id if source.history else None,
        "next": list(_upcoming(source)),
        "createdTime": held.created_at,
        "changedTime": held.changed_at,
    }


def _upcoming(source: Source) -> Sequence[str]:
    return source.history[-1].next if source.history else ()


def _checkpoint_json(point: Checkpoint) -> JSON:
    return {
        "checkpoint": point.id, "step": point.step, "parent": point.parent, "nodes": list(point.nodes),
        "next": list(point.next),
    }  # fmt: skip


def _print_history(console: Console, history: Sequence[Checkpoint]) -> None:
    if not history:
        return
    table = tables.new_table()
    for name in ("checkpoint", "step", "after", "next"):
        table.add_column(name, overflow="fold")
    for point in history:
        after = ", ".join(point.nodes) if point.nodes else "(input)" if point.step < 0 else ""
        table.add_row(
            Text(point.id), Text(f"{point.step}"), Text(terminal.printable(after)),
            Text(terminal.printable(", ".join(point.next))),
        )  # fmt: skip
    console.print(table)
