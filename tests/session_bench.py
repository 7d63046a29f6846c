"""A bench for sessions: a batch in a fake store, run by a fake runner on a fake clock."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from batchyard.decide.deadlines import batch_deadline
from batchyard.engine.ports import BatchRecord, Owner
from batchyard.engine.session import BatchSession, Finished
from batchyard.engine.sources import LoadedBatch
from batchyard.events import AuditTrail, EventBus
from batchyard.events.redact import Redactor
from batchyard.model.audit import verify_chain
from batchyard.model.outcome import Outcome
from batchyard.testing.fake_clock import FakeClock
from batchyard.testing.fake_runner import FakeRunner, ended
from batchyard.testing.fake_store import FakeStore, FakeWriter

if TYPE_CHECKING:
    from collections.abc import Callable

    from batchyard.engine.attempts import Ended, Order
    from batchyard.model.events import Event
    from batchyard.model.trial import JSON, AttemptResult
    from batchyard.testing.fake_runner import Answer

BATCH = "b-000000"


def loaded(cases: int | list[dict[str, JSON]] = 4, **spec: JSON) -> LoadedBatch:
    """A BatchTest of one combination with these or so many cases and whatever else ``spec`` says."""
    if isinstance(cases, int):
        cases = [{"name": f"case-{n}", "input": {"n": n}} for n in range(cases)]
    plain: dict[str, JSON] = {
        "workflow": {"factory": "m:f", "source": {"path": "."}},
        "variants": {"matrix": {"side": ["left"]}},
        "cases": cases,
        "parallelism": 1,
        "checkpoints": {"durability": "sync"},
        "deadlines": {"batchSeconds": 3600, "trialSeconds": 60},
        "retry": {"maxAttempts": 2, "backoffSeconds": 10, "backoffMaxSeconds": 60},
    }
    document = {
        "apiVersion": "batchyard.dev/v1alpha1",
        "kind": "BatchTest",
        "metadata": {"name": "b"},
        "spec": {**plain, **spec},
    }
    return LoadedBatch.from_json(document, Path())


@dataclass
class SessionBench:
    """One batch and its store; ``run`` is one session of it."""

    batch: LoadedBatch
    secrets: tuple[str, ...] = ()
    clock: FakeClock = field(default_factory=FakeClock)
    store: FakeStore = field(default_factory=FakeStore)
    events: list[Event] = field(default_factory=list)
    runner: FakeRunner = field(init=False)
    session: BatchSession = field(init=False)
    bus: EventBus = field(init=False)

    def __post_init__(self) -> None:
        now = self.clock.now()
        self.store.create_batch(
            BatchRecord(
                id=BATCH,
                name="b",
                spec=self.batch.to_json(),
                spec_digest=self.batch.digest,
                base="",
                total=len(self.batch.plan),
                accepted_at=now,
                deadline_at=batch_deadline(now, self.batch.batch.spec.deadlines.batch_seconds),
            )
        )

    def open(
        self,
        answer: Answer | None = None,
        *,
        on_commit: Callable[[], None] = lambda: None,
        seconds: float = 1.0,
    ) -> BatchSession:
        """Open the next session, whose attempts end as ``answer`` says."""
        spec = self.batch.batch.spec
        session = self.store.open_session(BATCH, Owner("here", 1, "1"), self.clock.now())
        self.bus = bus = EventBus()
        trail = AuditTrail(BATCH, max_entries=spec.audit.max_entries, secrets=self.secrets)
        bus.subscribe(trail.on_event)
        bus.subscribe(self.events.append)
        self.runner = FakeRunner(self.clock, answer, parallelism=spec.parallelism, seconds=seconds)
        self.session = BatchSession(
            record=self.store.batch(BATCH),
            session=session,
            spec=spec,
            plan=self.batch.plan,
            store=self.store,
            writer=FakeWriter(self.store, session, on_commit),
            runner=self.runner,
            bus=bus,
            trail=trail,
            clock=self.clock,
            redact=Redactor(self.secrets).text,
        )
        return self.session

    def run(self, answer: Answer | None = None, *, seconds: float = 1.0) -> Finished:
        """Run one session to its end."""
        return self.open(answer, seconds=seconds).run()

    @property
    def record(self) -> BatchRecord:
        return self.store.batch(BATCH)

    @property
    def finals(self) -> list[AttemptResult]:
        return list(self.store.results(BATCH))

    @property
    def attempts(self) -> list[tuple[int, int, Outcome]]:
        return [(r.ordinal, r.attempt, r.outcome) for r in self.store.results(BATCH, final_only=False)]

    @property
    def outcomes(self) -> Counter[Outcome]:
        return Counter(result.outcome for result in self.finals)

    def audited(self) -> list[str]:
        """The types of the audit entries, whose chain holds."""
        entries = list(self.store.audit_entries(BATCH))
        assert verify_chain(entries, self.record.audit_head) == ""
        return [sealed.entry.type for sealed in entries]


def failing(bench: SessionBench, *outcomes: Outcome) -> Answer:
    """Let each trial's attempts end one after the other like this, and pass from then on."""

    def answer(order: Order) -> Ended:
        outcome = outcomes[order.attempt - 1] if order.attempt <= len(outcomes) else Outcome.PASSED
        return ended(order, bench.clock, outcome, message=f"attempt {order.attempt}")

    return answer
