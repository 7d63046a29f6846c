"""A queue of Kueue's in a namespace: with room for one batch, for others to take and to give back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from cluster.bed.kueue import DEPLOYMENT, MANAGED, NAMESPACE

if TYPE_CHECKING:
    from cluster.bed.client import Cluster

QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
PRIORITY_LABEL = "kueue.x-k8s.io/priority-class"
FLAVOUR = {"kubernetes.io/os": "linux"}
"""What every node of a Linux cluster has: Kueue puts it into the templates of what it admits."""
LACKS_QUOTA = "insufficient unused quota"
"""Kueue's words for what does not fit now."""
_API = "kueue.x-k8s.io/v1beta2"

Object = dict[str, Any]


class KueueBench:
    """A LocalQueue ``team-a`` of a namespace with its own quota: one CPU. Gone with its context."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        """Know the namespace; nothing is made."""
        self._cluster, self._namespace = cluster, namespace

    def __enter__(self) -> Self:
        self._cluster.one_node  # noqa: B018 - Kueue is in no other cluster of the tests
        self._cluster.kubectl("wait", "--for=condition=Available", "-n", NAMESPACE, f"deployment/{DEPLOYMENT}",
                              "--timeout=150s", timeout=160)  # fmt: skip
        self._cluster.kubectl("label", "namespace", self._namespace, f"{MANAGED}=true")
        self._cluster.apply(self._namespace, *self._objects())
        return self

    def __exit__(self, *_: object) -> None:
        for kind, name in self._of_the_cluster():
            self._cluster.kubectl("delete", kind, name, "--wait=false", "--ignore-not-found")

    def priority(self, name: str) -> str:
        """Return the name of this namespace's priority class ``low`` or ``high``."""
        return f"{name}-{self._namespace}"

    def take(self, name: str, priority: str) -> None:
        """Let another Job ask for nearly all of the quota."""
        pod = {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "securityContext": {"runAsNonRoot": True, "runAsUser": 65535, "seccompProfile": {"type": "RuntimeDefault"}},
            # It is about its quota alone: no node takes it.
            "nodeSelector": {"batchyard.dev/nowhere": "true"},
            "containers": [
                {
                    "name": "other",
                    "image": "nowhere.invalid/other:1",
                    "resources": {"requests": {"cpu": "950m"}},
                    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                }
            ],
        }
        labels = {QUEUE_LABEL: "team-a", PRIORITY_LABEL: self.priority(priority)}
        job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "labels": labels}}
        self._cluster.apply(self._namespace, job | {"spec": {"suspend": True, "template": {"spec": pod}}})

    def admitted(self, name: str) -> bool:
        """Tell whether Kueue has admitted a Job."""
        return self._cluster.get(self._namespace, "job", name)["spec"]["suspend"] is False

    def lacks_quota(self, name: str) -> bool:
        """Tell whether Kueue has said that there is no room for a Job."""
        about = "involvedObject.kind=Workload,type=Warning"
        said = self._cluster.read(f"/api/v1/namespaces/{self._namespace}/events", fieldSelector=about)["items"]
        return any(
            event["involvedObject"]["name"].startswith(f"job-{name}-") and LACKS_QUOTA in event["message"]
            for event in said
        )

    def give_back(self, name: str) -> None:
        """Remove such a Job, and with it its claim."""
        self._cluster.kubectl("delete", "job", "-n", self._namespace, name, "--cascade=foreground")

    def _of_the_cluster(self) -> list[tuple[str, str]]:
        return [
            ("clusterqueue", self._namespace),
            ("resourceflavor", self._namespace),
            *(("workloadpriorityclass", self.priority(name)) for name in ("low", "high")),
        ]

    def _objects(self) -> list[Object]:
        name = self._namespace
        quotas = [{"name": "cpu", "nominalQuota": "1"}, {"name": "memory", "nominalQuota": "8Gi"}]
        group = {"coveredResources": ["cpu", "memory"], "flavors": [{"name": name, "resources": quotas}]}
        queue = {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}},
            "preemption": {"withinClusterQueue": "LowerPriority"},
            "resourceGroups": [group],
        }
        return [
            _made("ResourceFlavor", name, spec={"nodeLabels": FLAVOUR}),
            *(
                _made("WorkloadPriorityClass", self.priority(word), value=value, description="of a test")
                for word, value in (("low", 1), ("high", 100))
            ),
            _made("ClusterQueue", name, spec=queue),
            _made("LocalQueue", "team-a", spec={"clusterQueue": name}),
        ]


def _made(kind: str, name: str, **rest: object) -> Object:
    return {"apiVersion": _API, "kind": kind, "metadata": {"name": name}, **rest}
