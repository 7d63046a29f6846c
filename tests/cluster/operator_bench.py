"""An operator as a process of its own, watching one namespace of the real cluster, and batches to give it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

import httpx

from batchyard.decide.publish import PUBLISHED
from batchyard.model.audit import verify_chain
from batchyard.store.opening import open_cluster_store, open_store
from cluster import account
from cluster.bed.layout import GATEWAY
from cluster.bed.running import holds_within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from batchyard.engine.cluster_ports import EnvironmentRecord
    from batchyard.engine.ports import BatchRecord
    from batchyard.model.audit import SealedEntry
    from batchyard.model.trial import AttemptResult
    from cluster.bed.client import Cluster

RUNNER_IMAGE = "docker.io/batchyard/runner:test"
WORKFLOWS = Path(__file__).parents[1] / "workflows"

Object = dict[str, Any]


def code(name: str, *modules: str) -> Object:
    """Return a ConfigMap with these modules of tests/workflows."""
    data = {f"{module}.py": (WORKFLOWS / f"{module}.py").read_text() for module in modules}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def batch_test(
    name: str,
    module: str = "noop",
    *,
    cases: Sequence[Mapping[str, Any]] = ({"name": "one"},),
    variants: Sequence[str] = ("a", "b"),
    provider: str = "InProcess",
    **spec: Any,
) -> list[Object]:
    """Return a BatchTest of a workflow of tests/workflows, after the ConfigMap with its code.

    ``variants`` are the values of the dimension ``act``; further keywords are fields of the spec.
    """
    environment = {"provider": provider, **spec.pop("environment", {})}
    if provider == "KubeRay":
        environment.setdefault("kubeRay", {"workers": {"replicas": 1}})
    body: Object = {
        "workflow": {"factory": f"{module}:build", "source": {"configMapRef": {"name": f"{name}-code"}}},
        "variants": {"matrix": {"act": list(variants)}},
        "cases": [dict(case) for case in cases],
        "environment": environment,
        "parallelism": 2,
        **spec,
    }
    test = {"apiVersion": "batchyard.dev/v1alpha1", "kind": "BatchTest", "metadata": {"name": name}, "spec": body}
    return [code(f"{name}-code", module), test]


class Running(Protocol):
    """What a test does with a process that it started; ``subprocess.Popen`` is one."""

    @property
    def pid(self) -> int: ...

    def poll(self) -> int | None: ...

    def send_signal(self, sig: int) -> None: ...

    def wait(self, timeout: float | None = None) -> int: ...


class OperatorProcess:
    """One ``batchyard operator``; several may share a store. Ends with its context, killed if need be.

    It has the rights of an installed one, and is refused everything else.
    """

    def __init__(
        self,
        cluster: Cluster,
        namespace: str,
        folder: Path,
        *,
        options: Sequence[str] = (),
        ports: tuple[int, int] | None = None,
        store: str = "",
        results_url: str = "",
        lease_namespace: str = "",
        lease_seconds: float = 15.0,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """``folder`` keeps the log, and the store unless another is named; ``env`` is added to its environment.

        ``ports`` are those of an operator whose place this one takes. ``results_url`` is how pods reach it, if not
        directly.
        """
        self.cluster, self.namespace, self.folder = cluster, namespace, folder
        self.ports = ports or free_ports()
        self.results_port, self.metrics_port = self.ports
        self.store = store or str(folder / "store.db")
        self.log = folder / "operator.log"
        self._lease_seconds = lease_seconds
        self._lease_namespace = lease_namespace or namespace
        self.results_url = results_url or f"http://{GATEWAY}:{self.results_port}"
        self.kubeconfig: Path | None = None
        self._options, self._env = list(options), dict(env or {})
        self._process: Running | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        """Return the process's id."""
        assert self._process is not None
        return self._process.pid

    @property
    def command(self) -> list[str]:
        """Return how it is started."""
        return [
            *(sys.executable, "-m", "batchyard", "-v", "operator"),
            *("--results-url", self.results_url),
            *("--results-port", str(self.results_port), "--metrics-port", str(self.metrics_port)),
            *("--runner-image", RUNNER_IMAGE, "--image-pull-policy", "IfNotPresent"),
            *("--watch-namespace", self.namespace, "--namespace", self._lease_namespace),
            *("--lease-seconds", str(self._lease_seconds), "--store", self.store, *self._options),
        ]

    def start(self, *, wait: bool = True) -> None:
        """Start it, and wait until it is ready."""
        if self.kubeconfig is None:
            self.admit()
        self._process = self._spawn()
        if wait:
            self.until(90, "the operator to be ready", self.is_ready)

    def admit(self) -> None:
        """Give it its rights, again if the namespace was deleted with them."""
        self.kubeconfig = account.admit(self.cluster, self.namespace, self._lease_namespace, self.folder)

    def _spawn(self) -> Running:
        environment = {**os.environ, **self._env, "KUBECONFIG": str(self.kubeconfig)}  # noqa: TID251 - a child's
        with self.log.open("ab") as log:
            return subprocess.Popen(self.command, stdout=log, stderr=log, start_new_session=True, env=environment)

    def kill(self) -> None:
        """End it at once, if it runs."""
        self.signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait(30)

    def stop(self) -> int:
        """Ask it to end and return its exit code."""
        self.signal(signal.SIGTERM)
        assert self._process is not None
        return self._process.wait(30)

    def signal(self, number: int) -> None:
        """Send it a signal, if it runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    @property
    def exit_code(self) -> int | None:
        """Return how it ended, None while it runs."""
        return self._process.poll() if self._process is not None else None

    def start_again_if_ended(self) -> None:
        """Start it if it ended, having lost its Lease for one: what a Deployment would do."""
        if self.exit_code is not None:
            self.start()

    def leads(self) -> bool:
        """Return whether the store has this process as its leader."""
        with closing(open_cluster_store(self.store)) as store:
            known = store.leadership()
        return known is not None and f"_{self.pid}_" in known[1]

    def epoch(self) -> int:
        """Return how often leadership was taken."""
        with closing(open_cluster_store(self.store)) as store:
            known = store.leadership()
        return known[0] if known else 0

    def is_ready(self) -> bool:
        """Return whether it says that it is."""
        try:
            return httpx.get(f"http://127.0.0.1:{self.metrics_port}/readyz", timeout=2).status_code == 200
        except httpx.HTTPError:
            return False

    def metrics(self) -> dict[str, float]:
        """Return every sample by its name and labels."""
        text = httpx.get(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=10).text
        lines = (line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#"))
        return {name: float(value) for name, _, value in lines}

    # -- batches -----------------------------------------------------------------------------------------------

    def apply(self, *objects: Object) -> None:
        """Apply objects in the namespace."""
        self.cluster.apply(self.namespace, *objects)

    def get(self, name: str) -> Object:
        """Return a BatchTest."""
        return self.cluster.read(f"/apis/batchyard.dev/v1alpha1/namespaces/{self.namespace}/batchtests/{name}")

    def status(self, name: str) -> Object:
        """Return a BatchTest's status, empty if it has none yet."""
        found: Object = self.get(name).get("status") or {}
        return found

    def condition(self, name: str, kind: str) -> str:
        """Return a condition's status, "" if there is none."""
        conditions = self.status(name).get("conditions") or []
        return next((one["status"] for one in conditions if one["type"] == kind), "")

    def patch(self, name: str, spec: Object) -> None:
        """Change fields of a BatchTest's spec."""
        body = json.dumps({"spec": spec})
        self.cluster.kubectl("patch", "-n", self.namespace, "batchtest", name, "--type=merge", "-p", body)

    def has_finished(self, name: str) -> bool:
        """Return whether a batch is over."""
        return self.condition(name, "Finished") == "True"

    def finished(self, name: str, seconds: float = 90) -> Object:
        """Wait until the batch is over and its place is gone; return its status."""
        self.until(seconds, f"{name} to be finished", partial(self.has_finished, name), name)
        self.until(90, f"the places of {name} to be gone", lambda: not self.places())
        return self.status(name)

    def places(self) -> list[str]:
        """Return the Jobs, RayClusters, pods and Secrets of batches in the namespace."""
        kinds = {"jobs": "apis/batch/v1", "rayclusters": "apis/ray.io/v1", "pods": "api/v1", "secrets": "api/v1"}
        return [
            f"{kind}/{found['metadata']['name']}"
            for kind, group in kinds.items()
            for found in self.cluster.read(
                f"/{group}/namespaces/{self.namespace}/{kind}", labelSelector="batchyard.dev/uid"
            )["items"]
        ]

    def events(self, name: str) -> list[Object]:
        """Return the Kubernetes events of our own about a BatchTest, by audit sequence."""
        shown = self.cluster.read(f"/apis/events.k8s.io/v1/namespaces/{self.namespace}/events")
        with closing(open_cluster_store(self.store)) as store:
            where = store.cluster_ref(store.batch(name).id)
        mine = [
            event
            for event in shown["items"]
            if event.get("reportingController") == "batchyard.dev/operator"
            and where is not None
            and event["regarding"]["uid"] == where.uid
        ]
        return sorted(mine, key=lambda event: int(event["metadata"]["labels"]["batchyard.dev/audit-seq"]))

    def record(self, name: str) -> BatchRecord:
        """Return what the store has of a batch."""
        with open_store(self.store) as store:
            return store.batch(name)

    def results(self, name: str) -> list[AttemptResult]:
        """Return the final results of a batch."""
        with open_store(self.store) as store:
            return list(store.results(store.batch(name).id))

    def trail(self, name: str) -> list[SealedEntry]:
        """Return the audit trail of a batch."""
        with open_store(self.store) as store:
            return list(store.audit_entries(store.batch(name).id))

    def attempts(self, name: str) -> list[AttemptResult]:
        """Return the results of all attempts of a batch."""
        with open_store(self.store) as store:
            return list(store.results(store.batch(name).id, final_only=False))

    def batch_ids(self) -> list[str]:
        """Return the id of every batch that is not over."""
        with closing(open_cluster_store(self.store)) as store:
            return [batch_id for batch_id, _ in store.open_batches()]

    def has_begun(self, name: str) -> bool:
        """Return whether a batch is accepted."""
        return self.condition(name, "Accepted") == "True"

    def place_records(self, name: str) -> Sequence[EnvironmentRecord]:
        """Return every place that a batch was given, oldest first."""
        with closing(open_cluster_store(self.store)) as store:
            return store.environments(store.batch(name).id)

    def provider(self, name: str) -> str:
        """Return which provider a batch asked for."""
        with open_store(self.store) as store:
            found: str = store.batch(name).spec["spec"]["environment"]["provider"]
            return found

    def until(self, seconds: float, what: str, holds: Callable[[], bool], look_at: str = "") -> None:
        """Wait until a condition holds; else fail with the operator's last words and the state of the BatchTest."""
        if holds_within(seconds, holds, every=0.2):
            return
        shown = json.dumps(self.status(look_at), indent=1)[:3000] if look_at else ""
        words = self.log.read_text(errors="replace")[-3000:] if self.log.exists() else ""
        places = self.cluster.kubectl("get", "-n", self.namespace, "all")
        raise AssertionError(f"waited {seconds:.0f} s for {what}\n{shown}\n{places}\n{words}")


