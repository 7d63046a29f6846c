"""What a person does with executions lasts: each move is durable, audited and run under the batch's deadlines."""

from __future__ import annotations

import json
import os
import signal
import threading
from typing import TYPE_CHECKING

import pytest

from batch_bench import batch_file
from batchyard.cli.executions import run_file
from batchyard.cli.options import Output
from batchyard.cli.run import Place
from batchyard.clock import SystemClock
from batchyard.executions.running import Pausing
from batchyard.local_sessions import this_process
from batchyard.model.audit import verify_chain
from batchyard.model.execution import BatchRuns, CheckpointNotFound, ExecutionError, ExecutionStatus, InvalidTransition
from batchyard.model.trial import Combination
from command_line import Bench
from held_bench import Desk, a_desk
from runner_bench import CLOCK, lines_of

if TYPE_CHECKING:
    from pathlib import Path

    from batch_bench import BatchBench
    from batchyard.model.trial import JSON


PATIENCE = 120.0


def test_an_attempt_that_asked_goes_on_with_an_answer_and_nothing_runs_twice(bench: BatchBench, tmp_path: Path) -> None:
    desk = a_desk(bench, tmp_path, asks="well?")
    before = len(lines_of(desk.log))

    ran = desk.moves.resume(desk.kept(), answer=["fine"])

    assert (ran.held.status, ran.held.outcome) == (ExecutionStatus.COMPLETED, "Passed")
    assert ran.result is not None
    assert ran.result.output["seen"] == ["one", "fine", "three"]
    assert desk.ran_since(before) == ["two", "three"]
    assert desk.kept().held.status is ExecutionStatus.PAUSED


@pytest.mark.proves("batch-forks")
def test_an_execution_is_taken_back_edited_and_gone_on_with(bench: BatchBench, tmp_path: Path) -> None:
    desk = a_desk(bench, tmp_path)

    back = desk.moves.roll_back(desk.kept(), "one")
    edited = desk.moves.edit(desk.now(back), {"seen": ["edited"]}).held
    paused = desk.moves.resume(desk.now(edited), Pausing(after=("two",))).held
    ended = desk.moves.resume(desk.now(paused))

    assert (back.status, desk.now(back).history[-1].next) == (ExecutionStatus.PAUSED, ())
    assert paused.status is ExecutionStatus.PAUSED
    assert ended.result is not None
    assert ended.result.output["seen"] == ["edited", "two", "three"]
    assert {back.id} == {edited.id, paused.id, ended.held.id}


def test_a_state_is_looked_at_without_changing_anything(bench: BatchBench, tmp_path: Path) -> None:
    desk = a_desk(bench, tmp_path)

    seen = [desk.moves.state(desk.kept(), to)["seen"] for to in ("one", "two", "")]

    assert seen == [["one"], ["one", "two"], ["one", "two", "three"]]
    assert list(desk.folders.of_batch(desk.ran.record.id)) == []


def test_who_takes_back_to_what_another_took_back_already_is_told(bench: BatchBench, tmp_path: Path) -> None:
    desk = a_desk(bench, tmp_path)
    held = desk.moves.roll_back(desk.kept(), "two")
    seen = desk.now(held)
    desk.moves.roll_back(seen, "one")
    before = desk.now(held)

    with pytest.raises(CheckpointNotFound, match="has no checkpoint"):
        desk.moves.roll_back(seen, "two")
    with pytest.raises(CheckpointNotFound, match="has no checkpoint"):
        desk.moves.fork(seen, "two", Combination("three", {"last": "three"}), {})

    assert desk.now(held) == before


def test_a_fork_goes_its_own_way_as_another_combination(bench: BatchBench, tmp_path: Path) -> None:
    desk = a_desk(bench, tmp_path, last="both")
    before = len(lines_of(desk.log))

    forked = desk.moves.fork(desk.kept(), "one", Combination("other", {"last": "other"}), {"seen": ["mine"]}).held
    ended = desk.moves.resume(desk.now(forked))

    assert (forked.status, forked.trial) == (ExecutionStatus.PAUSED, "other/one/0")
    assert desk.ran_since(before) == ["two", "other"]
    assert ended.result is not None
    assert ended.result.output["seen"] == ["mine", "two", "other"]


