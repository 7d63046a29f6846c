"""The chart and the kustomize base, rendered by the real programs; no cluster is needed for that."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from cluster.bed.settings import CHECKOUT, process_environment

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

CHART = CHECKOUT / "charts" / "batchyard"
RELEASE, NAMESPACE = "batchyard", "batchyard-system"

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Programs:
    """Where the programs and the data files are."""

    helm: str
    kubeconform: str
    kubectl: str
    schemas: Path

    def run(self, *words: str | Path, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run one and return how it ended, well or not."""
        return subprocess.run(
            [str(word) for word in words],
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=120,
            env=process_environment(),
            check=False,
        )

    def template(
        self, values: Mapping[str, Any], *options: str, chart: Path = CHART
    ) -> subprocess.CompletedProcess[str]:
        """Render the chart and return how that ended."""
        place = ("--namespace", NAMESPACE, "--values", "-", *options)
        return self.run(self.helm, "template", RELEASE, chart, *place, stdin=yaml.safe_dump(dict(values)))

    def rendered(self, values: Mapping[str, Any], *options: str) -> str:
        """Render the chart; fail with what helm says if it does not."""
        done = self.template(values, *options)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def objects(self, values: Mapping[str, Any], *options: str) -> list[Object]:
        """Return the rendered objects."""
        return documents(self.rendered(values, *options))

    def kustomized(self, folder: Path) -> list[Object]:
        """Return what kubectl makes of a folder with a kustomization."""
        done = self.run(self.kubectl, "kustomize", folder)
        assert done.returncode == 0, done.stderr
        return documents(done.stdout)


def documents(text: str) -> list[Object]:
    """Return the YAML documents that are not empty."""
    # The loader in C: the definition alone takes a second with the other.
    return [document for document in yaml.load_all(text, Loader=yaml.CSafeLoader) if document]


def one(objects: Iterable[Object], kind: str, name: str = "") -> Object:
    """Return the only object of a kind, or that of a name."""
    found = [
        document for document in objects if document["kind"] == kind and name in {"", document["metadata"]["name"]}
    ]
    assert len(found) == 1, [document["metadata"]["name"] for document in found]
    return found[0]


def key(document: Object) -> tuple[str, str, str]:
    """Return what tells an object from others."""
    return document["kind"], document["metadata"].get("namespace", ""), document["metadata"]["name"]


def granted(roles: Iterable[Object]) -> set[tuple[str, str, str, str]]:
    """Return every right of some roles: group, resource, name or "", verb."""
    return {
        (group, resource, name, verb)
        for role in roles
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for name in _names(rule)
        for verb in rule["verbs"]
    }


def _names(rule: Object) -> Sequence[str]:
    return rule.get("resourceNames") or [""]
