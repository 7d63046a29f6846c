"""What the chart renders, against the published schemas of every Kubernetes that is supported and of Prometheus."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import yaml

from cluster.chart_bench import CHART, one
from cluster.chart_values import CASES, values_of
from cluster.json_schemas import FILE, write_definitions, write_schemas

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from cluster.chart_bench import Object, Programs

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

OLDEST = "1.30"
MANY = {
    "watchNamespaces": ["a"],
    "replicas": 3,
    "postgresql": {"existingSecret": "store"},
    "tls": {"existingSecret": "tls"},
    "rbac": {"readers": [{"kind": "Group", "name": "testers", "apiGroup": "rbac.authorization.k8s.io"}]},
    "networkPolicy": {"enabled": True, "metricsFrom": [{"namespaceSelector": {}}]},
    "monitoring": {
        "podMonitor": {"enabled": True},
        "prometheusRule": {"enabled": True},
        "dashboard": {"enabled": True},
    },
}


class Judge:
    """kubeconform with the schemas of some kinds."""

    def __init__(self, programs: Programs, folder: Path, kinds: Iterable[tuple[str, str]]) -> None:
        """Write the schemas, a folder for each version of Kubernetes."""
        self._programs, self._folder = programs, folder
        found = list(kinds)
        self.versions = sorted(path.name for path in (programs.schemas / "kubernetes").iterdir())
        for version in self.versions:
            (folder / version).mkdir()
            write_schemas(programs.schemas / "kubernetes" / version / "swagger.json", found, folder / version)
        (folder / "prometheus").mkdir()
        for kind in ("servicemonitors", "podmonitors", "prometheusrules"):
            write_definitions(
                (programs.schemas / "prometheus-operator").glob(f"*/*_{kind}.yaml"), folder / "prometheus"
            )

    def faults(self, version: str, documents: Sequence[Object]) -> list[str]:
        """Return what is wrong with documents for one version; a kind without a schema is a fault too."""
        places = [f"-schema-location={self._folder}/{name}/{FILE}" for name in (version, "prometheus")]
        # JSON is YAML, and much quicker written.
        text = "\n---\n".join(json.dumps(document) for document in documents)
        done = self._programs.run(
            self._programs.kubeconform, "-strict", "-output=json", "-summary", *places, stdin=text
        )
        said = json.loads(done.stdout)
        assert sum(said["summary"].values()) == len(documents), said["summary"]
        return [f"{one['kind']} {one['name']}: {one['msg']}" for one in said["resources"]]


def test_all_that_the_chart_renders_is_valid_for_every_supported_version(programs: Programs, tmp_path: Path) -> None:
    values = [{}, MANY, *(values_of(case) for case in CASES)]
    small = ({**given, "crds": {"install": False, **given.get("crds", {})}} for given in values)
    rendered = [*programs.objects({}), *(found for given in small for found in programs.objects(given))]
    documents = list({json.dumps(document, sort_keys=True): document for document in rendered}.values())

    judge = Judge(programs, tmp_path, {(document["apiVersion"], document["kind"]) for document in documents})

    assert len(judge.versions) >= 3
    assert judge.versions[0].startswith(f"v{OLDEST}.")
    assert {version: judge.faults(version, documents) for version in judge.versions} == {
        version: [] for version in judge.versions
    }


@pytest.mark.parametrize(("kind", "place"), [("Deployment", ("spec", "template")), ("ServiceMonitor", ("spec",))])
def test_a_field_that_kubernetes_does_not_know_would_be_found(
    programs: Programs, tmp_path: Path, kind: str, place: Sequence[str]
) -> None:
    rendered = programs.objects({"monitoring": {"serviceMonitor": {"enabled": True}}, "crds": {"install": False}})
    document = one(rendered, kind)
    below = document
    for key in place:
        below = below[key]
    below["replica"] = 1

    judge = Judge(programs, tmp_path, {(document["apiVersion"], document["kind"])})

    faults = judge.faults(judge.versions[-1], [document])
    assert len(faults) == 1
    assert "replica" in faults[0]


def test_the_chart_refuses_a_kubernetes_that_is_older_than_the_schemas_that_it_is_checked_with(
    programs: Programs,
) -> None:
    described = yaml.safe_load((CHART / "Chart.yaml").read_text())

    refused = programs.template({}, "--kube-version=1.29.9")

    assert described["kubeVersion"] == f">={OLDEST}.0-0"
    assert "which is incompatible with Kubernetes v1.29.9" in refused.stderr
