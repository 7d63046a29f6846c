"""What every ``StateAdapter`` must do: inherit the class in a test module with an ``adapter_for`` fixture.

``adapter_for(nodes, endless=False, at_once=False)`` returns an adapter whose factory makes a workflow of these plain
functions, run in their order (over and over if endless; all in one step if at once) on a state with the keys of
``STATE_KEYS``, whatever the variants are. A function takes the state and returns what changes in it; it raises
``AskForInput`` where the framework's own way to ask would be used.

Not about files, event loops or parallel nodes: those are each adapter's own tests.
"""

# ruff: noqa: S101 - what a suite holds an adapter to are assertions

from __future__ import annotations

import threading
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from batchyard.model.outcome import Reason
from batchyard.workflows.in_memory import AskForInput

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchyard.engine.ports import RunOutput, StateAdapter, StopRequest
    from batchyard.workflows.in_memory import Node

STATE_KEYS = ("count", "words", "held")
"""The keys the suite's nodes write; each write replaces what was there."""


class AdapterMaker(Protocol):
    """The ``adapter_for`` fixture."""

    def __call__(self, nodes: Mapping[str, Node], *, endless: bool = False, at_once: bool = False) -> StateAdapter:
        """Return a new adapter for workflows of these nodes; the fixture closes it."""
        ...


class ListeningProbe:
    """Keeps what it hears: ``heard`` has ``+node`` and ``-node``. Asks to stop when ``stop_in`` begins."""

    def __init__(self, stop_in: str | None = None) -> None:
        self.heard: list[str] = []
        self.stop: StopRequest | None = None
        self._stop_in = stop_in

    def node_started(self, node: str, task: str) -> None:
        """Hear that a node begins."""
        self.heard.append(f"+{node}")
        if node == self._stop_in and self.stop is not None:
            self.stop()

    def node_finished(self, node: str, task: str) -> None:
        """Hear that a node ended."""
        self.heard.append(f"-{node}")

    def on_stop(self, stop: StopRequest) -> None:
        """Keep the way to stop."""
        self.stop = stop


class HastyProbe(ListeningProbe):
    """Asks to stop before anything has begun."""

    def on_stop(self, stop: StopRequest) -> None:
        """Stop at once."""
        stop()


def add_one(state: dict[str, Any]) -> dict[str, Any]:
    """Count."""
    return {"count": state["count"] + 1}


def fail(_: dict[str, Any]) -> dict[str, Any]:
    """Raise as workflows do."""
    raise LookupError("no such document")


def ask(_: dict[str, Any]) -> dict[str, Any]:
    """Ask as a workflow does that waits for a person."""
    raise AskForInput("Which one?")


def ask_other(_: dict[str, Any]) -> dict[str, Any]:
    """Ask something else."""
    raise AskForInput("And where?")


def run(
    adapter: StateAdapter,
    thread_id: str = "t",
    *,
    probe: ListeningProbe | None = None,
    recursion_limit: int = 20,
    durability: str = "sync",
    state: dict[str, Any] | None = None,
) -> RunOutput:
    """Run the adapter's workflow once, on ``{"count": 0}`` unless told otherwise."""
    return adapter.run(
        adapter.prepare({"a": "1"}),
        thread_id,
        {"count": 0} if state is None else state,
        probe=probe or ListeningProbe(),
        recursion_limit=recursion_limit,
        durability=durability,
    )


