"""The mirror against a real API server: what kubelet and scheduler say about our pods reaches the trail."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from batchyard.clock import SystemClock
from batchyard.engine.cluster_ports import ClusterRef
from batchyard.kube.mirror import EventMirror
from batchyard.metrics import Metrics
from batchyard.model.events import EventType
from cluster.api import connected
from cluster.bed.layout import ETCD_PORT, LOOPBACK
from cluster.pods import restricted_pod
from fake_events import FakeMirrorStore, in_this_thread, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from batchyard.apiserver.client import ApiClient
    from batchyard.model.audit import AuditEntry
    from cluster.bed.client import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.alone]

PLACE = "docs-search-0a1b2c-1"


@pytest.fixture(autouse=True)
def kubeconfig(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))


class Mirroring:
    """A mirror of one namespace, or of all, into a fake store."""

    def __init__(self, namespace: str, *, everywhere: bool = False) -> None:
        self.store, self.namespace = FakeMirrorStore(), namespace
        self.store.open = [("batch", ClusterRef(namespace, "docs-search", "uid"))]
        self.watched = () if everywhere else (namespace,)
        self.woken: list[str] = []

    @asynccontextmanager
    async def running(self) -> AsyncIterator[ApiClient]:
        async with connected() as api:
            mirror = EventMirror(
                self.store,
                api,
                SystemClock(),
                Metrics(),
                namespaces=self.watched,
                owner_of=self._owner_of,
                woken=self.woken.append,
                in_thread=in_this_thread,
            )
            task = asyncio.create_task(mirror.run())
            try:
                yield api
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    def _owner_of(self, namespace: str, name: str) -> str | None:
        return "batch" if namespace == self.namespace and name.startswith(PLACE) else None

    @property
    def reasons(self) -> list[object]:
        return [entry.details.get("reason") for entry in self.store.rows.values()]

    def new(self, before: Mapping[str, AuditEntry]) -> list[AuditEntry]:
        return [entry for key, entry in self.store.rows.items() if key not in before]

    @property
    def gaps(self) -> list[AuditEntry]:
        return [entry for entry in self.store.rows.values() if entry.type is EventType.MIRROR_GAP]

    @property
    def place(self) -> str:
        return next(iter(self.store.places.values()), "")


def run(scenario: Any) -> None:
    asyncio.run(asyncio.wait_for(scenario, 100))


def forget_history() -> None:
    """Have etcd forget all but what there is now."""
    etcd = f"http://{LOOPBACK}:{ETCD_PORT}/v3"
    status = httpx.post(f"{etcd}/maintenance/status", json={}).raise_for_status().json()
    httpx.post(f"{etcd}/kv/compaction", json={"revision": status["header"]["revision"]}).raise_for_status()


def a_pod(name: str, image: str = "operator", **spec: Any) -> dict[str, Any]:
    pod = restricted_pod(name, image, ["true"])
    pod["spec"] |= spec
    return pod


@pytest.mark.parametrize("everywhere", [False, True])
def test_why_a_pod_cannot_run_reaches_the_trail(cluster: Cluster, namespace: str, *, everywhere: bool) -> None:
    async def scenario() -> None:
        mirroring = Mirroring(namespace, everywhere=everywhere)
        async with mirroring.running():
            cluster.apply(
                namespace,
                a_pod(f"{PLACE}-head", nodeSelector={"no": "such-node"}),
                a_pod(f"{PLACE}-worker", image="no-such-image"),
                a_pod("somebody-elses", nodeSelector={"no": "such-node"}),
            )
            await until(lambda: {"FailedScheduling", "Failed"} <= set(mirroring.reasons), 60)

        entries = list(mirroring.store.rows.values())
        [unschedulable] = [entry for entry in entries if entry.details["reason"] == "FailedScheduling"]
        assert unschedulable.details["name"] == f"{PLACE}-head"
        assert "node selector" in unschedulable.message or "affinity" in unschedulable.message
        assert {entry.source for entry in entries} == {"kubernetes"}
        assert set(mirroring.woken) == {"batch"}

    run(scenario())


def test_a_restarted_mirror_misses_nothing_and_repeats_nothing(cluster: Cluster, namespace: str) -> None:
    async def scenario() -> None:
        mirroring = Mirroring(namespace)
        async with mirroring.running():
            cluster.apply(namespace, a_pod(f"{PLACE}-a"))
            await until(lambda: "Scheduled" in mirroring.reasons, 30)
        before = dict(mirroring.store.rows)
        cluster.apply(namespace, a_pod(f"{PLACE}-b"))
        cluster.until(30, "pod b over", lambda: _phase(cluster, namespace, f"{PLACE}-b") in {"Succeeded", "Failed"})
        async with mirroring.running():
            await until(lambda: any(entry.details["name"] == f"{PLACE}-b" for entry in mirroring.new(before)), 30)

        assert before.items() <= mirroring.store.rows.items()
        assert mirroring.gaps == []

    run(scenario())


def test_what_etcd_has_forgotten_is_recorded_as_a_gap(cluster: Cluster, namespace: str) -> None:
    cluster.one_node  # noqa: B018 - another cluster's etcd is not ours to compact

    async def scenario() -> None:
        mirroring = Mirroring(namespace)
        async with mirroring.running():
            await until(lambda: mirroring.place, 30)
        old, _, since = mirroring.place.partition("@")
        cluster.apply(namespace, a_pod(f"{PLACE}-a"))
        cluster.until(30, "an event", lambda: PLACE in cluster.kubectl("get", "events", "-n", namespace))
        forget_history()
        async with mirroring.running():
            await until(lambda: mirroring.gaps, 30)
            await until(lambda: "Scheduled" in mirroring.reasons, 30)

        [gap] = mirroring.gaps
        assert gap.details["fromResourceVersion"] == old
        assert int(str(gap.details["toResourceVersion"])) > int(old)
        assert gap.details["since"] == since

    run(scenario())


def test_a_place_of_another_clusters_time_does_not_make_the_mirror_deaf(cluster: Cluster, namespace: str) -> None:
    async def scenario() -> None:
        mirroring = Mirroring(namespace)
        mirroring.store.places[f"events/{namespace}"] = "99999999999@2026-01-02T03:00:00+00:00"
        async with mirroring.running():
            cluster.apply(namespace, a_pod(f"{PLACE}-a"))
            await until(lambda: "Scheduled" in mirroring.reasons, 30)

        assert len(mirroring.gaps) == 1

    run(scenario())


def test_the_mirror_outlives_an_api_server_that_goes_away(cluster: Cluster, namespace: str) -> None:
    server = cluster.one_node.program("kube-apiserver")

    async def scenario() -> None:
        mirroring = Mirroring(namespace)
        async with mirroring.running():
            await until(lambda: mirroring.place, 30)
            await asyncio.to_thread(server.stop, grace=0)
            await asyncio.to_thread(cluster.one_node.up)
            cluster.apply(namespace, a_pod(f"{PLACE}-a"))
            await until(lambda: "Scheduled" in mirroring.reasons, 90)

        assert mirroring.gaps == []

    run(scenario())


def _phase(cluster: Cluster, namespace: str, pod: str) -> object:
    return cluster.get(namespace, "pod", pod)["status"]["phase"]
