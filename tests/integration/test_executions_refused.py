"""What is refused changes nothing: no execution, no question and no batch comes or goes by it."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING

import pytest

from batch_bench import WORKFLOWS, batch_file
from batchyard.cli.executions import Address, list_executions, run_file, show_execution
from batchyard.cli.failures import exit_code_of
from batchyard.cli.options import Output
from batchyard.cli.run import Place
from batchyard.decide.finish import EXIT_USAGE
from batchyard.executions.running import Pausing
from batchyard.model.errors import SpecInvalid, StoreError
from batchyard.model.execution import ExecutionError, ExecutionStatus
from batchyard.store.opening import open_store
from command_line import Bench
from held_bench import Desk, a_desk
from runner_bench import await_true, lines_of

if TYPE_CHECKING:
    from pathlib import Path

    from batch_bench import BatchBench


def moves_of(desk: Desk) -> list[str]:
    entries = [sealed.entry for sealed in desk.bench.store.audit_entries(desk.ran.record.id)]
    return [entry.message.split(": ", 1)[1] for entry in entries if entry.type == "ExecutionMoved"]


def test_a_workflow_that_lost_the_next_node_runs_nothing_until_an_edit_decides_anew(
    bench: BatchBench, tmp_path: Path
) -> None:
    code, log = tmp_path / "code" / "steps.py", tmp_path / "log"
    code.parent.mkdir()
    code.write_text((WORKFLOWS / "steps.py").read_text())
    loaded = bench.load(
        "steps:build",
        workflow={"factory": "steps:build", "source": {"path": str(code.parent)}},
        cases=[{"name": "one", "input": {"log": str(log)}}],
        variants={"matrix": {"last": ["three"]}},
    )
    desk = Desk(bench, loaded, bench.run(loaded), log)
    held = desk.moves.roll_back(desk.kept(), "two")
    code.write_text(code.read_text().replace('"three"', '"third"'))
    before, ran = desk.now(held), len(lines_of(log))

    with pytest.raises(ExecutionError, match="three would run next, and the workflow has no such node"):
        desk.moves.resume(before)
    looked_at, unchanged = desk.moves.state(before), desk.now(held)
    edited = desk.moves.edit(before, {"seen": ["edited"]}).held
    ended = desk.moves.resume(desk.now(edited))

    assert (looked_at["seen"], unchanged) == (["one", "two"], before)
    assert ended.held.status is ExecutionStatus.COMPLETED
    assert desk.ran_since(ran) == ["third"]


@pytest.mark.parametrize(
    ("pausing", "answer", "why"),
    [(Pausing(after=("nope",)), [], "names no node: nope"), (Pausing(), ["a", "b"], "is answered twice")],
)
def test_a_refused_resume_leaves_the_execution_and_its_question(
    bench: BatchBench, tmp_path: Path, pausing: Pausing, answer: list[str], why: str
) -> None:
    desk = a_desk(bench, tmp_path, asks="well?")
    asking = desk.moves.resume(desk.kept(), Pausing()).held
    before = desk.now(asking)

    with pytest.raises(ExecutionError, match=why) as refused:
        desk.moves.resume(before, pausing, answer)

    assert str(refused.value).count(asking.id) == 1
    assert (desk.now(asking), asking.question) == (before, "well?")
    assert [word.split(":")[0] for word in moves_of(desk)[-2:]] == ["resumed", "nothing was run"]


def test_a_refused_first_move_makes_no_execution_of_the_attempt(bench: BatchBench, tmp_path: Path) -> None:
    desk = a_desk(bench, tmp_path, asks="well?")

    with pytest.raises(ExecutionError):
        desk.moves.resume(desk.kept(), Pausing(after=("nope",)))
    with pytest.raises(ExecutionError):
        desk.moves.edit(desk.kept(), {"seen": []}, "nope")

    assert list(desk.folders.of_batch(desk.ran.record.id)) == []
    assert moves_of(desk)[-1] == "let go again: the move was refused"


def test_a_run_to_a_node_that_there_is_not_leaves_no_batch(tmp_path: Path) -> None:
    case = {"name": "one", "input": {"log": str(tmp_path / "log")}}
    file = batch_file(tmp_path, "steps:build", cases=[case], variants={"matrix": {"last": ["three"]}})
    target = str(tmp_path / "store.db")

    with pytest.raises(ExecutionError, match=r"^a breakpoint names no node: nope; the nodes are one, two, three$"):
        run_file(file, target, "three", "one", Output.JSON, Pausing(after=("nope",)), Place())

    with open_store(target) as store:
        assert list(store.batches()) == []


def test_a_file_that_begins_from_another_batch_is_not_run_from_its_input(tmp_path: Path) -> None:
    log = tmp_path / "log"
    case = {"name": "one", "input": {"log": str(log)}}
    fork = {"batchTest": "searched", "node": "one"}
    file = batch_file(tmp_path, "steps:build", cases=[case], variants={"matrix": {"last": ["three"]}}, forkFrom=fork)
    target = str(tmp_path / "store.db")

    with pytest.raises(SpecInvalid, match=r"spec\.forkFrom: searched: .*batchyard execution fork") as refused:
        run_file(file, target, "three", "one", Output.JSON, Pausing(), Place())

    assert exit_code_of(refused.value) == EXIT_USAGE
    assert not log.exists()
    with open_store(target) as store:
        assert list(store.batches()) == []


def test_an_execution_that_lost_its_states_is_not_begun_anew(bench: BatchBench, tmp_path: Path) -> None:
    desk = a_desk(bench, tmp_path, asks="well?")
    held = desk.moves.roll_back(desk.kept(), "one")
    seen, ran = desk.now(held), len(lines_of(desk.log))
    desk.folders.find(held.id).thread_file.unlink()

    for move in (lambda: desk.moves.resume(seen), lambda: desk.now(held)):
        with pytest.raises(ExecutionError, match=r"are lost: .* is not there; put it back"):
            move()

    assert desk.ran_since(ran) == []


def test_a_damaged_execution_hides_none_of_the_others(
    bench: BatchBench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    desk = a_desk(bench, tmp_path, asks="well?")
    whole, undescribed, stateless = (desk.moves.roll_back(desk.kept(), "one") for _ in range(3))
    (desk.folders.find(undescribed.id).path / "execution.json").write_text("{")
    desk.folders.find(stateless.id).thread_file.write_bytes(b"no database" * 100)

    list_executions(desk.ran.record.id, bench.target, Output.JSON, limit=0)
    listed = json.loads(capsys.readouterr().out)
    list_executions(desk.ran.record.id, bench.target, Output.TEXT, limit=0)

    assert [one["execution"] for one in listed["executions"]] == [whole.id, None]
    assert {one["name"] for one in listed["unreadable"]} == {undescribed.id, stateless.id}
    assert f"{undescribed.id} cannot be read" in capsys.readouterr().out
    with pytest.raises(StoreError, match="put it back from a copy"):
        desk.now(undescribed)


def test_a_trial_names_what_was_made_of_it_and_its_attempt_keeps_its_own_name(
    bench: BatchBench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    desk = a_desk(bench, tmp_path, asks="well?")
    back = desk.moves.roll_back(desk.kept(), "one")

    shown = {}
    for name in ("three/one/0", "three/one/0#1"):
        show_execution(Address(desk.ran.record.id, name, bench.target), Output.JSON, history=False)
        shown[name] = json.loads(capsys.readouterr().out)

    assert (shown["three/one/0"]["execution"], shown["three/one/0"]["question"]) == (back.id, "")
    assert (shown["three/one/0#1"]["execution"], shown["three/one/0#1"]["question"]) == (None, "well?")


def test_an_ordinary_pause_does_not_say_that_it_needs_input(
    bench: BatchBench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    desk = a_desk(bench, tmp_path)
    paused = desk.moves.resume(desk.now(desk.moves.roll_back(desk.kept(), "one")), Pausing(after=("two",))).held

    show_execution(Address(paused.id, "", bench.target), Output.TEXT, history=False)

    assert capsys.readouterr().out.splitlines()[0] == f"{paused.id}: Paused"


@pytest.mark.timeout(300)
def test_a_second_interrupt_says_how_the_execution_stands_and_how_to_go_on(tmp_path: Path) -> None:
    bench, log = Bench(tmp_path), tmp_path / "log"
    case = {"name": "one", "input": {"log": str(log), "until": str(tmp_path / "never")}}
    file = batch_file(tmp_path, "steps:build", cases=[case], variants={"matrix": {"last": ["three"]}})
    running = bench.start("execution", "run", str(file))
    await_true(lambda: lines_of(log) == ["one", "two"], "the second node", 120)

    # Two kinds of signal, as two of one kind may arrive as one.
    running.send_signal(signal.SIGINT)
    running.send_signal(signal.SIGTERM)
    _, said = running.communicate(timeout=60)

    assert running.returncode == 130
    assert "is paused at its last boundary" in said
    resumable = said.split("`")[1].split()
    assert bench.run(*resumable[1:2], "show", *resumable[3:]).returncode == 0
