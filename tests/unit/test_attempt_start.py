"""An attempt may go on from a thread that ran before, pause at nodes, and is refused what cannot be."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from batchyard.engine.attempts import Order, Start
from batchyard.engine.controller import RunSettings
from batchyard.judge import EvaluationEngine
from batchyard.model.outcome import Outcome, Reason
from batchyard.runners.attempt import Executed, execute
from batchyard.runners.frames import as_received
from batchyard.runners.meter import Meter
from batchyard.testing.state_adapter_conformance import ListeningProbe, add_one, ask
from batchyard.workflows.in_memory import InMemoryStateAdapter, InMemoryWorkflow
from runner_bench import an_order
from usage_page import UsagePage

if TYPE_CHECKING:
    from pathlib import Path

THREE = {"one": add_one, "two": add_one, "three": add_one}


def adapter_of(**nodes: Any) -> InMemoryStateAdapter:
    return InMemoryStateAdapter(lambda _: InMemoryWorkflow(nodes or THREE))


def run(adapter: InMemoryStateAdapter, probe: ListeningProbe | None = None, /, **changes: object) -> Executed:
    """Execute an order that travelled as JSON."""
    order = Order.from_json(as_received(an_order(state={"count": 0}, **changes)))
    settings = RunSettings(20, "sync")
    meter = Meter(UsagePage())
    return execute(
        order, adapter, EvaluationEngine([], 0.5), settings, probe or ListeningProbe(), meter, time.monotonic
    )


def piece_of(adapter: InMemoryStateAdapter) -> bytes:
    return adapter.take_out(an_order().thread_id)


def count_of(executed: Executed) -> int:
    return int(executed.output["count"])


def test_an_attempt_pauses_before_a_node_it_was_ordered_to() -> None:
    paused = run(adapter_of(), pause_before=["two"])

    assert (paused.outcome, paused.reason, count_of(paused)) == (Outcome.NEEDS_INPUT, Reason.PAUSED, 1)
    assert "two" in paused.message


def test_an_attempt_goes_on_from_a_thread_of_another_worker() -> None:
    source, probe = adapter_of(), ListeningProbe()
    run(source, pause_after=["two"])

    ended = run(adapter_of(), probe, start=Start.from_piece(piece_of(source)))

    assert probe.heard == ["+three", "-three"]
    assert (ended.outcome, count_of(ended)) == (Outcome.PASSED, 3)


def test_an_attempt_goes_on_from_a_file(tmp_path: Path) -> None:
    source = adapter_of()
    run(source, pause_after=["two"])
    (tmp_path / "piece").write_bytes(piece_of(source))

    ended = run(adapter_of(), start=Start(path=str(tmp_path / "piece")))

    assert count_of(ended) == 3


def test_edits_are_made_before_an_attempt_goes_on() -> None:
    source = adapter_of()
    run(source, pause_after=["two"])

    ended = run(adapter_of(), start=Start.from_piece(piece_of(source), edits={"count": 10}))

    assert count_of(ended) == 11


def test_an_attempt_goes_on_from_an_earlier_checkpoint() -> None:
    source, probe = adapter_of(), ListeningProbe()
    run(source)
    first = source.history(an_order().thread_id)[1].id

    ended = run(adapter_of(), probe, start=replace(Start.from_piece(piece_of(source)), checkpoint=first))

    assert (probe.heard, count_of(ended)) == (["+two", "-two", "+three", "-three"], 3)


def test_an_attempt_goes_on_in_the_workers_own_file() -> None:
    adapter, probe = adapter_of(), ListeningProbe()
    run(adapter, pause_before=["three"])

    ended = run(adapter, probe, start=Start())

    assert (probe.heard, count_of(ended)) == (["+three", "-three"], 3)


def test_a_held_attempt_runs_nothing_and_shows_its_state() -> None:
    adapter, probe = adapter_of(), ListeningProbe()
    run(adapter, pause_before=["three"])

    held = run(adapter, probe, start=Start(edits={"count": 7}, hold=True))

    assert (held.outcome, held.reason, count_of(held), probe.heard) == (Outcome.NEEDS_INPUT, Reason.PAUSED, 7, [])


def test_an_answer_travels_with_the_order() -> None:
    adapter = adapter_of(one=add_one, two=ask)
    asked = run(adapter)

    ended = run(adapter, start=Start(answer=[{"words": {"said": ["yes"]}}]))

    assert (asked.outcome, asked.reason) == (Outcome.NEEDS_INPUT, Reason.INTERRUPTED_BY_GRAPH)
    assert ended.output["words"] == {"said": ["yes"]}


def test_what_cannot_be_begun_with_is_refused_with_a_reason() -> None:
    damaged = run(adapter_of(), start=Start(piece="no base64!"))
    missing = run(adapter_of(), start=Start(path="/nowhere/at/all"))
    never_ran = run(adapter_of(), start=Start())
    no_node = run(adapter_of(), pause_before=["elsewhere"])

    assert {(found.outcome, found.reason) for found in (damaged, missing, never_ran, no_node)} == {
        (Outcome.FAILED, Reason.START_REFUSED)
    }
    assert "elsewhere" in no_node.message