class StateAdapterConformance:
    """Inherit with an ``adapter_for`` fixture."""

    @pytest.mark.parametrize("durability", ["sync", "async", "exit"])
    def test_a_run_ends_with_the_state_its_nodes_made(self, adapter_for: AdapterMaker, durability: str) -> None:
        """Each node sees what the one before it left."""
        adapter = adapter_for({"one": add_one, "two": add_one})

        output = run(adapter, durability=durability)

        assert (output.status, output.reason, output.message) == ("completed", "", "")
        assert output.state["count"] == 2

    def test_the_probe_hears_every_node_begin_and_end(self, adapter_for: AdapterMaker) -> None:
        """In the order they ran."""
        probe = ListeningProbe()

        run(adapter_for({"one": add_one, "two": add_one}), probe=probe)

        assert probe.heard == ["+one", "-one", "+two", "-two"]

    def test_nodes_run_on_the_calling_thread(self, adapter_for: AdapterMaker) -> None:
        """So that what belongs to a thread (a database connection) can be used from node to node."""
        threads: list[int] = []

        def note(_: dict[str, Any]) -> None:
            threads.append(threading.get_ident())

        run(adapter_for({"one": note, "two": note}))

        assert threads == [threading.get_ident()] * 2

    def test_each_boundary_leads_from_one_checkpoint_to_the_next(self, adapter_for: AdapterMaker) -> None:
        """The exit of a node is the entry of the one after it."""
        adapter = adapter_for({"one": add_one, "two": add_one, "three": add_one})

        output = run(adapter)

        assert [boundary.node for boundary in output.boundaries] == ["one", "two", "three"]
        assert {boundary.status for boundary in output.boundaries} == {"completed"}
        assert all(before.exit_checkpoint == after.entry_checkpoint for before, after in pairwise(output.boundaries))
        assert output.last_checkpoint == output.boundaries[-1].exit_checkpoint
        assert all(boundary.duration_seconds >= 0 and boundary.entry_checkpoint for boundary in output.boundaries)

    def test_the_history_tells_what_ran_and_what_was_next(self, adapter_for: AdapterMaker) -> None:
        """Oldest first, each checkpoint after its parent."""
        adapter = adapter_for({"one": add_one, "two": add_one})

        output = run(adapter)

        history = adapter.history("t")
        assert [point.nodes for point in history if point.nodes] == [("one",), ("two",)]
        assert [point.next for point in history][-3:] == [("one",), ("two",), ()]
        assert all(before.id == after.parent for before, after in pairwise(history))
        assert history[-1].id == output.last_checkpoint

    def test_the_state_at_every_boundary_can_be_read_back(self, adapter_for: AdapterMaker) -> None:
        """Before and after each node."""
        adapter = adapter_for({"one": add_one, "two": add_one})

        output = run(adapter)

        counts = [adapter.state("t", boundary.exit_checkpoint)["count"] for boundary in output.boundaries]
        assert adapter.state("t", output.boundaries[0].entry_checkpoint)["count"] == 0
        assert counts == [1, 2]
        assert adapter.state("t") == output.state

    def test_a_thread_that_never_ran_has_no_history_and_no_state(self, adapter_for: AdapterMaker) -> None:
        """Nothing is invented."""
        adapter = adapter_for({"one": add_one})

        assert list(adapter.history("never")) == []
        with pytest.raises(KeyError):
            adapter.state("never")

    def test_a_checkpoint_that_is_not_there_is_a_key_error(self, adapter_for: AdapterMaker) -> None:
        """Even on a thread that is."""
        adapter = adapter_for({"one": add_one})

        run(adapter)

        with pytest.raises(KeyError):
            adapter.state("t", "no-such-checkpoint")

    def test_a_node_that_raises_fails_the_run_and_is_named(self, adapter_for: AdapterMaker) -> None:
        """With what it raised; nothing after it runs."""
        probe = ListeningProbe()
        adapter = adapter_for({"one": add_one, "two": fail, "three": add_one})

        output = run(adapter, probe=probe)

        assert (output.status, output.reason) == ("failed", Reason.NODE_RAISED)
        assert output.message == 'node "two" raised LookupError: no such document'
        assert probe.heard == ["+one", "-one", "+two", "-two"]
        assert output.state["count"] == 1

    def test_a_failed_node_is_no_place_to_go_back_to(self, adapter_for: AdapterMaker) -> None:
        """But the checkpoint before it is, and says what comes next."""
        adapter = adapter_for({"one": add_one, "two": fail})

        output = run(adapter)

        one, two = output.boundaries
        assert (two.status, two.exit_checkpoint) == ("failed", None)
        assert "no such document" in two.error
        assert two.entry_checkpoint == one.exit_checkpoint == output.last_checkpoint
        assert adapter.history("t")[-1].next == ("two",)

    def test_an_exception_that_cannot_be_printed_is_named_by_its_type(self, adapter_for: AdapterMaker) -> None:
        """A workflow's own exception may be broken too."""

        class Mute(Exception):
            def __str__(self) -> str:
                raise ValueError("not even this")

        def mute(_: dict[str, Any]) -> dict[str, Any]:
            raise Mute

        output = run(adapter_for({"one": mute}))

        assert output.message.startswith('node "one" raised Mute: ')

    @pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
    def test_what_is_no_exception_passes_through(self, adapter_for: AdapterMaker, kind: type[BaseException]) -> None:
        """The worker decides what an exit means; afterwards the adapter still works."""
        exits = [kind("now")]

        def leave(state: dict[str, Any]) -> dict[str, Any]:
            if exits:
                raise exits.pop()
            return add_one(state)

        adapter = adapter_for({"one": add_one, "two": leave})

        with pytest.raises(kind, match="now"):
            run(adapter, "first")

        assert run(adapter, "second").state["count"] == 2

    def test_an_endless_workflow_ends_at_its_recursion_limit(self, adapter_for: AdapterMaker) -> None:
        """Whatever the framework's own default."""
        adapter = adapter_for({"loop": add_one}, endless=True)

        output = run(adapter, recursion_limit=7)

        assert (output.status, output.reason) == ("failed", Reason.RECURSION_LIMIT)
        assert "7" in output.message
        assert '"loop"' in output.message
        assert output.state["count"] == 7
        assert adapter.history("t")[-1].next == ("loop",)

    def test_a_stop_ends_the_run_at_the_next_boundary(self, adapter_for: AdapterMaker) -> None:
        """The node that runs is finished, kept and told; the next one never begins."""
        probe = ListeningProbe(stop_in="one")
        adapter = adapter_for({"one": add_one, "two": add_one})

        output = run(adapter, probe=probe)

        assert (output.status, output.reason) == ("stopped", "")
        assert probe.heard == ["+one", "-one"]
        assert output.state["count"] == adapter.state("t", output.last_checkpoint)["count"] == 1
        assert adapter.history("t")[-1].next == ("two",)

    def test_a_stop_before_the_first_node_runs_none(self, adapter_for: AdapterMaker) -> None:
        """The input is kept all the same."""
        probe = HastyProbe()
        adapter = adapter_for({"one": add_one})

        output = run(adapter, probe=probe)

        assert (output.status, probe.heard, output.boundaries) == ("stopped", [], ())
        assert output.state["count"] == 0

    def test_a_stop_after_the_end_does_nothing(self, adapter_for: AdapterMaker) -> None:
        """Not to this run nor to the next."""
        probe = ListeningProbe()
        adapter = adapter_for({"one": add_one})
        run(adapter, "first", probe=probe)

        assert probe.stop is not None
        probe.stop()
        probe.stop()

        assert run(adapter, "second").status == "completed"

    def test_a_stop_in_the_last_node_leaves_the_run_completed(self, adapter_for: AdapterMaker) -> None:
        """There was nothing left to stop."""
        adapter = adapter_for({"one": add_one})

        output = run(adapter, probe=ListeningProbe(stop_in="one"))

        assert output.status == "completed"

    def test_a_node_that_asks_for_input_interrupts_the_run(self, adapter_for: AdapterMaker) -> None:
        """What it asked is the message."""
        probe = ListeningProbe()
        adapter = adapter_for({"one": add_one, "two": ask, "three": add_one})

        output = run(adapter, probe=probe)

        assert (output.status, output.message) == ("interrupted", "Which one?")
        assert [boundary.status for boundary in output.boundaries] == ["completed", "interrupted"]
        assert probe.heard[-1] == "-two"
        assert output.state["count"] == 1
        assert adapter.history("t")[-1].next == ("two",)

    def test_a_state_that_cannot_be_stored_is_named_by_node_key_and_type(self, adapter_for: AdapterMaker) -> None:
        """And what was there before it is what remains."""

        def hold(_: dict[str, Any]) -> dict[str, Any]:
            return {"held": {"deep": [1, threading.Lock()]}}

        adapter = adapter_for({"one": add_one, "two": hold, "three": add_one})

        output = run(adapter)

        assert (output.status, output.reason) == ("failed", Reason.STATE_NOT_SERIALISABLE)
        assert 'node "two"' in output.message
        assert '"held.deep[1]" holds a _thread.lock' in output.message
        assert [boundary.status for boundary in output.boundaries] == ["completed", "failed"]
        assert output.state.get("held") is None
        assert output.state["count"] == 1

    def test_two_runs_share_no_nested_state(self, adapter_for: AdapterMaker) -> None:
        """Neither through the input, nor through what a node changes in place, nor through what is given back."""

        def change_in_place(state: dict[str, Any]) -> dict[str, Any]:
            state["words"]["list"].append("more")
            return {"words": state["words"]}

        adapter = adapter_for({"one": change_in_place})
        given: dict[str, Any] = {"words": {"list": ["first"]}}

        first = run(adapter, "first", state=given)
        first.state["words"]["list"].append("spoilt")  # type: ignore[index]
        second = run(adapter, "second", state=given)

        assert given == {"words": {"list": ["first"]}}
        assert second.state["words"] == {"list": ["first", "more"]}
        assert adapter.state("first")["words"] == {"list": ["first", "more"]}

    def test_a_thread_is_used_for_one_run_only(self, adapter_for: AdapterMaker) -> None:
        """Two runs on one thread would read each other's state."""
        adapter = adapter_for({"one": add_one})
        run(adapter)

        with pytest.raises(ValueError, match="thread of its own"):
            run(adapter)

    def test_runs_leave_the_threads_of_others_alone(self, adapter_for: AdapterMaker) -> None:
        """Each thread has its own history."""
        adapter = adapter_for({"one": add_one})

        run(adapter, "first", state={"count": 10})
        run(adapter, "second", state={"count": 20})

        assert adapter.state("first")["count"] == 11
        assert adapter.state("second")["count"] == 21
        ids = [{point.id for point in adapter.history(thread)} for thread in ("first", "second")]
        assert len(ids[0]) == len(ids[1])

    def test_a_workflow_is_made_once_for_the_same_variants(self, adapter_for: AdapterMaker) -> None:
        """In whatever order they are named."""
        adapter = adapter_for({"one": add_one})

        first = adapter.prepare({"a": "1", "b": "2"})

        assert adapter.prepare({"b": "2", "a": "1"}) is first
        assert adapter.prepare({"a": "1", "b": "3"}) is not first
