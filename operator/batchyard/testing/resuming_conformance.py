"""What every ``StateAdapter`` must do between runs: pause, go on, go back, fork and edit.

Inherit the class beside ``StateAdapterConformance``, whose ``adapter_for`` fixture it uses. Every test counts what ran.
"""

# ruff: noqa: S101 - what a suite holds an adapter to are assertions

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from batchyard.model.errors import StoreError
from batchyard.model.execution import NO_BREAKPOINTS, Breakpoints, CheckpointNotFound, ExecutionNotFound
from batchyard.model.questions import NO_ANSWERS
from batchyard.testing.state_adapter_conformance import AdapterMaker, ListeningProbe, add_one, ask, ask_other, fail

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchyard.engine.ports import RunOutput, StateAdapter
    from batchyard.model.trial import JSON

_THREE = {"one": add_one, "two": add_one, "three": add_one}


def _begin(
    adapter: StateAdapter, breakpoints: Breakpoints = NO_BREAKPOINTS, *, probe: ListeningProbe | None = None
) -> RunOutput:
    return adapter.run(
        adapter.prepare({}), "t", {"count": 0},
        probe=probe or ListeningProbe(), recursion_limit=20, durability="sync", breakpoints=breakpoints,
    )  # fmt: skip


def _resume(
    adapter: StateAdapter,
    thread: str = "t",
    breakpoints: Breakpoints = NO_BREAKPOINTS,
    *,
    probe: ListeningProbe | None = None,
    answers: Mapping[str, JSON] = NO_ANSWERS,
) -> RunOutput:
    return adapter.resume(
        adapter.prepare({}), thread, answers=answers,
        probe=probe or ListeningProbe(), recursion_limit=20, durability="sync", breakpoints=breakpoints,
    )  # fmt: skip


def _before(*nodes: str) -> Breakpoints:
    return Breakpoints(before=frozenset(nodes))


def _after(adapter: StateAdapter, node: str, thread: str = "t") -> str:
    return next(point.id for point in adapter.history(thread) if node in point.nodes)


