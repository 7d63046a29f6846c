"""Kueue in the cluster, from its own manifests; it looks after namespaces that carry a label of ours, and no others."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import yaml

from cluster.bed import archives, node
from cluster.bed.running import run

if TYPE_CHECKING:
    from pathlib import Path

    from cluster.bed.tools import Tools

MANAGED = "batchyard.dev/kueue"
"""Label of a namespace, ``"true"``, whose Jobs and RayClusters Kueue holds back."""
NAMESPACE = "kueue-system"
DEPLOYMENT = "kueue-controller-manager"
_IMAGE = "docker.io/batchyard/kueue:pinned"
_FRAMEWORKS = ("batch/job", "ray.io/raycluster")
_WEBHOOKS = ("mjob.kb.io", "vjob.kb.io", "mraycluster.kb.io", "vraycluster.kb.io")
_OWN = "kueue.x-k8s.io"

Object = dict[str, Any]


class Kueue:
    """Kueue's controller on one cluster, as a pod of it."""

    def __init__(self, tools: Tools, state: Path, kubeconfig: Path) -> None:
        """Know the cluster; nothing is started."""
        self._tools = tools
        self._state = state
        self._kubeconfig = kubeconfig

    def start(self) -> None:
        """Let the cluster have it; does not wait until it works, which takes it a minute."""
        socket = node.socket(self._state)
        if _IMAGE not in run("ctr", "-a", socket, "-n", archives.NAMESPACE, "images", "list", "-q").split():
            archive = self._state / "kueue.tar"
            archives.write_single_program_image(self._program, _IMAGE, archive)
            archives.import_into(socket, archive)
            archive.unlink()
        made = {"apiVersion": "v1", "kind": "List", "items": self.manifests()}
        # The definitions are too large for a client-side apply.
        self._kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(made))

    def manifests(self) -> list[Object]:
        """Return Kueue's own manifests, cut down to what Batchyard has to do with."""
        config = self._tools.files("kueue") / "config" / "default"
        # Its folders name each other.
        rendered = run(self._tools.program("kube", "kubectl"), "kustomize", str(config))
        made = (_fitted(document) for document in yaml.safe_load_all(rendered))
        return [document for document in made if document is not None]

    @property
    def _program(self) -> Path:
        return self._tools.folders["kueue"] / "kueue"

    def _kubectl(self, *arguments: str, stdin: str) -> None:
        kubectl = self._tools.program("kube", "kubectl")
        run(kubectl, f"--kubeconfig={self._kubeconfig}", *arguments, stdin=stdin, timeout=120)


def _fitted(document: Object) -> Object | None:
    match document["kind"]:
        case "APIService":  # of the visibility server, which does not run
            return None
        case "ConfigMap":
            _configure(document)
        case "Deployment":
            _deploy(document)
        case "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration":
            document["webhooks"] = [_narrowed(hook) for hook in document["webhooks"] if _wanted(hook)]
    return document


def _configure(config_map: Object) -> None:
    (name,) = config_map["data"]
    configuration = yaml.safe_load(config_map["data"][name])
    configuration["integrations"]["frameworks"] = list(_FRAMEWORKS)
    configuration["leaderElection"] = {"leaderElect": False}
    config_map["data"][name] = yaml.safe_dump(configuration)


def _deploy(deployment: Object) -> None:
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    container |= {"image": _IMAGE, "imagePullPolicy": "Never", "command": ["/kueue"]}
    container["args"].append("--feature-gates=VisibilityOnDemand=false")
    container["resources"] = {"requests": {"cpu": "50m", "memory": "128Mi"}}


def _wanted(hook: Object) -> bool:
    return hook["name"] in _WEBHOOKS or hook["rules"][0]["apiGroups"] == [_OWN]


def _narrowed(hook: Object) -> Object:
    if hook["name"] in _WEBHOOKS:
        hook["namespaceSelector"] = {"matchLabels": {MANAGED: "true"}}
    return hook
