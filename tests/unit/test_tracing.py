"""Spans as data, the settings that ask for them, and an exporter that holds nobody up."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from batchyard import config
from batchyard.engine.attempts import Ended
from batchyard.model.outcome import Outcome
from batchyard.model.trial import AttemptResult, NodeBoundary
from batchyard.tracing import is_wanted, open_traces
from batchyard.tracing.spans import span_id, spans_of_attempt, trace_id
from otlp_receiver import Receiver, receiving

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchyard.engine.attempts import BatchTestRunner, Order, RunnerEvent, Stop

BEGUN = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"

RESULT = AttemptResult(
    trial_id="a/one/0", ordinal=0, combination="a", case="one", repeat=0, attempt=1, epoch=1, outcome=Outcome.PASSED,
    reason="", message="a text of the user's", started_at=BEGUN, ended_at=BEGUN + timedelta(seconds=5),
    duration_seconds=5.0,
)  # fmt: skip


class OneEnd:
    """A runner that has the end of one attempt to tell."""

    def __init__(self, result: AttemptResult) -> None:
        self._left: list[RunnerEvent] = [Ended(result)]

    def submit(self, order: Order) -> None:
        raise NotImplementedError

    def next_event(self, timeout: float | None) -> RunnerEvent | None:
        return self._left.pop() if self._left else None

    def pause(self, ordinal: int) -> None:
        raise NotImplementedError

    def stop(self, stop: Stop) -> Sequence[Order]:
        return []

    def close(self) -> None:
        return


def ran(node: str, seconds: float, step: int, status: str = "completed") -> NodeBoundary:
    return NodeBoundary(node, status, seconds, step=step)


def test_the_ids_of_a_batch_follow_from_its_own_and_differ_from_anothers() -> None:
    assert trace_id("one-1a2b3c") == trace_id("one-1a2b3c")
    assert len({trace_id("one-1a2b3c"), trace_id("one-1a2b3d")}) == 2
    assert len({span_id("one"), span_id("one", "a/b/0", 1, 1), span_id("one", "a/b/0", 2, 1), span_id("two")}) == 4
    assert 0 < trace_id("one") < 2**128
    assert 0 < span_id("one") < 2**64


def test_nodes_of_a_step_begin_together_as_the_step_before_has_ended() -> None:
    nodes = (ran("first", 1.0, 1), ran("left", 2.0, 2), ran("right", 0.5, 2), ran("last", 1.0, 3))

    _, first, left, right, last = spans_of_attempt(replace(RESULT, boundaries=nodes), "batch")

    seconds = [
        ((span.begun - BEGUN).total_seconds(), (span.ended - BEGUN).total_seconds())
        for span in (first, left, right, last)
    ]
    assert seconds == [(0.0, 1.0), (1.0, 3.0), (1.0, 1.5), (3.0, 4.0)]


def test_no_node_ends_after_its_attempt() -> None:
    attempt, node = spans_of_attempt(replace(RESULT, boundaries=(ran("slow", 9.0, 1),)), "batch")

    assert node.ended == attempt.ended


@pytest.mark.parametrize(
    ("outcome", "status", "failed"),
    [
        (Outcome.PASSED, "completed", False),
        (Outcome.FAILED, "failed", True),
        (Outcome.TIMED_OUT, "running", True),
        (Outcome.CANCELLED, "running", None),
        (Outcome.NEEDS_INPUT, "interrupted", None),
    ],
)
def test_what_failed_is_marked(outcome: Outcome, status: str, failed: bool | None) -> None:
    result = replace(RESULT, outcome=outcome, boundaries=(ran("node", 1.0, 1, status),))

    attempt, node = spans_of_attempt(result, "batch")

    assert (attempt.failed, node.failed) == (failed, failed)


def test_no_text_of_a_workflow_is_in_a_span() -> None:
    spans = spans_of_attempt(replace(RESULT, outcome=Outcome.FAILED, reason="NodeRaised"), "batch")

    assert "user's" not in repr(spans)


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({}, False),
        ({ENDPOINT: ""}, False),
        ({ENDPOINT: "http://here"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://here/v1/traces"}, True),
        ({ENDPOINT: "http://here", "OTEL_SDK_DISABLED": "True"}, False),
        ({ENDPOINT: "http://here", "OTEL_TRACES_EXPORTER": "none"}, False),
    ],
)
def test_traces_are_made_only_where_an_endpoint_is_set(settings: dict[str, str], wanted: bool) -> None:
    assert is_wanted(settings) is wanted


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_BSP_MAX_QUEUE_SIZE", "1"),
        ("OTEL_BSP_SCHEDULE_DELAY", "-1"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "a while"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "tight"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere.pem"),
    ],
)
def test_a_setting_that_cannot_be_used_leaves_the_runner_as_it_is(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:1")
    monkeypatch.setenv(name, value)

    with open_traces() as traces:
        event = traces.over(OneEnd(RESULT), "batch").next_event(0)

    assert event == Ended(RESULT)


def test_spans_that_wait_are_sent_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving() as receiver:
        monkeypatch.setenv(ENDPOINT, receiver.url)

        with open_traces() as traces:
            runner: BatchTestRunner = traces.over(OneEnd(RESULT), "batch")
            runner.next_event(0)

    assert [span.attributes["batchyard.trial"] for span in receiver.spans] == ["a/one/0"]


def test_a_collector_that_stalls_is_given_up_after_two_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving(Receiver(stalls=True)) as receiver:
        monkeypatch.setenv(ENDPOINT, receiver.url)
        begun = time.monotonic()

        with open_traces() as traces:
            traces.over(OneEnd(RESULT), "batch").next_event(0)
            told = time.monotonic() - begun
        ended = time.monotonic() - begun

    assert ended - told < 2 + 3


def test_pods_get_the_settings_but_no_secret_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        ENDPOINT: "http://collector:4318",
        "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer known",
        "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "authorization=Bearer known",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://me:known@collector/v1/traces",
        "OTEL_EXPORTER_OTLP_CLIENT_KEY": "/etc/key.pem",
        "OTEL_RESOURCE_ATTRIBUTES": "k8s.pod.name=batchyard-0",
        "OTEL_SERVICE_NAME": "bench",
    }.items():
        monkeypatch.setenv(name, value)

    assert config.telemetry_for_pods() == {ENDPOINT: "http://collector:4318", "OTEL_SERVICE_NAME": "bench"}


def test_a_collectors_headers_count_as_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "authorization=Bearer known")

    assert "authorization=Bearer known" in config.inherited_secrets().values()
