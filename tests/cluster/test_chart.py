"""The chart, rendered by the real helm: every value, its schema, its version, its rights."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import TYPE_CHECKING

import pytest
import yaml
from chart_readme import leaves

from batchyard import __version__
from batchyard.model.crd import crd_document
from cluster.bed.settings import CHECKOUT
from cluster.chart_bench import CHART, NAMESPACE, documents, granted, one
from cluster.chart_values import ABSENT, CASES, found_at, values_of
from pod_security import violations

if TYPE_CHECKING:
    from pathlib import Path

    from cluster.chart_bench import Object, Programs
    from cluster.chart_values import Case

pytestmark = pytest.mark.cluster

VALUES = (CHART / "values.yaml").read_text()


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.path}-{case.kind}-{case.place}")
def test_a_value_is_found_where_it_belongs_and_not_without_it(programs: Programs, case: Case) -> None:
    # The definition is large, and takes most of the time.
    options = () if case.path.startswith("crds.") else ("--set=crds.install=false",)
    without = _at(_once(programs, json.dumps(case.given), *options), case)

    found = _at(programs.objects(values_of(case), *options), case)

    expected = case.expected.format(version=__version__) if isinstance(case.expected, str) else case.expected
    assert found == expected
    assert without != expected


def test_every_value_has_a_case() -> None:
    # The one that changes nothing that is rendered is in test_chart_lookups.
    assert {case.path for case in CASES} == {value.path for value in leaves(VALUES)} - {"checkOtherOperators"}


def test_the_schema_knows_exactly_the_values_that_there_are() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())

    known = set(_paths(schema, schema, ""))

    assert {value.path for value in leaves(VALUES)} == known - {"global"}


def test_helm_lint_finds_nothing(programs: Programs) -> None:
    done = programs.run(programs.helm, "lint", "--strict", "--quiet", CHART)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_chart_has_the_version_of_the_package() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())

    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)


def test_a_package_holds_every_file_and_renders_as_the_folder_does(programs: Programs, tmp_path: Path) -> None:
    packed = programs.run(programs.helm, "package", CHART, "--destination", tmp_path)

    assert packed.returncode == 0, packed.stderr
    archive = tmp_path / f"batchyard-{__version__}.tgz"
    assert programs.template({}, chart=archive).stdout == programs.rendered({})


def test_the_definition_is_that_of_this_version_and_stays_when_the_release_goes(programs: Programs) -> None:
    found = one(programs.objects({}), "CustomResourceDefinition")

    metadata = found.pop("metadata")
    assert metadata["name"] == "batchtests.batchyard.dev"
    assert metadata["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert found["spec"] == json.loads(json.dumps(crd_document()["spec"]))


def test_the_rights_are_those_of_the_file_for_kubectl(programs: Programs) -> None:
    plain = documents((CHECKOUT / "deploy" / "operator.yaml").read_text())

    rendered = programs.objects({})

    for kind in ("ClusterRole", "Role"):
        assert granted([one(rendered, kind, "batchyard")]) == granted([one(plain, kind)])


def test_with_namespaces_the_operator_has_the_same_rights_there_and_none_in_the_cluster(programs: Programs) -> None:
    everywhere = granted([one(programs.objects({}), "ClusterRole", "batchyard")])

    rendered = programs.objects({"watchNamespaces": ["a", "b"]})

    kinds = {document["kind"] for document in rendered}
    assert not kinds & {"ClusterRole", "ClusterRoleBinding"}
    roles = {role["metadata"]["namespace"]: granted([role]) for role in rendered if role["kind"] == "Role"}
    assert set(roles) == {"a", "b", NAMESPACE}
    of_the_cluster = {("apiextensions.k8s.io", "customresourcedefinitions")}
    for namespace in ("a", "b"):
        assert roles[namespace] == {right for right in everywhere if right[:2] not in of_the_cluster}
    bound = {binding["metadata"]["namespace"] for binding in rendered if binding["kind"] == "RoleBinding"}
    assert bound == set(roles)


@pytest.mark.parametrize("watched", [[], ["a"], [NAMESPACE]], ids=["all", "another", "its own"])
def test_the_operator_may_keep_the_token_for_readers_whatever_it_watches(
    programs: Programs, watched: list[str]
) -> None:
    rendered = programs.objects({"watchNamespaces": watched})

    here = [
        role
        for role in rendered
        if role["kind"] in {"Role", "ClusterRole"} and role["metadata"].get("namespace", NAMESPACE) == NAMESPACE
    ]
    rights = {
        verb
        for group, resource, name, verb in granted(here)
        if (group, resource) == ("", "secrets") and name in {"", "batchyard-read"}
    }
    assert rights == {"get", "create", "patch"}


def test_what_the_operator_fills_in_is_deleted_with_the_release(programs: Programs) -> None:
    rendered = programs.objects({})

    lease, secret = one(rendered, "Lease"), one(rendered, "Secret")
    assert (lease["metadata"]["name"], secret["metadata"]["name"]) == ("batchyard-operator", "batchyard-read")
    # What is not written here, Helm leaves to the operator.
    assert "spec" not in lease
    assert "data" not in secret


def test_nothing_that_is_rendered_has_a_finalizer_or_more_than_the_restricted_profile_allows(
    programs: Programs,
) -> None:
    rendered = programs.objects({})

    assert not [document for document in rendered if document["metadata"].get("finalizers")]
    pods = [one(rendered, "Deployment")["spec"]["template"], one(rendered, "Pod")]
    assert [violations(pod) for pod in pods] == [[], []]


def test_the_alerts_and_the_dashboard_come_through_as_they_are(programs: Programs) -> None:
    monitoring = {"prometheusRule": {"enabled": True}, "dashboard": {"enabled": True}}

    rendered = programs.objects({"monitoring": monitoring})

    rules = yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())
    assert one(rendered, "PrometheusRule")["spec"] == rules
    shown = json.loads(one(rendered, "ConfigMap")["data"]["batchyard.json"])
    assert shown == json.loads((CHART / "files" / "dashboard.json").read_text())


def test_nobody_but_a_test_gets_through_a_policy_without_peers(programs: Programs) -> None:
    rendered = programs.objects({"networkPolicy": {"enabled": True, "resultsFrom": []}})

    rules = one(rendered, "NetworkPolicy")["spec"]["ingress"]
    test = one(rendered, "Pod")["metadata"]["labels"]
    assert len(rules) == 1
    allowed = rules[0]["from"][0]["podSelector"]["matchLabels"]
    assert allowed.items() <= test.items()


def test_the_service_and_the_budget_choose_the_operator_and_not_the_test(programs: Programs) -> None:
    rendered = programs.objects({"replicas": 2, "postgresql": {"existingSecret": "store"}})

    operator = one(rendered, "Deployment")["spec"]["template"]["metadata"]["labels"]
    test = one(rendered, "Pod")["metadata"]["labels"]
    for selector in (
        one(rendered, "Service")["spec"]["selector"],
        one(rendered, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
    ):
        assert selector.items() <= operator.items()
        assert not selector.items() <= test.items()


def test_names_stay_within_what_kubernetes_allows_for_a_long_release(programs: Programs) -> None:
    long = "r" * 53

    done = programs.run(programs.helm, "template", long, CHART)

    names = [document["metadata"]["name"] for document in documents(done.stdout)]
    assert all(re.fullmatch(r"[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?", name) for name in names), names


@cache
def _once(programs: Programs, values: str, *options: str) -> list[Object]:
    """Return the rendered objects; most cases are compared with the same ones."""
    return programs.objects(json.loads(values), *options)


def _at(objects: list[Object], case: Case) -> object:
    """Return what stands where a case looks; ABSENT if the object is not there."""
    of_kind = [document for document in objects if document["kind"] == case.kind]
    named = [document for document in of_kind if case.name in {"", document["metadata"]["name"]}]
    return found_at(named[0], case.place) if named else ABSENT


def _paths(schema: Object, whole: Object, path: str) -> list[str]:
    """Return the path of every value that a schema names; one with free keys is one value."""
    if reference := schema.get("$ref"):
        schema = whole["$defs"][reference.rpartition("/")[2]]
    if path in {"resources", "affinity"} or "properties" not in schema:
        return [path]
    return [
        inner
        for key, below in schema["properties"].items()
        for inner in _paths(below, whole, f"{path}.{key}" if path else key)
    ]
