"""The ServiceAccount that an operator of the tests runs as: with the rights of ``deploy/operator.yaml``, and no others.

So every test with an operator shows that these are enough: what they do not allow is refused.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cluster.bed.client import Cluster

DEPLOY = Path(__file__).parents[2] / "deploy" / "operator.yaml"
# Unlike that of an installed operator, which watches all namespaces.
NAME = "batchyard-of-some"
PEOPLE = frozenset({"reader", "viewer"})
"""Accounts that stand for people: what they ask for is no operator's."""
# Whoever watches only chosen namespaces need not hear which kinds there are in the cluster.
CLUSTER_WIDE = frozenset({"customresourcedefinitions"})
_RBAC = "rbac.authorization.k8s.io"
_HOURS = "12h"

Object = dict[str, Any]


def rules(kind: str) -> list[Object]:
    """Return the rules of the manifest's ClusterRole or Role."""
    found = (one for one in yaml.safe_load_all(DEPLOY.read_text(encoding="utf-8")) if one["kind"] == kind)
    return list(next(found)["rules"])


def rules_for_batches() -> list[Object]:
    """Return what an operator may do in a namespace of BatchTests that it was told to watch."""
    return [rule for rule in rules("ClusterRole") if not CLUSTER_WIDE & set(rule["resources"])]


def admit(cluster: Cluster, watched: str, own: str, folder: Path) -> Path:
    """Make the account in ``own``, let it do in both namespaces what it must, and return a kubeconfig of it."""
    documents = [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": NAME, "namespace": own}},
        *_role("batches", watched, own, rules_for_batches()),
        *_role("own", own, own, rules("Role")),
    ]
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": documents}))
    # What was granted is known to the API server a moment later.
    cluster.until(30, f"{NAME} to be let in", lambda: _may(cluster, own, "batchtests", watched))
    cluster.until(30, f"{NAME} to be let in", lambda: _may(cluster, own, "leases", own))
    return kubeconfig_of(cluster, NAME, own, folder / "kubeconfig")


def kubeconfig_of(cluster: Cluster, name: str, namespace: str, file: Path) -> Path:
    """Write the tests' own kubeconfig with an account of a namespace in it; return the file."""
    token = cluster.kubectl("create", "token", name, "-n", namespace, f"--duration={_HOURS}").strip()
    known: Object = json.loads(cluster.kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "json"))
    known["users"] = [{"name": name, "user": {"token": token}}]
    for context in known["contexts"]:
        context["context"] |= {"user": name, "namespace": namespace}
    file.write_text(json.dumps(known), encoding="utf-8")
    file.chmod(0o600)
    return file


def _may(cluster: Cluster, own: str, what: str, where: str) -> bool:
    user = f"--as=system:serviceaccount:{own}:{NAME}"
    return cluster.attempt("auth", "can-i", "get", f"{what}/batchyard-operator", "-n", where, user).returncode == 0


def _role(name: str, namespace: str, own: str, allowed: list[Object]) -> Iterator[Object]:
    metadata = {"name": f"{NAME}-{name}", "namespace": namespace}
    yield {"apiVersion": f"{_RBAC}/v1", "kind": "Role", "metadata": metadata, "rules": allowed}
    yield {
        "apiVersion": f"{_RBAC}/v1",
        "kind": "RoleBinding",
        "metadata": metadata,
        "roleRef": {"apiGroup": _RBAC, "kind": "Role", "name": metadata["name"]},
        "subjects": [{"kind": "ServiceAccount", "name": NAME, "namespace": own}],
    }
