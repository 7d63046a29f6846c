"""The outbox's publisher: every event once, in order, politely, whatever the API server answers."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse

from batchyard.apiserver.errors import ApiError, Unreachable
from batchyard.decide.delivery import MOST_REFUSALS
from batchyard.kube.health import Health, Part
from batchyard.kube.recorder import IDLE_SECONDS, OutboxPublisher
from batchyard.metrics import Metrics
from batchyard.model.errors import RecordDamaged, StaleLeader, StoreError
from batchyard.model.events import EventType
from batchyard.testing.fake_clock import FakeClock
from fake_events import FakeOutbox, FakePoster, an_item, in_this_thread, until

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batchyard.engine.cluster_ports import OutboxItem

FORBIDDEN = ApiError(403, "Forbidden", "user cannot create resource events")


class Bench:
    def __init__(self, items: Sequence[OutboxItem] = ()) -> None:
        self.clock, self.metrics, self.poster, self.outbox = FakeClock(), Metrics(), FakePoster(), FakeOutbox(items)
        self.health = Health(self.clock)
        self.publisher = OutboxPublisher(
            self.outbox,
            self.poster,
            self.clock,
            self.metrics,
            in_thread=in_this_thread,
            instance="operator-0",
            health=self.health,
        )

    def round(self) -> float:
        return asyncio.run(self.publisher.post_due())

    def rounds(self, most: int = 10_000) -> float:
        """Go on, as if waiting, until everything that can be posted is; return the seconds that took."""
        begun = self.clock.monotonic()
        for _ in range(most):
            if not self.outbox.left:
                break
            self.clock.advance(self.round())
        return self.clock.monotonic() - begun

    def counted(self) -> Counter[tuple[str, str]]:
        found: Counter[tuple[str, str]] = Counter()
        for family in parse(self.metrics.render()[0].decode()):
            for sample in family.samples:
                if sample.name == "batchyard_kubernetes_events_total":
                    found[sample.labels["reason"], sample.labels["outcome"]] += int(sample.value)
        return found


@pytest.mark.proves("outbox")
def test_what_is_in_the_outbox_is_posted_in_order_and_then_forgotten() -> None:
    bench = Bench([an_item("a", 1), an_item("b", 1), an_item("a", 2)])

    wait = bench.round()

    assert bench.poster.told == [("a", 1), ("b", 1), ("a", 2)]
    assert bench.outbox.left == []
    assert wait == IDLE_SECONDS
    assert bench.counted() == {("BatchStarted", "posted"): 3}


def test_events_carry_who_posted_them() -> None:
    bench = Bench([an_item()])

    bench.round()

    assert [event["reportingInstance"] for event in bench.poster.events.values()] == ["operator-0"]


def test_an_event_that_is_there_already_is_done() -> None:
    bench = Bench([an_item()])
    bench.round()
    bench.outbox = FakeOutbox([an_item()])
    bench.publisher = OutboxPublisher(
        bench.outbox, bench.poster, bench.clock, bench.metrics, in_thread=in_this_thread, instance="operator-1"
    )

    bench.round()

    assert bench.outbox.left == []
    assert bench.poster.told == [("batch", 1)]
    assert bench.counted() == {("BatchStarted", "posted"): 1, ("BatchStarted", "alreadyThere"): 1}


@pytest.mark.parametrize(
    "answer",
    [
        ApiError(404, "NotFound", 'namespaces "team" not found'),
        ApiError(403, "Forbidden", "unable to create new content in namespace team because it is being terminated"),
    ],
)
def test_where_the_namespace_is_gone_nobody_is_left_to_tell(answer: ApiError) -> None:
    bench = Bench([an_item()])
    bench.poster.answers = [answer]

    bench.round()

    assert bench.outbox.left == []
    assert bench.counted() == {("BatchStarted", "nobodyToTell"): 1}


def test_an_event_that_is_refused_for_good_is_parked_and_the_trail_says_so() -> None:
    bench = Bench([an_item(seq=4), an_item(seq=5)])
    bench.poster.answers = [ApiError(422, "Invalid", "note: can have at most 1024 characters")]

    bench.round()

    [(key, entry)] = bench.outbox.rows.items()
    assert entry.type is EventType.EVENT_UNDELIVERABLE
    assert entry.details == {"seq": 4, "reason": "BatchStarted", "tries": 1}
    assert "at most 1024" in entry.message
    assert key.startswith("undeliverable/")
    assert [row.parked for row in bench.outbox.waiting] == [True]
    assert bench.poster.told == [("batch", 5)]
    assert 'audit_entries_total{severity="warning",type="EventUndeliverable"} 1.0' in bench.metrics.render()[0].decode()


def test_a_refusal_that_may_pass_is_tried_again_later_and_holds_up_its_batch_alone() -> None:
    bench = Bench([an_item("a", 1), an_item("a", 2), an_item("b", 1)])
    bench.poster.answers = [FORBIDDEN]

    bench.round()

    assert bench.poster.told == [("b", 1)]
    assert bench.outbox.left == [("a", 1), ("a", 2)]
    bench.clock.advance(0.5)
    bench.round()
    assert bench.poster.told == [("b", 1)]
    bench.clock.advance(2)
    bench.round()
    assert bench.poster.told == [("b", 1), ("a", 1), ("a", 2)]


def test_what_stays_refused_is_given_up_after_a_while() -> None:
    bench = Bench([an_item()])
    bench.poster.refuse = lambda _: FORBIDDEN

    seconds = bench.rounds()

    assert bench.poster.asked == MOST_REFUSALS
    assert 600 < seconds < 3600
    assert [row.parked for row in bench.outbox.waiting] == [True]


@pytest.mark.parametrize("answer", [Unreachable("no answer"), ApiError(503, "ServiceUnavailable", "later")])
def test_while_the_api_server_is_away_nothing_is_tried_but_one_event_now_and_then(answer: ApiError) -> None:
    bench = Bench([an_item(f"batch-{number}") for number in range(100)])
    bench.poster.refuse = lambda _: answer

    for _ in range(20):
        bench.clock.advance(bench.round())

    assert bench.poster.asked == 20
    assert len(bench.outbox.left) == 100
    assert all(row.item.tries == 0 for row in bench.outbox.waiting)
    bench.poster.refuse = lambda _: None
    bench.rounds()
    assert len(bench.poster.told) == 100


def test_being_woken_does_not_shorten_a_pause() -> None:
    bench = Bench([an_item()])
    bench.poster.refuse = lambda _: Unreachable("no answer")

    bench.round()
    for _ in range(50):
        bench.publisher.wake()
        bench.round()

    assert bench.poster.asked == 1


def test_what_was_posted_before_trouble_began_is_not_posted_again() -> None:
    bench = Bench([an_item("a"), an_item("b"), an_item("c")])
    bench.poster.answers = [None, Unreachable("no answer")]

    bench.round()

    assert bench.outbox.left == [("b", 1), ("c", 1)]


def test_a_thousand_batches_are_told_of_at_twenty_a_second() -> None:
    bench = Bench([an_item(f"batch-{number}") for number in range(1000)])

    seconds = bench.rounds()

    assert len(bench.poster.told) == 1000
    assert (1000 - 50) / 20 <= seconds <= (1000 - 50) / 20 + IDLE_SECONDS


def test_one_batchs_flood_does_not_hold_up_the_others() -> None:
    flood = [an_item("flood", seq) for seq in range(1, 1001)]
    bench = Bench([*flood, *(an_item(f"calm-{number}") for number in range(5))])

    for _ in range(100):
        bench.clock.advance(bench.round())
        if sum(batch.startswith("calm") for batch, _ in bench.poster.told) == 5:
            break

    assert sum(batch == "flood" for batch, _ in bench.poster.told) < 100
    assert [seq for batch, seq in bench.poster.told if batch == "flood"] == sorted(
        seq for batch, seq in bench.poster.told if batch == "flood"
    )


def test_a_store_in_trouble_is_asked_again_later() -> None:
    bench = Bench([an_item()])
    bench.outbox.failures = [StoreError("the disk is full"), StoreError("the disk is full")]

    first = bench.round()
    bench.clock.advance(first)
    second = bench.round()
    bench.clock.advance(second)
    bench.round()

    assert 0 < first < second
    assert bench.poster.told == [("batch", 1)]
    assert bench.health.live() == []


@pytest.mark.proves("bug-28")
def test_a_store_that_cannot_note_what_was_posted_leads_to_no_second_event() -> None:
    bench = Bench()
    refusals = [StoreError("the disk is full")]

    class Forgetful(FakeOutbox):
        def outbox_posted(self, items: Sequence[OutboxItem]) -> None:
            if refusals:
                raise refusals.pop()
            super().outbox_posted(items)

    forgetful = Forgetful([an_item()])
    bench.publisher = OutboxPublisher(forgetful, bench.poster, bench.clock, bench.metrics, in_thread=in_this_thread)

    bench.clock.advance(bench.round())
    kept = forgetful.left
    bench.round()

    assert kept == [("batch", 1)]
    assert forgetful.left == []
    assert bench.poster.told == [("batch", 1)]
    assert bench.counted() == {("BatchStarted", "posted"): 1, ("BatchStarted", "alreadyThere"): 1}


def test_an_operator_that_leads_no_more_stops_at_once() -> None:
    bench = Bench([an_item()])
    bench.outbox.failures = [StaleLeader("another leads")]

    with pytest.raises(StaleLeader):
        bench.round()

    assert bench.poster.asked == 0


def test_health_hears_of_trouble_and_of_its_end() -> None:
    bench = Bench([an_item()])
    bench.poster.answers = [Unreachable("no answer")]

    bench.clock.advance(bench.round())
    assert bench.health.age(Part.OUTBOX) is None

    bench.round()
    assert bench.health.age(Part.OUTBOX) == 0


def test_the_loop_posts_when_it_is_woken_and_sleeps_otherwise() -> None:
    bench = Bench()
    asked: list[float] = []

    class Counting(FakeOutbox):
        def outbox_due(self, now: Any, limit: int, damaged: list[RecordDamaged] | None = None) -> Sequence[OutboxItem]:
            asked.append(limit)
            return super().outbox_due(now, limit, damaged)

    async def scenario() -> Mapping[str, Any]:
        outbox = Counting()
        publisher = OutboxPublisher(outbox, bench.poster, bench.clock, bench.metrics, in_thread=in_this_thread)
        task = asyncio.create_task(publisher.run())
        await until(lambda: asked)
        for _ in range(100):
            await asyncio.sleep(0)
        assert len(asked) == 1
        outbox.waiting = FakeOutbox([an_item()]).waiting
        publisher.wake()
        await until(lambda: not outbox.left, seconds=IDLE_SECONDS / 2)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return bench.poster.events

    assert len(asyncio.run(scenario())) == 1


def test_an_event_that_cannot_be_read_holds_up_no_other_and_is_counted_as_given_up() -> None:
    bench = Bench([an_item()])
    bench.outbox.unreadable = [RecordDamaged("entry 3 of batch b1 cannot be read")]

    bench.round()

    assert (len(bench.poster.events), bench.health.age(Part.OUTBOX)) == (1, 0)
    assert bench.counted()["EventUndeliverable", "parked"] == 1


def test_an_answer_is_kept_only_in_part() -> None:
    bench = Bench([an_item()])
    bench.poster.answers = [ApiError(500, "InternalError", "x" * 100_000)]

    bench.round()

    assert len(bench.outbox.waiting[0].error) == 500