def check_trail(operator: OperatorProcess, name: str) -> None:
    """Check that the trail is whole, that the status has one of its heads, and that events and entries agree."""
    # In this order: what others say about the pods may still come in.
    record, trail = operator.record(name), operator.trail(name)
    assert verify_chain(trail[: record.audit_entries], record.audit_head) == ""
    anchored = operator.status(name)["audit"]
    assert trail[anchored["entries"] - 1].hash == anchored["head"]
    # The last entries and their events come after the end is told.
    operator.until(15, "an event for each entry", lambda: _posted(operator, name) == _published(operator, name), name)


def _posted(operator: OperatorProcess, name: str) -> list[tuple[int, str, str]]:
    return [
        (
            int(event["metadata"]["labels"]["batchyard.dev/audit-seq"]),
            event["metadata"]["annotations"]["batchyard.dev/audit-hash"],
            event["reason"],
        )
        for event in operator.events(name)
    ]


def _published(operator: OperatorProcess, name: str) -> list[tuple[int, str, str]]:
    trail = operator.trail(name)
    return [(sealed.seq, sealed.hash, sealed.entry.type.value) for sealed in trail if sealed.entry.type in PUBLISHED]


def free_ports() -> tuple[int, int]:
    """Return two ports that nobody listens to now."""
    with socket.socket() as one, socket.socket() as other:
        one.bind(("", 0))
        other.bind(("", 0))
        return one.getsockname()[1], other.getsockname()[1]


def own_events(trail: Sequence[SealedEntry]) -> Iterator[SealedEntry]:
    """Yield the entries that were seen by the operator or a worker, not mirrored."""
    return (sealed for sealed in trail if sealed.entry.source != "kubernetes")
