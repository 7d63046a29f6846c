"""Results of finished batches that stand for trials of a new one: which batches, which results, step by step.

Not for whether a result may stand for a trial (``decide.amending``) nor for the rows (``store.carrying``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import TYPE_CHECKING, Protocol

from batchyard.decide.amending import CODE, Carrying, Side, Tally, Why, differences
from batchyard.engine.leaving_out import IGNORE_FILE, is_left_out_within, patterns_of
from batchyard.engine.sources import LoadedBatch
from batchyard.engine.stored_spec import written_of
from batchyard.model.errors import BatchAmbiguous, BatchNotFound, Fault, RecordDamaged, SpecInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from batchyard.engine.ports import BatchRecord, BatchStore, Session
    from batchyard.model.audit import AuditEntry
    from batchyard.model.trial import JSON, AttemptResult

STEP = 500
"""How many results are carried over in one commit."""

MOST_EARLIER = 20
"""How many earlier batches of a name are looked at for results to use again."""


class PastResults(Protocol):
    """Reads and copies results of other batches within a store."""

    def results(self, batch_id: str, *, with_nodes: bool) -> Iterator[AttemptResult]:
        """Yield a batch's final results by ordinal, without outputs.

        Those that passed come without nodes unless these are wanted.
        """
        ...

    def earlier(self, name: str, limit: int) -> Sequence[BatchRecord]:
        """Return the newest finished batches of a name, with their specs, newest first; but for any that is damaged."""
        ...

    def carry_over(
        self, session: Session, source: str, pairs: Sequence[Pair], entries: Sequence[AuditEntry], dropped: int
    ) -> None:
        """Copy final results of ``source`` to trials of the session's batch, with what tells of it, all or nothing.

        Raises ``StoreError`` if one of them is not there, or its trial has a result already.
        """
        ...


@dataclass(frozen=True, slots=True)
class Pair:
    """A result by its trial's number in the finished batch, the trial that it stands for, and that one's weight."""

    old: int
    new: int
    weight: float


@dataclass(frozen=True, slots=True)
class Step:
    """Results that are carried over together. ``results`` are as the new batch has them, without outputs.

    ``epoch`` is what they get for that of the batch that ran them.
    """

    source: str
    pairs: tuple[Pair, ...]
    results: tuple[AttemptResult, ...]
    epoch: int


class Open(Protocol):
    """Which trials have no result yet."""

    @property
    def open_count(self) -> int:
        """Return how many there are."""
        ...

    def is_finished(self, ordinal: int) -> bool:
        """Return whether a trial has one."""
        ...


class CarryOver:
    """Everything that one batch carries over. ``told`` has a sentence for each batch of which something was."""

    def __init__(self, past: PastResults, store: BatchStore, loaded: LoadedBatch) -> None:
        """``loaded`` names the batches; what has gone from the store since is passed over."""
        self._past, self._store, self._loaded = past, store, loaded
        self.told: list[str] = []

    def steps(self, epoch: int, trials: Open, *, untold: bool) -> Iterator[Step]:
        """Yield what is left to be carried over; whoever takes a step closes its ``trials`` before the next one.

        ``untold`` is whether it was not told yet what came of it, as it is even if that is nothing.
        """
        alone = len(self._loaded.carries_from) == 1
        for source in self._loaded.carries_from:
            if not trials.open_count and not (alone and untold):
                return
            try:
                old = LoadedBatch.of(self._store.batch(source))
            except BatchNotFound:
                self.told.append(f"{source} is not in the store any more")
                continue
            except RecordDamaged as err:
                self.told.append(str(err))
                continue
            tally, carried = Tally(len(self._loaded.plan)), 0
            carrying = Carrying(side_of(self._loaded), side_of(old))
            for step in self._steps(source, carrying, tally, epoch, trials):
                carried += len(step.pairs)
                yield step
            if carried or (alone and untold):
                self.told.append(tally.sentence(source) if alone else tally.brief(source))

    def _steps(self, source: str, carrying: Carrying, tally: Tally, epoch: int, trials: Open) -> Iterator[Step]:
        # The trail holds a step's entries until they are written, and drops what it has no room for.
        size = min(STEP, self._loaded.batch.spec.audit.max_entries // 2)
        found = self._found(source, carrying, tally, epoch, trials)
        while pairs := list(islice(found, size)):
            yield Step(source, tuple(pair for pair, _ in pairs), tuple(result for _, result in pairs), epoch)

    def _found(
        self, source: str, carrying: Carrying, tally: Tally, epoch: int, trials: Open
    ) -> Iterator[tuple[Pair, AttemptResult]]:
        plan = self._loaded.plan
        for result in self._past.results(source, with_nodes=carrying.looks_at_nodes):
            number = carrying.number_of(result)
            done = not isinstance(number, Why) and trials.is_finished(number)
            if not done or len(self._loaded.carries_from) == 1:
                tally.add(number)
            if isinstance(number, Why) or done:
                continue
            weight = plan.trial(number).case.weight
            yield Pair(result.ordinal, number, weight), replace(result, ordinal=number, weight=weight, epoch=epoch)

    def write(self, session: Session, step: Step, entries: Sequence[AuditEntry], dropped: int) -> None:
        """Carry a step over, with what tells of it. Raises ``StoreError``."""
        self._past.carry_over(session, step.source, step.pairs, entries, dropped)


def side_of(loaded: LoadedBatch) -> Side:
    """Return what decides the trials of a batch."""
    return Side(loaded.batch.spec, loaded.plan, loaded.setting, loaded.forked_from)


def words_of(result: AttemptResult, source: str) -> tuple[str, dict[str, JSON]]:
    """Return what an entry says of a result that was carried over: its message and details."""
    details: dict[str, JSON] = {"outcome": result.outcome, "batch": source, "thread": result.thread_id}
    return f"{result.outcome} in {source}", details


def origin_of(result: AttemptResult, batch_id: str) -> str:
    """Return the batch that ran an attempt if it was not ``batch_id``, else ""."""
    ran = result.thread_id.partition("/")[0]
    return "" if ran == batch_id else ran


# -- which batches -------------------------------------------------------------------------------------------------


OPTION, FIELD = "--amend", "spec.amends"
"""Where it is said which batch is amended."""


def without_outputs(past: PastResults, loaded: LoadedBatch) -> LoadedBatch:
    """Return the batch with the files that earlier runs of its name wrote taken for no code, as those of its own."""
    if loaded.setting is None:
        return loaded
    found = [written_of(record) for record in past.earlier(loaded.batch.metadata.name, MOST_EARLIER)]
    apart = tuple(sorted({*loaded.setting.apart, *chain.from_iterable(found)}))
    return replace(loaded, setting=replace(loaded.setting, apart=apart))


def amending(store: BatchStore, loaded: LoadedBatch, reference: str) -> LoadedBatch:
    """Return the batch as one that amends the finished batch of this id or name.

    Raises ``BatchNotFound``, ``BatchAmbiguous``, and as ``amending_record``.
    """
    return amending_record(loaded, store.batch(reference), OPTION)


def amending_as_asked(store: BatchStore, loaded: LoadedBatch) -> LoadedBatch:
    """Return the batch with what ``spec.amends`` means in this store now. Raises as ``amending_record``."""
    name = loaded.batch.spec.amends
    if name is None:
        return loaded
    try:
        record = store.batch(name)
    except (BatchNotFound, BatchAmbiguous):
        record = None
    if record is None or record.name != name:
        remedy = "run it first, or name another store with --store"
        raise _refused(loaded, FIELD, name, "is no batch of this store", remedy)
    return amending_record(loaded, record, FIELD)


def amending_record(loaded: LoadedBatch, record: BatchRecord, said_at: str) -> LoadedBatch:
    """Return the batch as one that amends the batch of this record, which has its spec.

    Raises ``SpecInvalid`` with everything because of which no result of it can be carried over.
    """
    source = f"batch {record.id}"
    if not record.phase.final:
        raise _refused(loaded, said_at, source, "is not finished", f"go on with it: batchyard resume {record.id}")
    if not record.total:
        raise _refused(loaded, said_at, source, "was never accepted", "name a batch whose trials ran")
    found = _differences(loaded, LoadedBatch.of(record))
    if found:
        anew = f"or run all of it anew: without {said_at}"
        faults = [
            Fault(said_at, source, f"cannot be amended: {one}", f"put it back as it was, {_also(one)}{anew}")
            for one in found
        ]
        raise SpecInvalid(f"BatchTest {loaded.batch.metadata.name}", faults)
    return replace(loaded, carries_from=(record.id,))


def reusing(past: PastResults, loaded: LoadedBatch) -> tuple[LoadedBatch, str]:
    """Return the batch as one that takes what it can from earlier batches of its name, newest first; else why not."""
    why = "there is no finished batch of this name"
    sources = []
    for place, record in enumerate(past.earlier(loaded.batch.metadata.name, MOST_EARLIER)):
        found = _why_not(loaded, record)
        if not found:
            sources.append(record.id)
        elif place == 0:
            also = "".join(map(_also, found)).removesuffix(", ")
            why = "; ".join(filter(None, (f"{record.id} differs: {'; '.join(found)}", also)))
    return replace(loaded, carries_from=tuple(sources)), "" if sources else f"nothing can be used again: {why}"


def _why_not(loaded: LoadedBatch, record: BatchRecord) -> tuple[str, ...]:
    if not record.total:
        return ("it was never accepted",)
    try:
        return _differences(loaded, LoadedBatch.of(record))
    except RecordDamaged as err:
        return (str(err),)


def _also(difference: str) -> str:
    """Return what else may be done about a difference, with a comma: what is no code need not be the same."""
    return f"leave out in {IGNORE_FILE} what is no code, " if difference.startswith(f"{CODE}: ") else ""


def _differences(loaded: LoadedBatch, old: LoadedBatch) -> tuple[str, ...]:
    """Return why no result of the old batch can stand for a trial; what is no code by now was none before."""
    new, was = side_of(loaded), side_of(old)
    if new.setting is not None and new.setting.ignored and was.setting is not None:
        patterns = patterns_of(new.setting.ignored)
        files = {path: said for path, said in was.setting.files.items() if not is_left_out_within(path, patterns)}
        was = replace(was, setting=replace(was.setting, files=files))
    return differences(new, was)


def _refused(loaded: LoadedBatch, said_at: str, source: str, message: str, remedy: str) -> SpecInvalid:
    return SpecInvalid(f"BatchTest {loaded.batch.metadata.name}", [Fault(said_at, source, message, remedy)])
