"""How sure the differences of a batch's combinations are, and what repeats say of each. Not for how (``judge``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchyard.engine.stored_spec import baseline_of, cases_of, is_sequential, repeats_of
from batchyard.judge.cases import CaseTable
from batchyard.judge.contrasts import CONFIDENCE, Contrast, Reliability, contrasts, reliability
from batchyard.judge.ranking import Measure
from batchyard.reports.words import p_value, rate, signed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from batchyard.engine.ports import BatchRecord
    from batchyard.model.status import BatchStatus
    from batchyard.model.trial import AttemptResult


class Statistics:
    """Takes a batch's final results. All combinations are held against the gate's baseline or, without one, the best.

    Memory is cases x combinations.
    """

    def __init__(self, record: BatchRecord, status: BatchStatus) -> None:
        """Take what is known of the batch; without its cases or a combination to hold against there is nothing."""
        baseline = baseline_of(record)
        named = baseline or (status.best.combination if status.best else "")
        ranked = [row.name for row in status.combinations]
        self.against = named if named in ranked else ""
        self.is_chosen = not baseline
        self.looked_often = is_sequential(record)
        self._others = [name for name in ranked if name != self.against]
        self._measure = (
            Measure.SCORE if any(row.score is not None for row in status.combinations) else Measure.SUCCESS_RATE
        )
        self._repeats = repeats_of(record)
        wanted = (self.against and self._others) or self._repeats > 1
        self._cases = cases_of(record) if wanted else ()
        self._table = CaseTable(self._cases)

    def watching(self, results: Iterable[AttemptResult]) -> Iterator[AttemptResult]:
        """Count results as they pass by, each trial once."""
        for result in results:
            if self._cases:
                self._table.add(result)
            yield result

    def take(self, results: Callable[[], Iterator[AttemptResult]]) -> None:
        """Count all results; they are not read if they would say nothing."""
        for result in results() if self._cases else ():
            self._table.add(result)

    @property
    def measure(self) -> str:
        """Return what the combinations differ in."""
        return "score" if self._measure is Measure.SCORE else "success rate"

    def contrasts(self) -> tuple[Contrast, ...]:
        """Return how the others differ from the one."""
        if not self.against:
            return ()
        return contrasts(self._table, self.against, self._others, self._measure, chosen=self.is_chosen)

    def reliability(self) -> list[Reliability]:
        """Return what repeats say of each combination, nothing where no case is repeated."""
        names = [*([self.against] if self.against else []), *self._others]
        return [reliability(self._table, name, self._repeats) for name in names] if self._repeats > 1 else []


def contrast_table(found: Sequence[Contrast]) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    """Return the heads and the rows of a table of differences; McNemar's test is there if it is for any of them."""
    exact = any(one.exact is not None for one in found)
    mcnemar = ["McNemar"] if exact else []
    heads = ["combination", "difference", f"{CONFIDENCE:.0%} interval", "p (adjusted)", *mcnemar, "cases"]
    return heads, [_contrast_cells(one, exact=exact) for one in found]


def _contrast_cells(one: Contrast, *, exact: bool) -> Sequence[str]:
    cases = f"{one.cases}" if one.groups == one.cases else f"{one.cases} in {one.groups}"
    mcnemar = ["" if one.exact is None else p_value(one.exact)] if exact else []
    interval = f"{signed(one.low)} to {signed(one.high)}"
    return [one.combination, signed(one.estimate), interval, p_value(one.p_value), *mcnemar, cases]


def contrast_sentence(statistics: Statistics, found: Sequence[Contrast]) -> str:
    """Return what the numbers of such a table are."""
    said = (
        f"Difference in {statistics.measure} to {statistics.against}, over the same cases. All intervals hold "
        "together; one that holds 0 shows no difference. The p-values are two-sided, and adjusted for how many there "
        "are."
    )
    if statistics.is_chosen:
        said += f" As {statistics.against} was chosen for being the best of these cases, both allow for all pairs."
    if any(one.exact is not None for one in found):
        said += " McNemar's exact test is for each alone, of cases that passed or failed once."
    if statistics.looked_often:
        said += " They take the cases as if there had been one look: the gate's bounds allow for all."
    return said


def reliability_heads(k: int) -> Sequence[str]:
    """Return the heads of a table of what ``k`` repeats say."""
    return "combination", f"pass@{k}", f"pass^{k}", "flaky cases"


def reliability_sentence(k: int) -> str:
    """Return what the numbers of such a table are."""
    return (
        f"The chance that of {k} trials of a case at least one passes (pass@{k}) and that all do (pass^{k}), and in "
        "how many cases some passed and some did not."
    )


def reliability_cells(one: Reliability) -> Sequence[str]:
    """Return what repeats say as tables have it: pass@k, pass^k, flaky cases."""
    return rate(one.pass_at_k), rate(one.pass_all_k), str(one.flaky)