def test_a_fork_to_a_workflow_without_the_next_node_is_refused_and_leaves_nothing(
    bench: BatchBench, tmp_path: Path
) -> None:
    desk = a_desk(bench, tmp_path, last="both")

    with pytest.raises(ExecutionError, match="no such node"):
        desk.moves.fork(desk.kept(), "two", Combination("other", {"last": "other"}), {})

    assert list(desk.folders.of_batch(desk.ran.record.id)) == []


def test_a_move_that_is_not_allowed_is_refused_and_makes_nothing(bench: BatchBench, tmp_path: Path) -> None:
    desk = a_desk(bench, tmp_path)

    with pytest.raises(InvalidTransition, match="it is Completed"):
        desk.moves.resume(desk.kept())

    assert [folder.history() for folder in desk.folders.of_batch(desk.ran.record.id)] == []


def test_every_move_is_in_the_batchs_trail(bench: BatchBench, tmp_path: Path) -> None:
    desk = a_desk(bench, tmp_path, asks="well?")

    held = desk.moves.resume(desk.kept(), answer=["fine"]).held
    desk.moves.roll_back(desk.now(held), "one")
    desk.moves.stop(desk.now(held))

    entries = list(bench.store.audit_entries(desk.ran.record.id))
    assert verify_chain(entries, bench.store.batch(desk.ran.record.id).audit_head) == ""
    moved = [
        sealed.entry.message.split(": ", 1)[1].split(" ")[0]
        for sealed in entries
        if sealed.entry.type == "ExecutionMoved"
    ]
    assert moved == ["taken", "resumed", "Completed", "rolled", "stopped"]


def test_executions_of_a_batch_that_runs_are_not_moved(bench: BatchBench, tmp_path: Path) -> None:
    desk = a_desk(bench, tmp_path, asks="well?")
    session = bench.store.open_session(desk.ran.record.id, this_process(), SystemClock().now())

    with pytest.raises(BatchRuns, match="being run by process"):
        desk.moves.resume(desk.kept(), answer=["fine"])

    bench.store.close_session(session, "test", SystemClock().now())


def test_a_node_over_the_deadline_is_ended_and_can_be_tried_again(bench: BatchBench, tmp_path: Path) -> None:
    until = tmp_path / "until"
    case = {"name": "one", "input": {"log": str(tmp_path / "log"), "until": str(until)}}
    deadlines: dict[str, JSON] = {"trialSeconds": 3.0, "graceSeconds": 0}
    variants: dict[str, JSON] = {"matrix": {"last": ["three"]}}
    loaded = bench.load("steps:build", cases=[case], variants=variants, deadlines=deadlines)
    desk = Desk(bench, loaded, bench.run(loaded), tmp_path / "log")

    late = desk.moves.resume(desk.kept()).held
    until.touch()
    ended = desk.moves.resume(desk.now(late)).held

    assert (late.status, late.outcome) == (ExecutionStatus.PAUSED, "TimedOut")
    assert ended.status is ExecutionStatus.COMPLETED
    assert lines_of(desk.log) == ["one", "two", "two", "two", "three"]


# -- from the command line ---------------------------------------------------------------------------------------------


def a_file(bench: Bench, **state: JSON) -> str:
    case = {"name": "one", "input": {"log": str(bench.folder / "log"), **state}}
    return str(batch_file(bench.folder, "steps:build", cases=[case], variants={"matrix": {"last": ["three", "other"]}}))


def await_second_node(log: Path) -> None:
    """Wait until it runs; a command has to start for that, on a machine that may be busy."""
    give_up, pause = CLOCK.monotonic() + PATIENCE, threading.Event()
    while lines_of(log) != ["one", "two"]:
        assert CLOCK.monotonic() < give_up, f"the second node never ran: {lines_of(log)}"
        pause.wait(0.02)


