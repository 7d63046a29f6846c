"""What a run of a held execution hears, and how the execution stands after it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from batchyard.clock import SystemClock
from batchyard.executions.held import Held, HeldFolder, HeldFolders
from batchyard.executions.moves import Moves
from batchyard.executions.sources import held_source
from batchyard.model.execution import ExecutionError, ExecutionStatus, Move
from batchyard.model.outcome import Outcome
from batchyard.testing.store_builders import a_result

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from batchyard.model.trial import AttemptResult

STOP, PAUSE, CTRL_C = "stop", "pause", "Ctrl-C"


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
    made = Held("", "b1", "one/tea/0", "one", {}, "tea", 0, created_at="", changed_at="")

    ran = moves.begin(made)

    assert ran.held.status is status
    assert (ran.held.message == "ended because it was stopped") is (status is ExecutionStatus.CANCELLED)
    assert terminals.heard[-1] is (Move.STOP if STOP in words else Move.PAUSE)


def test_one_that_was_killed_before_its_first_boundary_begins_anew_and_one_without_its_file_does_not(
    tmp_path: Path,
) -> None:
    terminals: Any = Terminals([PAUSE])
    moves = Moves(HeldFolders(tmp_path), terminals, terminals, SystemClock())
    made = Held("", "b1", "one/tea/0", "one", {}, "tea", 0, created_at="", changed_at="")
    folder = HeldFolders(tmp_path).find(moves.begin(made).held.id)
    source = held_source(folder)

    again = moves.resume(source)
    folder.thread_file.unlink()

    assert (source.history, again.held.runs) == ((), 2)
    with pytest.raises(ExecutionError, match="are lost"):
        moves.resume(source)
