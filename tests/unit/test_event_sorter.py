"""The sorter: whose events are whose, and that nothing grows without end."""

from __future__ import annotations

from typing import Any

import pytest

from batchyard.decide.foreign_events import MOST_MIRRORED
from batchyard.kube.event_sorter import HOLD_SECONDS, Sorter
from batchyard.kube.token_bucket import TokenBucket
from batchyard.metrics import Metrics
from batchyard.model.events import EventType
from batchyard.testing.fake_clock import FakeClock
from event_wire import POD, a_wire_event

OURS = "docs-search-0a1b2c-1"


class Bench:
    """A sorter that knows the places it is told of."""

    def __init__(self) -> None:
        self.clock, self.known = FakeClock(), {OURS: "batch"}
        self.sorter = Sorter(self._owner, self.clock, Metrics())
        self.sorter.begin("1")
        self._version = 1

    def _owner(self, namespace: str, name: str) -> str | None:
        found = [batch for place, batch in self.known.items() if name == place or name.startswith(f"{place}-")]
        return found[0] if found and namespace == "team" else None

    def hear(self, uid: str = "ev", **fields: Any) -> list[str]:
        self._version += 1
        event = a_wire_event(uid, version=self._version, **fields)
        return [row.key for row in self.sorter.hear(event, str(self._version))]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_an_event_about_an_object_of_ours_is_a_row(bench: Bench) -> None:
    assert bench.hear("a") == ["a/1"]
    assert bench.sorter.place == "2"


def test_events_about_the_rest_of_the_cluster_are_passed_over(bench: Bench) -> None:
    assert bench.hear(pod="nginx-7d9c-abcde") == []
    assert bench.sorter.place == "2"


def test_our_own_events_do_not_come_back_as_anothers(bench: Bench) -> None:
    assert bench.hear(reportingComponent="batchyard.dev/operator") == []


def test_an_event_that_is_quicker_than_our_notes_waits_for_them(bench: Bench) -> None:
    bench.known.clear()

    assert bench.hear("early") == []
    bench.known[OURS] = "batch"

    assert [row.key for row in bench.sorter.due()] == ["early/1"]
    assert bench.sorter.due() == []


def test_what_waits_keeps_the_place_so_that_a_crash_does_not_lose_it(bench: Bench) -> None:
    bench.known.clear()
    bench.hear("early")
    bench.hear(pod="nginx")
    bench.sorter.pass_by("90")

    assert bench.sorter.place == "1"
    bench.known[OURS] = "batch"
    bench.sorter.due()

    assert bench.sorter.place == "90"


def test_an_object_that_never_becomes_known_is_given_up(bench: Bench) -> None:
    bench.known.clear()
    bench.hear("early")

    bench.clock.advance(HOLD_SECONDS)

    assert bench.sorter.due() == []
    assert bench.sorter.place == "2"
    bench.known[OURS] = "batch"
    assert bench.sorter.due() == []


def test_a_like_name_in_another_namespace_is_not_ours(bench: Bench) -> None:
    assert bench.hear(namespace="another") == []

    bench.clock.advance(HOLD_SECONDS)

    assert bench.sorter.due() == []


def test_a_flood_that_might_be_ours_stays_bounded(bench: Bench) -> None:
    bench.known.clear()
    for number in range(5000):
        bench.hear(f"flood-{number}")
    bench.known[OURS] = "batch"

    assert [row.key for row in bench.sorter.due()][:3] == ["flood-4000/1", "flood-4001/1", "flood-4002/1"]


def test_a_batch_has_its_fill_once_and_says_so(bench: Bench) -> None:
    keys = [key for number in range(MOST_MIRRORED + 50) for key in bench.hear(f"ev-{number}")]

    assert keys[:MOST_MIRRORED] == [f"ev-{number}/1" for number in range(MOST_MIRRORED)]
    assert keys[MOST_MIRRORED:] == ["omitted/batch"]


def test_one_batchs_flood_takes_nothing_from_another(bench: Bench) -> None:
    bench.known["other-ffffff-1"] = "other"
    for number in range(MOST_MIRRORED + 1):
        bench.hear(f"ev-{number}")

    assert bench.hear("of-other", pod="other-ffffff-1-head") == ["of-other/1"]


def test_a_second_list_does_not_use_up_the_room(bench: Bench) -> None:
    for number in range(MOST_MIRRORED):
        bench.hear(f"ev-{number}")

    bench.sorter.begin_again()

    assert bench.hear("new") == ["new/1"]


def test_a_list_does_not_move_the_place(bench: Bench) -> None:
    rows = bench.sorter.hear(a_wire_event("listed", version=50), "")

    assert [row.key for row in rows] == ["listed/1"]
    assert bench.sorter.place == "1"


def test_the_row_that_says_enough_is_no_mirrored_event(bench: Bench) -> None:
    rows = [
        row
        for number in range(MOST_MIRRORED + 1)
        for row in bench.sorter.hear(a_wire_event(f"ev-{number}", pod=POD), "2")
    ]

    assert rows[-1].entry.type is EventType.KUBERNETES_EVENTS_OMITTED


def test_a_bucket_gives_its_burst_and_then_its_rate() -> None:
    bucket = TokenBucket(rate=2, burst=3, now=100)
    for _ in range(3):
        assert bucket.wait(100) == 0
        bucket.take(100)

    assert bucket.wait(100) == 0.5
    assert bucket.wait(100.5) == 0
    assert not bucket.is_full(100.5)
    assert bucket.is_full(200)


def test_a_bucket_does_not_mind_a_clock_that_goes_back() -> None:
    bucket = TokenBucket(rate=1, burst=1, now=100)
    bucket.take(100)

    assert bucket.wait(50) == 1
    assert bucket.wait(101) == 0
