"""The outbox's publisher against a real API server: it takes every event we can make, once."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from batchyard.clock import SystemClock
from batchyard.decide.publish import HASH_ANNOTATION, PUBLISHED, SEQ_LABEL
from batchyard.engine.cluster_ports import ClusterRef
from batchyard.kube.recorder import OutboxPublisher
from batchyard.metrics import Metrics
from batchyard.model.audit import GENESIS, seal
from cluster.api import connected
from fake_events import FakeOutbox, an_item, in_this_thread

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchyard.engine.cluster_ports import OutboxItem
    from cluster.bed.client import Cluster

pytestmark = [pytest.mark.cluster]

T = TypeVar("T")


@pytest.fixture(autouse=True)
def kubeconfig(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))


def in_namespace_of(item: OutboxItem, namespace: str) -> OutboxItem:
    return replace(item, ref=replace(item.ref, namespace=namespace))


def post(items: Sequence[OutboxItem]) -> tuple[FakeOutbox, str]:
    """Post the items as far as one round goes; return what is left and the metrics."""
    outbox, metrics = FakeOutbox(items), Metrics()

    async def go() -> None:
        async with connected() as api:
            await OutboxPublisher(outbox, api, SystemClock(), metrics, in_thread=in_this_thread).post_due()

    asyncio.run(go())
    return outbox, metrics.render()[0].decode()


def events_of(cluster: Cluster, namespace: str) -> list[dict[str, Any]]:
    # In their newer form, as they were written.
    found: dict[str, Any] = json.loads(cluster.kubectl("get", "events.events.k8s.io", "-n", namespace, "-o", "json"))
    return [event for event in found["items"] if event["reportingController"] == "batchyard.dev/operator"]


def test_the_api_server_takes_every_type_of_event_and_keeps_which_entry_it_is(cluster: Cluster, namespace: str) -> None:
    items = [in_namespace_of(an_item("docs", seq, kind), namespace) for seq, kind in enumerate(sorted(PUBLISHED), 1)]

    outbox, _ = post(items)

    assert outbox.left == []
    told = events_of(cluster, namespace)
    assert {
        (event["reason"], event["metadata"]["labels"][SEQ_LABEL], event["metadata"]["annotations"][HASH_ANNOTATION])
        for event in told
    } == {(str(item.entry.entry.type), str(item.seq), item.entry.hash) for item in items}
    assert {event["regarding"]["uid"] for event in told} == {"uid-of-docs"}


def test_the_api_server_takes_the_longest_names_and_notes(cluster: Cluster, namespace: str) -> None:
    item = an_item()
    ref = ClusterRef(namespace, "a-b." * 62 + "abc", "uid")
    texts = ["€" * 5000, "", "line\nline\ttab \x1b[31m \0 \U0001f600"]
    entries = [seal(replace(item.entry.entry, message=text), seq, GENESIS) for seq, text in enumerate(texts, 1)]

    outbox, _ = post([replace(item, ref=ref, seq=sealed.seq, entry=sealed) for sealed in entries])

    assert outbox.left == []
    assert [row.error for row in outbox.waiting] == []
    assert len(events_of(cluster, namespace)) == len(texts)


@pytest.mark.proves("bug-28")
def test_a_crash_after_posting_leads_to_no_second_event(cluster: Cluster, namespace: str) -> None:
    items = [in_namespace_of(an_item(), namespace)]
    post(items)

    outbox, metrics = post(items)

    assert outbox.left == []
    assert 'batchyard_kubernetes_events_total{outcome="alreadyThere",reason="BatchStarted"} 1.0' in metrics
    assert len(events_of(cluster, namespace)) == 1


def test_kubectl_describes_a_batch_test_with_its_events(cluster: Cluster, namespace: str) -> None:
    post([in_namespace_of(an_item("docs"), namespace)])

    shown = cluster.kubectl("get", "events", "-n", namespace, "--field-selector", "reason=BatchStarted")

    assert "batchtest/docs" in shown
    assert "entry 1" in shown


def test_events_for_a_namespace_that_never_was_are_done_with(cluster: Cluster) -> None:
    outbox, metrics = post([in_namespace_of(an_item(), "no-such-namespace-here")])

    assert outbox.left == []
    assert 'outcome="nobodyToTell",reason="BatchStarted"} 1.0' in metrics


def test_events_for_a_namespace_that_is_being_deleted_are_done_with(cluster: Cluster, namespace: str) -> None:
    # Its finalizer keeps the namespace from going away before the event is posted.
    kept = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "kept", "finalizers": ["batchyard.dev/test"]},
    }
    cluster.apply(namespace, kept)
    cluster.kubectl("delete", "namespace", namespace, "--wait=false")
    try:
        outbox, metrics = post([in_namespace_of(an_item(), namespace)])
    finally:
        patch = '{"metadata": {"finalizers": null}}'
        cluster.kubectl("patch", "configmap", "kept", "-n", namespace, "--type=merge", "-p", patch)

    assert outbox.left == []
    assert 'outcome="nobodyToTell",reason="BatchStarted"} 1.0' in metrics