class ResumingConformance:
    """Inherit with an ``adapter_for`` fixture."""

    def test_a_run_pauses_before_a_breakpoint_and_goes_on_from_there(self, adapter_for: AdapterMaker) -> None:
        """No node runs twice, and none is left out."""
        adapter, first, second = adapter_for(_THREE), ListeningProbe(), ListeningProbe()

        paused = _begin(adapter, _before("two"), probe=first)
        ended = _resume(adapter, probe=second)

        assert (paused.status, paused.upcoming, paused.state["count"]) == ("paused", ("two",), 1)
        assert (ended.status, ended.state["count"]) == ("completed", 3)
        assert first.heard + second.heard == ["+one", "-one", "+two", "-two", "+three", "-three"]
        assert ended.boundaries[0].entry_checkpoint == paused.last_checkpoint

    def test_a_run_pauses_after_a_breakpoint(self, adapter_for: AdapterMaker) -> None:
        """The named node has run."""
        adapter = adapter_for(_THREE)

        paused = _begin(adapter, Breakpoints(after=frozenset({"two"})))

        assert (paused.status, paused.upcoming, paused.state["count"]) == ("paused", ("three",), 2)
        assert adapter.history("t")[-1].next == ("three",)

    def test_a_breakpoint_at_every_node_steps_through_them(self, adapter_for: AdapterMaker) -> None:
        """One node a time; the breakpoint that was reached does not hold again."""
        adapter = adapter_for(_THREE)
        output, counts = _begin(adapter, _before("*")), []

        while output.status == "paused":
            counts.append(output.state["count"])
            output = _resume(adapter, "t", _before("*"))

        assert (output.status, counts, output.state["count"]) == ("completed", [0, 1, 2], 3)

    def test_a_breakpoint_that_is_never_reached_changes_nothing(self, adapter_for: AdapterMaker) -> None:
        """As after the last node."""
        output = _begin(adapter_for(_THREE), Breakpoints(after=frozenset({"three"})))

        assert (output.status, output.state["count"]) == ("completed", 3)

    def test_a_stopped_run_goes_on_where_it_stopped(self, adapter_for: AdapterMaker) -> None:
        """As when somebody asked for a pause."""
        adapter = adapter_for(_THREE)
        stopped = _begin(adapter, probe=ListeningProbe(stop_in="one"))

        output = _resume(adapter)

        assert (stopped.status, stopped.upcoming) == ("stopped", ("two",))
        assert (output.status, output.state["count"]) == ("completed", 3)

    def test_a_failed_run_tries_the_failed_node_again(self, adapter_for: AdapterMaker) -> None:
        """And nothing that came before it."""
        trouble = [True]

        def shaky(state: dict[str, Any]) -> dict[str, Any]:
            return fail(state) if trouble else add_one(state)

        adapter, probe = adapter_for({"one": add_one, "two": shaky}), ListeningProbe()
        failed = _begin(adapter)
        trouble.clear()

        output = _resume(adapter, probe=probe)

        assert (failed.status, failed.upcoming) == ("failed", ("two",))
        assert (output.status, output.state["count"], probe.heard) == ("completed", 2, ["+two", "-two"])

    def test_an_answer_lets_a_run_go_on_that_asked_for_one(self, adapter_for: AdapterMaker) -> None:
        """The node gets it where it asked."""
        adapter = adapter_for({"one": add_one, "two": ask, "three": add_one})
        asked = _begin(adapter)

        output = _resume(adapter, answers={asked.questions[0].id: {"words": {"answer": ["this"]}}})

        assert (asked.status, asked.message) == ("interrupted", "Which one?")
        assert [(question.node, question.text) for question in asked.questions] == [("two", "Which one?")]
        assert (output.status, output.state["count"]) == ("completed", 2)
        assert output.state["words"] == {"answer": ["this"]}

    def test_without_an_answer_the_same_is_asked_again(self, adapter_for: AdapterMaker) -> None:
        """Going on does not pretend that there was one."""
        adapter = adapter_for({"one": add_one, "two": ask})
        _begin(adapter)

        assert _resume(adapter).status == "interrupted"

    def test_of_questions_asked_at_once_each_gets_its_own_answer(self, adapter_for: AdapterMaker) -> None:
        """And what ran beside them does not run again."""
        adapter, probe = adapter_for({"one": ask, "two": add_one, "three": ask_other}, at_once=True), ListeningProbe()
        asked = _begin(adapter)
        ids = {question.node: question.id for question in asked.questions}

        output = _resume(
            adapter, answers={ids["three"]: {"held": "third"}, ids["one"]: {"words": {"first": []}}}, probe=probe
        )

        assert asked.message == "Which one?; And where?"
        assert list(ids) == ["one", "three"]
        assert (output.status, output.questions) == ("completed", ())
        assert output.state == {"count": 1, "words": {"first": []}, "held": "third"}
        assert sorted(probe.heard) == ["+one", "+three", "-one", "-three"]
        assert sorted(adapter.history("t")[-1].nodes) == ["one", "three", "two"]

    def test_a_question_without_an_answer_is_asked_again(self, adapter_for: AdapterMaker) -> None:
        """What was answered stays answered."""
        adapter = adapter_for({"one": ask, "two": ask_other}, at_once=True)
        first, second = _begin(adapter).questions

        asked = _resume(adapter, answers={first.id: {"count": 7}})
        output = _resume(adapter, answers={second.id: {"held": "here"}})

        assert (asked.status, asked.questions) == ("interrupted", (second,))
        assert (output.status, output.state) == ("completed", {"count": 7, "held": "here"})

    @pytest.mark.parametrize("value", [None, {}])
    def test_an_answer_that_says_nothing_is_one(self, adapter_for: AdapterMaker, value: JSON) -> None:
        """And not taken for none at all."""
        adapter = adapter_for({"one": ask, "two": add_one})
        asked = _begin(adapter)

        output = _resume(adapter, answers={asked.questions[0].id: value})

        assert (output.status, output.state) == ("completed", {"count": 1})

    def test_an_answer_may_come_before_its_question(self, adapter_for: AdapterMaker) -> None:
        """As for a run that is held before the node that will ask."""
        adapter = adapter_for({"one": add_one, "two": ask})
        _begin(adapter, _before("two"))

        output = _resume(adapter, answers={"": {"count": 9}})

        assert (output.status, output.state) == ("completed", {"count": 9})

    def test_what_a_thread_waits_for_can_be_asked_until_it_is_taken_back(self, adapter_for: AdapterMaker) -> None:
        """A thread that never was waits for nothing."""
        adapter = adapter_for({"one": add_one, "two": ask})
        asked, workflow = _begin(adapter), adapter.prepare({})
        waiting = adapter.questions(workflow, "t")

        adapter.roll_back("t", _after(adapter, "one"))

        assert waiting == asked.questions != ()
        assert adapter.questions(workflow, "t") == adapter.questions(workflow, "never") == ()

    def test_what_was_completed_stays_completed(self, adapter_for: AdapterMaker) -> None:
        """Nothing runs again."""
        adapter, probe = adapter_for(_THREE), ListeningProbe()
        _begin(adapter)

        output = _resume(adapter, probe=probe)

        assert (output.status, output.state["count"], probe.heard) == ("completed", 3, [])

    def test_going_back_drops_what_came_after(self, adapter_for: AdapterMaker) -> None:
        """And the nodes after it run again from the state that was there."""
        adapter, probe = adapter_for(_THREE), ListeningProbe()
        _begin(adapter)
        target = _after(adapter, "one")

        adapter.roll_back("t", target)

        assert adapter.history("t")[-1].id == target
        assert adapter.history("t")[-1].next == ("two",)
        assert adapter.upcoming(adapter.prepare({}), "t") == ("two",)
        assert adapter.state("t")["count"] == 1
        assert _resume(adapter, probe=probe).state["count"] == 3
        assert probe.heard == ["+two", "-two", "+three", "-three"]

    def test_going_back_to_the_beginning_runs_everything_again(self, adapter_for: AdapterMaker) -> None:
        """With the same input."""
        adapter = adapter_for(_THREE)
        output = _begin(adapter)
        beginning = output.boundaries[0].entry_checkpoint
        assert beginning is not None

        adapter.roll_back("t", beginning)

        assert adapter.state("t")["count"] == 0
        assert _resume(adapter).state["count"] == 3

    def test_a_fork_goes_its_own_way(self, adapter_for: AdapterMaker) -> None:
        """Its source keeps its state and its history."""
        adapter = adapter_for(_THREE)
        _begin(adapter)
        before = list(adapter.history("t"))

        adapter.fork("t", _after(adapter, "one"), "fork")
        adapter.edit(adapter.prepare({}), "fork", {"count": 10})
        output = _resume(adapter, "fork")

        assert output.state["count"] == 12
        assert list(adapter.history("t")) == before
        assert adapter.state("t")["count"] == 3
        assert [point.nodes for point in adapter.history("fork") if point.nodes] == [("one",), ("two",), ("three",)]

    def test_an_edit_sets_what_it_names_and_keeps_the_rest(self, adapter_for: AdapterMaker) -> None:
        """The next node sees it."""
        adapter = adapter_for(_THREE)
        _begin(adapter, _before("two"))

        adapter.edit(adapter.prepare({}), "t", {"words": {"said": ["new"]}})

        assert adapter.state("t") == {"count": 1, "words": {"said": ["new"]}}
        assert adapter.upcoming(adapter.prepare({}), "t") == ("two",)
        assert _resume(adapter).state == {"count": 3, "words": {"said": ["new"]}}

    def test_an_edit_before_the_first_node_changes_the_input(self, adapter_for: AdapterMaker) -> None:
        """No node need have run."""
        adapter = adapter_for(_THREE)
        _begin(adapter, _before("one"))

        adapter.edit(adapter.prepare({}), "t", {"count": 100})

        assert _resume(adapter).state["count"] == 103

    def test_one_can_go_back_behind_an_edit(self, adapter_for: AdapterMaker) -> None:
        """As if it had never been made."""
        adapter = adapter_for(_THREE)
        paused = _begin(adapter, _before("two"))
        assert paused.last_checkpoint is not None
        adapter.edit(adapter.prepare({}), "t", {"count": 100})

        adapter.roll_back("t", paused.last_checkpoint)

        assert _resume(adapter).state["count"] == 3

    def test_an_edit_as_a_node_that_is_not_there_is_refused(self, adapter_for: AdapterMaker) -> None:
        """And nothing changes."""
        adapter = adapter_for(_THREE)
        _begin(adapter, _before("two"))
        before = list(adapter.history("t"))

        with pytest.raises(ValueError, match="elsewhere"):
            adapter.edit(adapter.prepare({}), "t", {"count": 100}, "elsewhere")

        assert list(adapter.history("t")) == before

    def test_what_is_not_there_is_a_key_error(self, adapter_for: AdapterMaker) -> None:
        """Whatever is asked of it; and nothing is made by asking."""
        adapter = adapter_for(_THREE)
        _begin(adapter)
        workflow = adapter.prepare({})

        for move in (
            lambda: adapter.roll_back("t", "nowhere"),
            lambda: adapter.roll_back("never", "nowhere"),
            lambda: adapter.fork("t", "nowhere", "fork"),
            lambda: adapter.edit(workflow, "never", {"count": 1}),
            lambda: _resume(adapter, "never"),
        ):
            with pytest.raises(KeyError):
                move()
        assert list(adapter.history("never")) == list(adapter.history("fork")) == []

    def test_a_fork_never_writes_over_another_thread(self, adapter_for: AdapterMaker) -> None:
        """Not even over its source."""
        adapter = adapter_for(_THREE)
        _begin(adapter)

        with pytest.raises(ValueError, match="already has checkpoints"):
            adapter.fork("t", _after(adapter, "one"), "t")

        assert adapter.state("t")["count"] == 3

    def test_a_thread_goes_on_in_another_adapter(self, adapter_for: AdapterMaker) -> None:
        """Nothing that ran runs again, and the source stays as it is."""
        source, target, probe = adapter_for(_THREE), adapter_for(_THREE), ListeningProbe()
        _begin(source)

        target.take_in("moved", source.take_out("t", _after(source, "one")))
        output = _resume(target, "moved", probe=probe)

        assert (output.status, output.state["count"]) == ("completed", 3)
        assert probe.heard == ["+two", "-two", "+three", "-three"]
        assert source.state("t")["count"] == 3

    def test_what_cannot_be_taken_in_or_out_is_refused(self, adapter_for: AdapterMaker) -> None:
        """And nothing is made by trying."""
        adapter = adapter_for(_THREE)
        _begin(adapter)

        with pytest.raises(ExecutionNotFound):
            adapter.take_out("never")
        with pytest.raises(CheckpointNotFound):
            adapter.take_out("t", "nowhere")
        with pytest.raises(ValueError, match="already has checkpoints"):
            adapter.take_in("t", adapter.take_out("t"))
        with pytest.raises(StoreError):
            adapter.take_in("new", b"nonsense")

        assert list(adapter.history("new")) == []
