"""What came of a batch, as tests see it. Plain data that any worker of xdist can read from a file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from batchyard.model.trial import JSON, AttemptResult

_SHOWN = 5

NOT_RUN = "NotRun"
"""The phase of a batch that never was one: it could not be begun."""


@dataclass(frozen=True, slots=True)
class Trial:
    """How one trial ended. ``node`` is the one that failed or was running, "" if none was."""

    id: str
    outcome: str
    reason: str
    message: str
    node: str
    score: float | None
    seconds: float

    @property
    def passed(self) -> bool:
        """Return whether it passed."""
        return self.outcome == "Passed"

    def __str__(self) -> str:
        """Say how it ended, where and why."""
        why = f" ({self.reason})" if self.reason else ""
        where = f" in node {self.node!r}" if self.node else ""
        score = "" if self.score is None else f", score {self.score:.4g}"
        said = f": {self.message}" if self.message else ""
        return f"{self.id}: {self.outcome}{why}{where}{score} after {self.seconds:.3g} s{said}"


@dataclass(frozen=True, slots=True)
class Cell:
    """What one combination made of one case, in every repeat."""

    combination: str
    case: str
    trials: tuple[Trial, ...]

    @property
    def passed(self) -> bool:
        """Return whether every repeat passed; one that never ran did not."""
        return bool(self.trials) and all(trial.passed for trial in self.trials)

    def __str__(self) -> str:
        """Say how the repeats that did not pass ended."""
        failed = [trial for trial in self.trials if not trial.passed]
        if not self.trials:
            return f"{self.combination}/{self.case}: was not run"
        return "\n".join(map(str, failed)) or f"{self.combination}/{self.case}: passed"


@dataclass(frozen=True, slots=True)
class BatchResult:
    """The batch's verdict and its cells.

    ``checks`` are those of the gate, ``exit_code`` that of `batchyard run`. ``lost`` are trials that did not pass where
    the gate's baseline did, each with the node that it is known to differ after.
    """

    id: str
    phase: str
    reason: str
    message: str
    exit_code: int
    checks: tuple[Mapping[str, JSON], ...]
    best: str
    store: str
    trials: Mapping[str, tuple[Trial, ...]]
    log: str = ""
    lost: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Return whether the batch succeeded and its gate passed."""
        return self.exit_code == 0

    def cell(self, combination: str, case: str) -> Cell:
        """Return what a combination made of a case."""
        return Cell(combination, case, tuple(self.trials.get(f"{combination}/{case}", ())))

    def __str__(self) -> str:
        """Say how the batch ended and what the gate said, with the command that shows more if there is more."""
        why = f" ({self.reason})" if self.reason else ""
        lines = [f"batch {self.id}: {self.phase}{why}: {self.message}"]
        lines += [
            f"gate {'pass' if check['passed'] else 'FAIL'}  {check['name']}: {check['message']}"
            for check in self.checks
        ]
        lines += self.lost
        failed = [trial for trials in self.trials.values() for trial in trials if not trial.passed]
        if not self.passed:
            lines += [str(trial) for trial in failed[:_SHOWN]]
            lines += [f"and {len(failed) - _SHOWN:,} more trials that did not pass"] if len(failed) > _SHOWN else []
        if self.phase == NOT_RUN:
            return "\n".join(lines)
        return "\n".join([*lines, f"more: batchyard show {self.id} --trials --store {self.store}"])

    def to_json(self) -> str:
        """Return the result as a text that ``from_json`` reads."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> BatchResult:
        """Return the result that ``to_json`` gave."""
        fields = json.loads(text)
        trials = {key: tuple(Trial(**trial) for trial in cell) for key, cell in fields.pop("trials").items()}
        return cls(**{**fields, "checks": tuple(fields["checks"]), "lost": tuple(fields["lost"]), "trials": trials})


def cells_of(results: Iterable[AttemptResult]) -> dict[str, tuple[Trial, ...]]:
    """Return the trials of each combination and case, as a store has them."""
    cells: dict[str, tuple[Trial, ...]] = {}
    for one in results:
        trial = Trial(
            one.trial_id, one.outcome.value, one.reason, one.message, _node(one), one.score, one.duration_seconds
        )
        key = f"{one.combination}/{one.case}"
        cells[key] = (*cells.get(key, ()), trial)
    return cells


def _node(result: AttemptResult) -> str:
    """Return the node at fault: the last that did not complete; of one that completed all, the last, if it is wrong."""
    for boundary in reversed(result.boundaries):
        if boundary.status in {"failed", "running", "interrupted"}:
            return boundary.node
    return result.boundaries[-1].node if result.boundaries and result.outcome.value == "Failed" else ""
