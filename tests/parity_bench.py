"""A bench for the same batches on several runners: generated batches, one runner for all of them, their verdicts."""

from __future__ import annotations

import json
import random
import tempfile
from dataclasses import dataclass
from datetime import timedelta
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

from batchyard.engine.ports import BatchRecord, Owner
from batchyard.engine.session import BatchSession
from batchyard.events import AuditTrail, EventBus
from batchyard.judge.parity import ParityChecker, ParityConfig
from batchyard.testing.fake_store import FakeStore, FakeWriter
from runner_bench import CLOCK, FolderProvider
from session_bench import loaded

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractContextManager

    from batchyard.engine.attempts import BatchTestRunner
    from batchyard.engine.sources import LoadedBatch
    from batchyard.model.trial import JSON, AttemptResult

EVALUATORS: list[dict[str, JSON]] = [
    {"name": "exactMatch", "weight": 2.0, "config": {"field": "answer"}},
    {"name": "metric", "weight": 1.0, "config": {"name": "cost", "max": 0.5}},
]


@dataclass(frozen=True, slots=True)
class Ran:
    """One batch as it ended."""

    record: BatchRecord
    finals: list[AttemptResult]


class AnyBatch(FolderProvider):
    """Folders for trials that have the same names in every batch."""

    def workspace(self, batch_id: str, trial_id: str, attempt: int) -> Path:
        return Path(tempfile.mkdtemp(dir=self.folder))


def a_batch(seed: int) -> LoadedBatch:
    """A batch of chance, the same for the same seed: variants, cases, weights, repeats, how trials end, and a gate."""
    chance = random.Random(seed)  # noqa: S311
    ends = chance.choice([["answers"], ["answers", "answers", "raises"], ["answers", "asks", "raises"], ["raises"]])
    cases: list[dict[str, JSON]] = [
        {
            "name": f"case-{number}",
            "input": {"name": f"case-{number}", "seed": chance.randint(0, 10**6), "ends": ends},
            "expected": {"answer": chance.choice(["yes", "no"])},
            "weight": chance.choice([1, 2, 0.5]),
        }
        for number in range(chance.randint(1, 3))
    ]
    matrix = {"act": ["reckons"], "style": ["plain", "warm", "terse"][: chance.randint(1, 3)]}
    gate = {"minScore": chance.choice([None, 0.3, 0.9]), "minSuccessRate": chance.choice([None, 0.5])}
    return loaded(
        cases, variants={"matrix": matrix}, gate=gate, repeats=chance.randint(1, 2), parallelism=2,
        evaluation={"evaluators": EVALUATORS},
    )  # fmt: skip


def ran(opened: AbstractContextManager[BatchTestRunner], batches: Iterable[LoadedBatch]) -> list[Ran]:
    """Run the batches one after the other on one runner."""
    with opened as runner:
        return [_run(runner, batch, f"b-{number}") for number, batch in enumerate(batches)]


def _run(runner: BatchTestRunner, batch: LoadedBatch, name: str) -> Ran:
    now, store, bus = CLOCK.now(), FakeStore(), EventBus()
    store.create_batch(
        BatchRecord(
            id=name, name="b", spec=batch.to_json(), spec_digest=batch.digest, base="", total=len(batch.plan),
            accepted_at=now, deadline_at=now + timedelta(hours=1),
        )
    )  # fmt: skip
    session = store.open_session(name, Owner("here", 1, "1"), now)
    trail = AuditTrail(name, max_entries=10_000)
    bus.subscribe(trail.on_event)
    BatchSession(
        record=store.batch(name), session=session, spec=batch.batch.spec, plan=batch.plan, store=store,
        writer=FakeWriter(store, session, lambda: None), runner=runner, bus=bus, trail=trail, clock=CLOCK,
        redact=str,
    ).run()  # fmt: skip
    return Ran(store.batch(name), list(store.results(name)))


def verdict(run: Ran) -> bytes:
    """All that a batch's end says but for how long anything took, as bytes."""
    status = dict(run.record.status)
    status["combinations"] = [{**row, "meanSeconds": None} for row in status["combinations"]]
    said = [run.record.phase, run.record.reason, run.record.message, status]
    return json.dumps(said, sort_keys=True, allow_nan=False).encode()


def assert_parity(here: Iterable[Ran], there: Iterable[Ran]) -> None:
    """Every batch has the same verdict in both places, to the byte, and the same final results, trial by trial."""
    checker = ParityChecker(ParityConfig.strict())
    for one, other in zip(here, there, strict=True):
        assert verdict(one) == verdict(other)
        report = checker.check(one.finals, other.finals, order=attrgetter("ordinal"))
        assert report.equivalent, report.discrepancies
