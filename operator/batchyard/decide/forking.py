"""Which trial of a finished batch each trial of a fork begins from, and at which checkpoint. Pure.

Decided by what the two batches are and by the results of the finished one, which never change: the same whenever it is
asked. Not for fetching the checkpoint (``workflows``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchyard.model.errors import Fault
from batchyard.model.rules import shortened_list

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batchyard.model.matrix import Plan
    from batchyard.model.spec_forking import ForkFrom
    from batchyard.model.trial import AttemptResult, Combination, Trial

_PATH = "spec.forkFrom"
_TOLD = 8


@dataclass(frozen=True, slots=True)
class ForkPoint:
    """Where a trial begins: a checkpoint of a thread that another batch's trial left.

    ``worker`` is who ran that trial; on one machine its file has the thread. Without a ``checkpoint`` there is no such
    place, and ``trial_id`` says of which trial it was wanted.
    """

    trial_id: str
    thread_id: str = ""
    checkpoint: str = ""
    worker: str = ""


@dataclass(frozen=True, slots=True)
class Forking:
    """The trials of a batch beside those of the batch it is forked from."""

    source: Plan
    repeats: int
    combinations: tuple[int, ...]
    cases: tuple[int, ...]
    only: tuple[int, ...] | None = None

    def source_of(self, ordinal: int) -> int:
        """Return the number of the trial of the source that a trial begins from."""
        cell, repeat = divmod(ordinal if self.only is None else self.only[ordinal], self.repeats)
        combination, case = divmod(cell, len(self.cases))
        row = self.combinations[combination] * len(self.source.cases) + self.cases[case]
        return row * self.source.repeats + repeat

    def trial(self, ordinal: int) -> Trial:
        """Return the trial of the source that a trial begins from."""
        return self.source.trial(self.source_of(ordinal))


def forking(fork: ForkFrom, plan: Plan, source: Plan) -> tuple[Forking | None, Sequence[Fault]]:
    """Return which trial goes with which, or every reason why some trial has no counterpart."""
    combinations = {_key(one): index for index, one in reversed(list(enumerate(source.combinations)))}
    wanted = [combinations.get(_key_with(one, fork.variants)) for one in plan.combinations]
    cases = {case.name: index for index, case in enumerate(source.cases)}
    faults = [
        *_combination_faults(fork, plan, source, wanted),
        *_case_faults(fork, plan, source, cases),
        *_repeat_faults(fork, plan, source),
    ]
    if faults:
        return None, faults
    chosen = tuple(index for index in wanted if index is not None)
    return Forking(source, plan.repeats, chosen, tuple(cases[case.name] for case in plan.cases), plan.only), []


def fork_point(trial: Trial, result: AttemptResult | None, node: str) -> ForkPoint:
    """Return where the source's trial had just ended ``node`` for the last time."""
    for boundary in reversed(result.boundaries if result is not None else ()):
        if boundary.node == node and boundary.status == "completed" and boundary.exit_checkpoint and result is not None:
            return ForkPoint(trial.id, result.thread_id, boundary.exit_checkpoint, result.worker)
    return ForkPoint(trial.id)


def boundary_faults(fork: ForkFrom, points: Mapping[int, ForkPoint], completed: Sequence[str]) -> Sequence[Fault]:
    """Return the fault of a fork at a node that no trial has ended; some may lack it, and fail alone."""
    if any(point.checkpoint for point in points.values()):
        return ()
    known = f"they ended {shortened_list(list(completed))}" if completed else "they ended no node"
    text = f"is no node that a trial of {fork.batch_test} ended and that can be gone on from: {known}"
    return (Fault(f"{_PATH}.node", fork.node, text, "name one of its nodes"),)


def _key(combination: Combination) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(combination.variants.items()))


def _key_with(combination: Combination, changed: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted({**combination.variants, **changed}.items()))


def _combination_faults(fork: ForkFrom, plan: Plan, source: Plan, wanted: Sequence[int | None]) -> list[Fault]:
    lacking = [one for one, index in zip(plan.combinations, wanted, strict=True) if index is None]
    if not lacking:
        return []
    asked = [
        f"{one.name} would begin from {', '.join(f'{name}={value}' for name, value in _key_with(one, fork.variants))}"
        for one in lacking[:3]
    ]
    text = (
        f"leads to no combination of {fork.batch_test}: {'; '.join(asked)}"
        f"{f'; and {len(lacking) - 3} more' if len(lacking) > 3 else ''}"
    )
    known = shortened_list([one.name for one in source.combinations])
    return [Fault(f"{_PATH}.variants", "", text, f"write the values that differ; it has {known}")]


def _case_faults(fork: ForkFrom, plan: Plan, source: Plan, cases: Mapping[str, int]) -> list[Fault]:
    lacking = [case.name for case in plan.cases if case.name not in cases]
    changed = [
        case.name
        for case in plan.cases
        if case.name in cases and plan.input_for(case) != source.input_for(source.cases[cases[case.name]])
    ]
    faults = []
    if lacking:
        text = f"has no case {shortened_list(lacking, _TOLD)}"
        faults.append(Fault(f"{_PATH}.batchTest", fork.batch_test, text, "leave them out here"))
    if changed:
        text = f"has another input for case {shortened_list(changed, _TOLD)}, and its state would come from that"
        faults.append(
            Fault(f"{_PATH}.batchTest", fork.batch_test, text, "keep the inputs; write what is to differ in set")
        )
    return faults


def _repeat_faults(fork: ForkFrom, plan: Plan, source: Plan) -> list[Fault]:
    if plan.repeats <= source.repeats:
        return []
    text = f"are more than the {source.repeats} of {fork.batch_test}"
    return [Fault("spec.repeats", str(plan.repeats), text, f"write at most {source.repeats}")]
