"""What a run of a held execution hears, and how the execution stands after it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from batchyard.clock import SystemClock
from batchyard.executions.held import Held, HeldFolder, HeldFolders
from batchyard.executions.moves import Moves
from batchyard.executions.sources import held_source
from batchyard.model.execution import BatchRuns, ExecutionError, ExecutionStatus, InvalidTransition, Move
from batchyard.model.outcome import Outcome
from batchyard.testing.store_builders import a_result
from runner_bench import await_true

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from batchyard.model.trial import AttemptResult

STOP, PAUSE, CTRL_C = "stop", "pause", "Ctrl-C"
MADE = Held("", "b1", "one/tea/0", "one", {}, "tea", 0, created_at="", changed_at="")


class Terminals:
    """The run of an execution, to which these words come one by one, and the trail that nobody reads."""

    def __init__(self, words: Sequence[str]) -> None:
        self.words, self.was_interrupted = words, False
        self.heard: list[Move | None] = []

    def interrupted(self) -> bool:
        return self.was_interrupted

    def carry_out(
        self, folder: HeldFolder, *_order: object, asked: Callable[[], Move | None], **_rest: object
    ) -> AttemptResult:
        for word in self.words:
            if word == CTRL_C:
                self.was_interrupted = True
            else:
                folder.ask(Move(word))
            self.heard.append(asked())
        return a_result(outcome=Outcome.CANCELLED)

    def refuse_if_run(self) -> None:
        pass

    def note(self, *_entry: object) -> None:
        pass


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ((PAUSE,), ExecutionStatus.PAUSED),
        ((CTRL_C,), ExecutionStatus.PAUSED),
        ((STOP,), ExecutionStatus.CANCELLED),
        ((PAUSE, STOP), ExecutionStatus.CANCELLED),
        ((STOP, PAUSE), ExecutionStatus.CANCELLED),
        ((STOP, CTRL_C), ExecutionStatus.CANCELLED),
        ((CTRL_C, STOP), ExecutionStatus.CANCELLED),
    ],
)
def test_a_stop_outranks_a_pause_whichever_terminal_it_comes_from(
    tmp_path: Path, words: Sequence[str], status: ExecutionStatus
) -> None:
    terminals: Any = Terminals(words)
    moves = Moves(HeldFolders(tmp_path), terminals, terminals, SystemClock(), terminals.interrupted)

    ran = moves.begin(MADE)

    assert ran.held.status is status
    assert (ran.held.message == "ended because it was stopped") is (status is ExecutionStatus.CANCELLED)
    assert terminals.heard[-1] is (Move.STOP if STOP in words else Move.PAUSE)


class AskedEarly(Terminals):
    """A run that another terminal wants to end as soon as it is seen to be locked."""

    def __init__(self, folders: HeldFolders) -> None:
        super().__init__(())
        self.folders = folders

    def note(self, *entry: Any) -> None:
        held, did, *_ = entry
        if did == "begins":
            self.folders.find(held.id).ask(Move.STOP)

    def carry_out(self, *_order: object, asked: Callable[[], Move | None], **_rest: object) -> AttemptResult:
        self.heard.append(asked())
        return a_result(outcome=Outcome.CANCELLED)


def test_a_stop_that_comes_between_the_lock_and_the_run_is_heard(tmp_path: Path) -> None:
    terminals: Any = AskedEarly(HeldFolders(tmp_path))

    ran = Moves(HeldFolders(tmp_path), terminals, terminals, SystemClock()).begin(MADE)

    assert (ran.held.status, terminals.heard) == (ExecutionStatus.CANCELLED, [Move.STOP])


def test_a_stop_that_an_edit_did_not_hear_is_made_when_the_edit_is_over(tmp_path: Path) -> None:
    moves, folder = a_paused_one(tmp_path)

    with ThreadPoolExecutor(1) as terminal:
        with folder.locked(Move.EDIT):
            stopped = terminal.submit(moves.stop, held_source(folder))
            await_true(lambda: folder.asked() is Move.STOP, "the word is left")
        stopped.result(60)

    assert folder.load().status is ExecutionStatus.CANCELLED
    assert folder.asked() is None


def test_a_stop_that_waits_for_an_edit_reaches_the_run_that_begins_after_it(tmp_path: Path) -> None:
    moves, folder = a_paused_one(tmp_path)

    with ThreadPoolExecutor(1) as terminal, folder.locked(Move.RESUME):
        stopped = terminal.submit(moves.stop, held_source(folder))
        await_true(lambda: folder.asked() is Move.STOP, "the word is left")
        held = folder.load()
        folder.save(replace(held, status=ExecutionStatus.RUNNING, runs=held.runs + 1))
        folder.forget_asked()
        await_true(lambda: folder.asked() is Move.STOP, "the word is left again")
        folder.forget_asked()
        stopped.result(60)


@pytest.mark.parametrize("move", [Move.STOP, Move.PAUSE])
def test_a_run_that_ends_without_hearing_is_told_to_who_asked(tmp_path: Path, move: Move) -> None:
    moves, folder = a_paused_one(tmp_path)
    asks = moves.stop if move is Move.STOP else moves.pause

    with ThreadPoolExecutor(1) as terminal:
        with folder.locked(Move.RESUME):
            folder.save(replace(folder.load(), status=ExecutionStatus.RUNNING))
            asked = terminal.submit(asks, held_source(folder))
            await_true(lambda: folder.asked() is move, "the word is left")
            folder.save(replace(folder.load(), status=ExecutionStatus.COMPLETED))
        with pytest.raises(InvalidTransition, match="it is Completed"):
            asked.result(60)


class RunMeanwhile(Terminals):
    """An execution during whose moves its batch is taken up."""

    def __init__(self, *, after: str) -> None:
        super().__init__([PAUSE])
        self.after, self.runs = after, False

    def note(self, *entry: Any) -> None:
        if self.runs:
            raise BatchRuns("batch b1 is being run")
        self.runs = entry[1] == self.after


def test_a_run_whose_batch_is_taken_up_meanwhile_is_told_as_it_ended(tmp_path: Path) -> None:
    terminals: Any = RunMeanwhile(after="begins")

    ran = Moves(HeldFolders(tmp_path), terminals, terminals, SystemClock()).begin(MADE)

    assert (ran.held.status, ran.result is not None) == (ExecutionStatus.PAUSED, True)
    assert HeldFolders(tmp_path).find(ran.held.id).load() == ran.held


def test_a_move_that_was_made_is_no_refusal_though_its_batch_was_taken_up_meanwhile(tmp_path: Path) -> None:
    _, folder = a_paused_one(tmp_path)
    terminals: Any = RunMeanwhile(after="")
    terminals.runs = True

    stopped = Moves(HeldFolders(tmp_path), terminals, terminals, SystemClock()).stop(held_source(folder))

    assert stopped.status is folder.load().status is ExecutionStatus.CANCELLED


def a_paused_one(tmp_path: Path) -> tuple[Moves, HeldFolder]:
    terminals: Any = Terminals([PAUSE])
    moves = Moves(HeldFolders(tmp_path), terminals, terminals, SystemClock())
    return moves, HeldFolders(tmp_path).find(moves.begin(MADE).held.id)


def test_one_that_was_killed_before_its_first_boundary_begins_anew_and_one_without_its_file_does_not(
    tmp_path: Path,
) -> None:
    terminals: Any = Terminals([PAUSE])
    moves = Moves(HeldFolders(tmp_path), terminals, terminals, SystemClock())
    folder = HeldFolders(tmp_path).find(moves.begin(MADE).held.id)
    source = held_source(folder)

    again = moves.resume(source)
    folder.thread_file.unlink()

    assert (source.history, again.held.runs) == ((), 2)
    with pytest.raises(ExecutionError, match="are lost"):
        moves.resume(source)
