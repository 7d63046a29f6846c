"""What combinations lost to the gate's baseline, and after which node each lost trial first differs from it.

Made when somebody looks at a batch that is over, from what the store has and, on this machine, from the states that
were kept. Not for the gate's verdict (``judge.regression``).
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from batchyard.engine.stored_spec import baseline_of
from batchyard.judge.first_difference import Difference, broken_node, first_difference, steps_of
from batchyard.judge.lost_trials import LostTrials, Regression, Regressions, worst
from batchyard.model.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from batchyard.engine.ports import BatchRecord
    from batchyard.judge.first_difference import Step
    from batchyard.judge.lost_trials import Final
    from batchyard.local_files import KeptThreads
    from batchyard.model.status import BatchStatus
    from batchyard.model.trial import AttemptResult


def regressions(
    record: BatchRecord,
    status: BatchStatus,
    endings: Iterable[Final],
    attempts_of: Callable[[int], Sequence[AttemptResult]],
    threads: KeptThreads | None,
) -> Regressions | None:
    """Return what was lost to the baseline, None if there is no baseline or nothing was lost.

    ``endings`` are read once; of the few trials that are looked into, ``attempts_of`` and ``threads`` give the rest.
    """
    lost = LostTrials(baseline_of(record))
    if not lost.baseline:
        return None
    for ending in endings:
        lost.add(ending)
    found = lost.by_combination(_judged(status))
    if not found:
        return None
    rows = [_regression(attempts_of(one.ordinal)[-1], attempts_of(one.baseline)[-1], threads) for one in worst(found)]
    places = {name: place for place, name in enumerate(found)}
    rows.sort(key=lambda row: places[row.trial.partition("/")[0]])
    return Regressions(lost.baseline, {name: len(trials) for name, trials in found.items()}, tuple(rows))


def _judged(status: BatchStatus) -> str:
    """Return the combination that the gate held against the baseline."""
    for check in status.gate.checks if status.gate else ():
        if check.difference is not None:
            return check.difference.combination
    return status.best.combination if status.best else ""


def _regression(mine: AttemptResult, base: AttemptResult, threads: KeptThreads | None) -> Regression:
    difference = broken_node(mine) or _difference(mine, base, threads)
    return Regression(mine.trial_id, base.trial_id, mine.outcome, mine.reason, difference)


def _difference(mine: AttemptResult, base: AttemptResult, threads: KeptThreads | None) -> Difference:
    one, other = _kept(mine, threads), _kept(base, threads)
    if one and other:
        return first_difference(one, other)
    return first_difference(steps_of(mine.boundaries), steps_of(base.boundaries))


def _kept(result: AttemptResult, threads: KeptThreads | None) -> tuple[Step, ...]:
    file = threads.find(result.thread_id, result.worker) if threads is not None else None
    if file is None:
        return ()
    # Where no states are kept, as in the operator, there is no library to read them either.
    from batchyard.workflows.kept_states import read_steps

    with suppress(StoreError):  # what can be told without the states is told
        return read_steps(file, result.thread_id)
    return ()