@pytest.mark.kill
@pytest.mark.timeout(300)
@pytest.mark.proves("execution-controller")
def test_an_execution_whose_process_is_killed_in_a_node_goes_on_from_its_last_boundary(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    file, log, until = a_file(bench, until=str(tmp_path / "until")), tmp_path / "log", tmp_path / "until"
    running = bench.start("execution", "run", file, "--combination", "three")
    await_second_node(log)
    os.kill(running.pid, signal.SIGKILL)
    running.communicate()
    (held,) = bench.json("execution", "list", "bench")["executions"]

    until.touch()
    ended = bench.json("execution", "resume", held["execution"])

    assert (held["status"], held["next"]) == ("Paused", ["two"])
    assert "ended without a word" in held["message"]
    assert (ended["status"], ended["state"]["seen"]) == ("Completed", ["one", "two", "three"])
    assert lines_of(log) == ["one", "two", "two", "three"]


@pytest.mark.timeout(300)
def test_a_run_is_paused_from_another_terminal_and_forked(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    file, log, until = a_file(bench, until=str(tmp_path / "until")), tmp_path / "log", tmp_path / "until"
    running = bench.start("execution", "run", file, "--combination", "three", "--output", "json")
    await_second_node(log)
    (held,) = bench.json("execution", "list", "bench")["executions"]

    refused = bench.run("execution", "resume", held["execution"])
    asked = bench.json("execution", "pause", held["execution"])
    until.touch()
    told = json.loads(running.communicate()[0])
    forked = bench.json("execution", "fork", "bench", held["trial"], "--from", "one", "--variant", "last=other")

    assert (held["status"], asked["status"], refused.returncode) == ("Running", "Running", 2)
    assert "it is Running; wait until its run has ended, or pause it" in refused.stderr
    assert (told["status"], told["next"], running.returncode) == ("Paused", ["three"], 0)
    assert (forked["combination"], forked["status"], forked["next"]) == ("other", "Paused", ["two"])


def test_a_batch_that_is_there_for_an_execution_alone_says_so_and_misses_no_result(tmp_path: Path) -> None:
    bench = Bench(tmp_path)

    ran = bench.run("execution", "run", a_file(bench), "--combination", "three")

    (listed,) = bench.json("list")["batches"]
    assert ran.returncode == 0
    assert (listed["phase"], listed["reason"]) == ("Cancelled", "Execution")
    assert "nothing wrong was found" in bench.run("db", "check").stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("show", "x-nothing"), "there is no execution x-nothing"),
        (("run", "FILE", "--case", "none", "--combination", "three"), 'there is no "none"; there are one'),
        (("edit", "x-1", "--set", "key=text"), "a string is written as"),
        (("edit", "x-1"), "say what to set"),
        (("edit", "x-1", "--set", "price=NaN"), "JSON has no NaN"),
        (("resume", "x-1", "--answer", "[1e999]"), "JSON has no 1e999"),
    ],
)
def test_what_is_wrong_is_told_with_what_to_do(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    bench = Bench(tmp_path)
    file = a_file(bench)

    done = bench.run("execution", *(file if word == "FILE" else word for word in arguments))

    assert done.returncode == 2
    assert said in done.stderr


def test_of_very_many_cases_the_first_are_named_with_how_many_more_there_are(tmp_path: Path) -> None:
    many = [{"name": f"case-{n:02}", "input": {}} for n in range(30)]
    file = batch_file(tmp_path, "steps:build", cases=many, variants={"matrix": {"last": ["three"]}})

    with pytest.raises(ExecutionError, match=r'there is no "none"; there are case-00, .*, case-19, and 10 more$'):
        run_file(file, str(tmp_path / "store.db"), "three", "none", Output.JSON, Pausing(), Place())


def test_an_execution_runs_on_the_ray_that_is_named(tmp_path: Path) -> None:
    bench = Bench(tmp_path, env={"RAY_ADDRESS": "127.0.0.1:9"})

    done = bench.run("execution", "run", a_file(bench), "--combination", "three", "--runner", "ray")

    assert done.returncode == 4
    assert "no connection to the Ray cluster at 127.0.0.1:9" in done.stderr
    assert lines_of(tmp_path / "log") == []
