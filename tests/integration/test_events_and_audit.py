"""Events and audit trail with a real store: what is told was written, and what was written is told."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from batchyard.apiserver.errors import ApiError
from batchyard.decide.publish import HASH_ANNOTATION, LIMITED, MOST_TRIAL_EVENTS, choose, omitted_notice, publishable
from batchyard.engine.cluster_ports import ClusterRef
from batchyard.engine.ports import Owner
from batchyard.kube.event_sorter import Sorter
from batchyard.kube.recorder import OutboxPublisher
from batchyard.metrics import Metrics
from batchyard.model.audit import AuditEntry, verify_chain
from batchyard.model.errors import StaleLeader
from batchyard.model.events import EventType, severity_of
from batchyard.store.opening import open_cluster_store
from batchyard.testing.fake_clock import T0, FakeClock
from batchyard.testing.store_builders import a_batch
from event_wire import a_wire_event
from fake_events import FakePoster, in_this_thread

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from batchyard.store.cluster import SqlClusterStore

REF = ClusterRef("team", "docs-search", "uid-1")
STEPS = (
    [EventType.BATCH_ACCEPTED],
    [EventType.ENVIRONMENT_PROVISIONING],
    [EventType.ENVIRONMENT_READY, EventType.BATCH_STARTED],
    [EventType.TRIAL_PASSED, EventType.TRIAL_TIMED_OUT, EventType.TRIAL_FAILED] * 9,
    [EventType.TRIAL_ERRORED, EventType.TRIAL_RETRIED, EventType.LATE_RESULT] * 9,
    [EventType.GATE_FAILED],
)


class Bench:
    """A batch in a store, led by this operator, and an API server that is a fake."""

    def __init__(self, store: SqlClusterStore) -> None:
        self.unfenced, self.poster, self.clock, self.limited = store, FakePoster(), FakeClock(), 0
        store.create_cluster_batch(a_batch(), REF)
        self.store = store.fenced(store.take_leadership("operator-0", T0))
        self.session = self.store.open_session("b1", Owner("host", 1, "now"), T0)
        self.publisher = self.restarted()

    def restarted(self) -> OutboxPublisher:
        return OutboxPublisher(self.store, self.poster, self.clock, Metrics(), in_thread=in_this_thread)

    def write(self, entries: Sequence[AuditEntry]) -> None:
        chosen = choose(entries, self.limited)
        self.store.commit_step(self.session, entries=entries, outbox=chosen.indexes)
        self.limited = chosen.limited

    def run_the_batch(self) -> None:
        for step in STEPS:
            self.write([an_entry(kind) for kind in step])
        notice = omitted_notice("b1", self.limited, at=T0)
        self.write([entry for entry in (notice, an_entry(EventType.BATCH_FINISHED)) if entry is not None])

    def post(self) -> None:
        for _ in range(200):
            if not self.store.outbox_stats()[0]:
                return
            self.clock.advance(asyncio.run(self.publisher.post_due()))
        raise AssertionError("the outbox does not run empty")

    def expected(self) -> dict[str, str]:
        """Return what the rules say about the trail as it is stored: hash and reason of each event."""
        limited, found = 0, {}
        for sealed in self.store.audit_entries("b1"):
            if publishable(sealed.entry, limited):
                found[sealed.hash] = str(sealed.entry.type)
            limited += sealed.entry.type in LIMITED
        return found

    def told(self) -> dict[str, str]:
        return {
            event["metadata"]["annotations"][HASH_ANNOTATION]: event["reason"] for event in self.poster.events.values()
        }


def an_entry(kind: EventType) -> AuditEntry:
    return AuditEntry(at=T0, type=kind, severity=severity_of(kind), message=f"{kind}", batch_id="b1", source="operator")


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    store = open_cluster_store(str(tmp_path / "store.db"))
    yield Bench(store)
    store.close()


def test_events_and_audit_agree_one_to_one(bench: Bench) -> None:
    bench.run_the_batch()

    bench.post()

    assert bench.told() == bench.expected()
    reasons = Counter(bench.told().values())
    assert sum(reasons[str(kind)] for kind in LIMITED) == MOST_TRIAL_EVENTS
    assert reasons["TrialEventsOmitted"] == reasons["BatchFinished"] == 1
    assert bench.poster.asked == len(bench.poster.events)


def test_a_crash_at_any_post_loses_no_event_and_doubles_none(bench: Bench) -> None:
    bench.run_the_batch()

    class Killed(BaseException):
        """Stands in for SIGKILL: nothing catches it."""

    create = bench.poster.create

    async def killed_after_posting(*args: object) -> object:
        await create(*args)  # type: ignore[arg-type]
        raise Killed

    while bench.store.outbox_stats()[0]:
        bench.publisher = bench.restarted()
        bench.poster.create = killed_after_posting  # type: ignore[assignment,method-assign]
        with pytest.raises(Killed):
            asyncio.run(bench.publisher.post_due())
        bench.poster.create = create  # type: ignore[method-assign]
        asyncio.run(bench.restarted().post_due())

    assert bench.told() == bench.expected()


def test_an_old_leader_posts_nothing_more_once_its_store_refuses_it(bench: Bench) -> None:
    bench.run_the_batch()
    bench.unfenced.take_leadership("operator-1", T0)

    with pytest.raises(StaleLeader):
        asyncio.run(bench.publisher.post_due())


def test_what_others_say_joins_the_chain_between_our_own_entries(bench: Bench) -> None:
    sorter = Sorter(lambda *_: "b1", bench.clock, Metrics())
    bench.write([an_entry(EventType.BATCH_ACCEPTED)])
    rows = [row for number in range(3) for row in sorter.hear(a_wire_event(f"ev-{number}"), str(number))]

    added = [bench.store.mirror(rows, "events", "9@then") for _ in range(2)]
    bench.write([an_entry(EventType.BATCH_FINISHED)])

    trail = list(bench.store.audit_entries("b1"))
    assert added == [3, 0]
    assert [sealed.entry.type for sealed in trail] == [
        EventType.BATCH_ACCEPTED,
        *[EventType.KUBERNETES_EVENT] * 3,
        EventType.BATCH_FINISHED,
    ]
    assert verify_chain(trail, bench.store.batch("b1").audit_head) == ""
    assert bench.store.watch_position("events") == "9@then"


def test_an_event_that_is_given_up_is_in_the_trail(bench: Bench) -> None:
    bench.write([an_entry(EventType.BATCH_ACCEPTED)])
    bench.poster.answers = [ApiError(422, "Invalid", "no")]

    asyncio.run(bench.publisher.post_due())

    assert [sealed.entry.type for sealed in bench.store.audit_entries("b1")][1:] == [EventType.EVENT_UNDELIVERABLE]
    assert bench.store.outbox_stats() == (0, None, 1)
