"""What each value of the chart changes in what is rendered. ``test_chart`` holds that no value is left out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Object = dict[str, Any]

ABSENT = object()
"""Expected where nothing must be rendered."""

POD = "spec.template.spec"
OPERATOR = f"{POD}.containers.0"
DIGEST = f"sha256:{'0a' * 32}"
TOLERATION = {"key": "dedicated", "operator": "Exists"}
SPREAD = {
    "maxSkew": 1,
    "topologyKey": "topology.kubernetes.io/zone",
    "whenUnsatisfiable": "ScheduleAnyway",
    "labelSelector": {"matchLabels": {"app.kubernetes.io/component": "operator"}},
}
POSTGRESQL = {"postgresql": {"existingSecret": "store"}}
PEER = {"namespaceSelector": {"matchLabels": {"team": "a"}}}


@dataclass(frozen=True, slots=True)
class Case:
    """``value`` at ``path`` puts ``expected`` to ``place`` of the object of this kind and name."""

    path: str
    value: Any
    kind: str
    place: str
    expected: Any
    name: str = ""
    given: Object = field(default_factory=dict)
    """Other values that it needs."""


def env(name: str) -> str:
    """Return the place of a variable of the operator."""
    return f"{OPERATOR}.env.{name}.value"


def _deployed(path: str, value: Any, place: str, expected: Any = None, given: Object | None = None) -> Case:
    return Case(path, value, "Deployment", place, value if expected is None else expected, given=given or {})


def _monitor(group: str, kind: str, endpoints: str) -> list[Case]:
    on = {"monitoring": {group: {"enabled": True}}}
    return [
        Case(f"monitoring.{group}.enabled", True, kind, f"spec.{endpoints}.0.port", "metrics"),
        Case(f"monitoring.{group}.interval", "1m30s", kind, f"spec.{endpoints}.0.interval", "1m30s", given=on),
        Case(f"monitoring.{group}.scrapeTimeout", "3s", kind, f"spec.{endpoints}.0.scrapeTimeout", "3s", given=on),
        Case(f"monitoring.{group}.labels", {"team": "a"}, kind, "metadata.labels.team", "a", given=on),
    ]


_NAMES = [
    Case("fullnameOverride", "bench", "Deployment", "metadata.name", "bench"),
    Case("nameOverride", "bench", "Deployment", "metadata.name", "batchyard-bench"),
    Case("commonLabels", {"team": "a"}, "ServiceAccount", "metadata.labels.team", "a"),
]
_OPERATOR = [
    _deployed("watchNamespaces", ["a", "b"], env("BATCHYARD_WATCH_NAMESPACES"), "a b"),
    _deployed("replicas", 2, "spec.replicas", given=POSTGRESQL),
    _deployed("leaseSeconds", 30, env("BATCHYARD_LEASE_SECONDS"), "30"),
    _deployed("startupSeconds", 601, f"{OPERATOR}.startupProbe.failureThreshold", 301),
    _deployed("logFormat", "text", f"{OPERATOR}.args.0", "--log-format=text"),
    _deployed("logLevel", "warning", f"{OPERATOR}.args.1", "operator"),
    _deployed("logLevel", "debug", f"{OPERATOR}.args.1", "-vv"),
    _deployed("tracing.endpoint", "http://otel:4318", env("OTEL_EXPORTER_OTLP_ENDPOINT")),
    _deployed("extraEnv", [{"name": "A", "value": "b"}], env("A"), "b"),
]
_IMAGES = [
    _deployed("image.registry", "r.example", f"{OPERATOR}.image", "r.example/batchyard/operator:{version}"),
    _deployed("image.repository", "other/op", f"{OPERATOR}.image", "registry.example.com/other/op:{version}"),
    _deployed("image.tag", "9.9", f"{OPERATOR}.image", "registry.example.com/batchyard/operator:9.9"),
    _deployed("image.digest", DIGEST, f"{OPERATOR}.image", f"registry.example.com/batchyard/operator@{DIGEST}"),
    _deployed("image.pullPolicy", "Always", f"{OPERATOR}.imagePullPolicy"),
    _deployed(
        "runner.image.registry", "r.example", env("BATCHYARD_RUNNER_IMAGE"), "r.example/batchyard/runner:{version}"
    ),
    _deployed(
        "runner.image.repository",
        "other/run",
        env("BATCHYARD_RUNNER_IMAGE"),
        "registry.example.com/other/run:{version}",
    ),
    _deployed("runner.image.tag", "9.9", env("BATCHYARD_RUNNER_IMAGE"), "registry.example.com/batchyard/runner:9.9"),
    _deployed(
        "runner.image.digest", DIGEST, env("BATCHYARD_RUNNER_IMAGE"), f"registry.example.com/batchyard/runner@{DIGEST}"
    ),
    _deployed("runner.image.pullPolicy", "Always", env("BATCHYARD_IMAGE_PULL_POLICY")),
    _deployed("runner.rayVersion", "2.55.1", env("BATCHYARD_RAY_VERSION")),
    _deployed("imagePullSecrets", [{"name": "pull"}], f"{POD}.imagePullSecrets"),
]
_STORE = [
    Case("crds.install", False, "CustomResourceDefinition", "", ABSENT),
    Case("crds.keep", False, "CustomResourceDefinition", "metadata.annotations", ABSENT),
    Case("persistence.enabled", False, "PersistentVolumeClaim", "", ABSENT),
    _deployed("persistence.enabled", False, f"{POD}.volumes.data.emptyDir", {}),
    _deployed("persistence.existingClaim", "mine", f"{POD}.volumes.data.persistentVolumeClaim.claimName"),
    Case("persistence.existingClaim", "mine", "PersistentVolumeClaim", "", ABSENT),
    Case("persistence.storageClass", "fast", "PersistentVolumeClaim", "spec.storageClassName", "fast"),
    Case("persistence.storageClass", "-", "PersistentVolumeClaim", "spec.storageClassName", ""),
    Case("persistence.size", "1G", "PersistentVolumeClaim", "spec.resources.requests.storage", "1G"),
    Case(
        "persistence.accessModes",
        ["ReadWriteOncePod"],
        "PersistentVolumeClaim",
        "spec.accessModes",
        ["ReadWriteOncePod"],
    ),
    Case(
        "persistence.keep", True, "PersistentVolumeClaim", "metadata.annotations", {"helm.sh/resource-policy": "keep"}
    ),
    _deployed("postgresql.existingSecret", "store", f"{OPERATOR}.env.BATCHYARD_STORE.valueFrom.secretKeyRef.name"),
    _deployed("postgresql.existingSecret", "store", "spec.strategy.type", "RollingUpdate"),
    Case("postgresql.existingSecret", "store", "PersistentVolumeClaim", "", ABSENT),
    _deployed("postgresql.key", "dsn", f"{OPERATOR}.env.BATCHYARD_STORE.valueFrom.secretKeyRef.key", given=POSTGRESQL),
    _deployed("tls.existingSecret", "tls", f"{POD}.volumes.tls.secret.secretName"),
    _deployed("tls.existingSecret", "tls", env("BATCHYARD_RESULTS_URL"), "https://batchyard.batchyard-system.svc:8787"),
]
_RIGHTS = [
    Case("serviceAccount.create", False, "ServiceAccount", "", ABSENT),
    _deployed("serviceAccount.name", "robot", f"{POD}.serviceAccountName"),
    Case("serviceAccount.annotations", {"a": "b"}, "ServiceAccount", "metadata.annotations", {"a": "b"}),
    Case("rbac.create", False, "ClusterRoleBinding", "", ABSENT),
    Case("rbac.aggregate", False, "ClusterRole", "", ABSENT, name="batchyard-view"),
    Case(
        "rbac.readers",
        [{"kind": "Group", "name": "testers"}],
        "RoleBinding",
        "subjects",
        [{"kind": "Group", "name": "testers"}],
        name="batchyard-readers",
    ),
]
_POLICY = {"networkPolicy": {"enabled": True}}
_NETWORK = [
    Case("service.annotations", {"a": "b"}, "Service", "metadata.annotations", {"a": "b"}),
    Case("networkPolicy.enabled", True, "NetworkPolicy", "spec.policyTypes", ["Ingress"]),
    Case("networkPolicy.resultsFrom", [PEER], "NetworkPolicy", "spec.ingress.0.from", [PEER], given=_POLICY),
    Case("networkPolicy.metricsFrom", [PEER], "NetworkPolicy", "spec.ingress.1.from", [PEER], given=_POLICY),
    Case(
        "networkPolicy.apiServersFrom",
        [{"ipBlock": {"cidr": "10.0.0.1/32"}}],
        "NetworkPolicy",
        "spec.ingress.0.from.1.ipBlock.cidr",
        "10.0.0.1/32",
        given=_POLICY,
    ),
    Case("podDisruptionBudget.enabled", False, "PodDisruptionBudget", "", ABSENT, given={**POSTGRESQL, "replicas": 3}),
    Case(
        "podDisruptionBudget.minAvailable",
        2,
        "PodDisruptionBudget",
        "spec.minAvailable",
        2,
        given={**POSTGRESQL, "replicas": 3},
    ),
    Case(
        "podDisruptionBudget.minAvailable",
        "50%",
        "PodDisruptionBudget",
        "spec.minAvailable",
        "50%",
        given={**POSTGRESQL, "replicas": 3},
    ),
]
_DASHBOARD = {"monitoring": {"dashboard": {"enabled": True}}}
_RULE = {"monitoring": {"prometheusRule": {"enabled": True}}}
PAGE, PAGE_THERE = "spec.groups.0.rules.0.annotations.runbook_url", "https://w.example/r/BatchyardAbsent.html"
_MONITORING = [
    *_monitor("serviceMonitor", "ServiceMonitor", "endpoints"),
    *_monitor("podMonitor", "PodMonitor", "podMetricsEndpoints"),
    Case("monitoring.prometheusRule.enabled", True, "PrometheusRule", "metadata.name", "batchyard"),
    Case(
        "monitoring.prometheusRule.runbookUrl", "https://w.example/r/", "PrometheusRule", PAGE, PAGE_THERE, given=_RULE
    ),
    Case(
        "monitoring.prometheusRule.disabled",
        ["BatchyardAbsent"],
        "PrometheusRule",
        "spec.groups.0.rules.0.alert",
        "BatchyardNotLeading",
        given=_RULE,
    ),
    Case("monitoring.prometheusRule.labels", {"team": "a"}, "PrometheusRule", "metadata.labels.team", "a", given=_RULE),
    Case("monitoring.dashboard.enabled", True, "ConfigMap", "metadata.labels.grafana_dashboard", "1"),
    Case("monitoring.dashboard.labels", {"team": "a"}, "ConfigMap", "metadata.labels.team", "a", given=_DASHBOARD),
    Case("monitoring.dashboard.annotations", {"a": "b"}, "ConfigMap", "metadata.annotations.a", "b", given=_DASHBOARD),
]
_PODS = [
    _deployed(
        "extraVolumes",
        [{"name": "ca", "configMap": {"name": "ca"}}],
        f"{POD}.volumes.ca",
        {"name": "ca", "configMap": {"name": "ca"}},
    ),
    _deployed(
        "extraVolumeMounts", [{"name": "tmp", "mountPath": "/ca"}], f"{OPERATOR}.volumeMounts.2.mountPath", "/ca"
    ),
    _deployed("resources", {"limits": {"memory": "1Gi"}}, f"{OPERATOR}.resources.limits.memory", "1Gi"),
    _deployed("podSecurityContext", {"runAsUser": 7}, f"{POD}.securityContext.runAsUser", 7),
    _deployed("securityContext", {"runAsUser": 7}, f"{OPERATOR}.securityContext.runAsUser", 7),
    _deployed("podAnnotations", {"a": "b"}, "spec.template.metadata.annotations.a", "b"),
    _deployed("podLabels", {"a": "b"}, "spec.template.metadata.labels.a", "b"),
    _deployed("nodeSelector", {"a": "b"}, f"{POD}.nodeSelector"),
    _deployed("tolerations", [TOLERATION], f"{POD}.tolerations"),
    _deployed("affinity", {"podAntiAffinity": {}}, f"{POD}.affinity"),
    _deployed("topologySpreadConstraints", [SPREAD], f"{POD}.topologySpreadConstraints"),
    _deployed("priorityClassName", "high", f"{POD}.priorityClassName"),
]
CASES = [*_NAMES, *_OPERATOR, *_IMAGES, *_STORE, *_RIGHTS, *_NETWORK, *_MONITORING, *_PODS]


def values_of(case: Case) -> Object:
    """Return the values that a case gives to the chart."""
    return _merged(case.given, _nested(case.path, case.value))


def _nested(path: str, value: Any) -> Object:
    for key in reversed(path.split(".")):
        value = {key: value}
    nested: Object = value
    return nested


def _merged(one: Object, other: Object) -> Object:
    return {
        key: _merged(one[key], other[key])
        if isinstance(one.get(key), dict) and isinstance(other.get(key), dict)
        else other.get(key, one.get(key))
        for key in {**one, **other}
    }


def found_at(document: Any, place: str) -> Any:
    """Return what stands at a place, ABSENT if nothing does. In a list a key is a number, or a name in it."""
    for key in place.split(".") if place else []:
        if isinstance(document, list):
            named = [item for item in document if isinstance(item, dict) and item.get("name") == key]
            document = (
                named[0] if named else document[int(key)] if key.isdigit() and int(key) < len(document) else ABSENT
            )
        else:
            document = document.get(key, ABSENT) if isinstance(document, dict) else ABSENT
        if document is ABSENT:
            return ABSENT
    return document
