"""What the chart makes of what is in the cluster already: claims that hold results, and other operators."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from cluster.chart_bench import NAMESPACE, documents, one
from cluster.lookup_bench import claim, deployment, looking_at, operator

if TYPE_CHECKING:
    from pathlib import Path

    from cluster.chart_bench import Object, Programs

pytestmark = pytest.mark.cluster

POSTGRESQL = {"postgresql": {"existingSecret": "batchyard-store"}, "replicas": 2}
CLAIM = "PersistentVolumeClaim"


@pytest.mark.parametrize(
    "values",
    [POSTGRESQL, {"persistence": {"existingClaim": "other"}}, {"persistence": {"enabled": False}}],
    ids=["PostgreSQL", "another claim", "no volume"],
)
def test_an_upgrade_that_moves_the_store_elsewhere_keeps_the_claim_with_all_results(
    programs: Programs, tmp_path: Path, values: Object
) -> None:
    kept = claim(resources={"requests": {"storage": "50Gi"}}, accessModes=["ReadWriteOncePod"])

    with looking_at(tmp_path, kept) as options:
        found = one(programs.objects(values, "--is-upgrade", *options), CLAIM)

    assert found["metadata"]["name"] == "batchyard"
    assert found["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert found["spec"] == kept["spec"]


@pytest.mark.parametrize(
    ("objects", "options"),
    [([], ["--is-upgrade"]), ([claim()], []), ([claim("other")], ["--is-upgrade"])],
    ids=["there is none", "it is left from before this release", "it is another release's"],
)
def test_with_postgresql_no_claim_is_taken_in_that_this_release_did_not_use(
    programs: Programs, tmp_path: Path, objects: list[Object], options: list[str]
) -> None:
    with looking_at(tmp_path, *objects) as looking:
        rendered = programs.objects(POSTGRESQL, *options, *looking)

    assert CLAIM not in {document["kind"] for document in rendered}


def test_a_claim_that_is_in_use_goes_with_the_release_after_an_upgrade_too(programs: Programs, tmp_path: Path) -> None:
    with looking_at(tmp_path, claim()) as options:
        found = one(programs.objects({}, "--is-upgrade", *options), CLAIM)

    assert "annotations" not in found["metadata"]


@pytest.mark.parametrize(
    ("there", "mine", "said"),
    [
        (operator("b"), [], "the release batchyard in namespace b watches all namespaces too"),
        (operator("b"), ["team-x"], "the release batchyard in namespace b watches team-x too"),
        (operator("b", "team-x", "team-y"), [], "the release batchyard in namespace b watches team-x, team-y too"),
        (
            operator("b", "team-x", "team-y"),
            ["team-y", "team-z"],
            "the release batchyard in namespace b watches team-y too",
        ),
        (operator(NAMESPACE, release="other"), [], f"the release other in namespace {NAMESPACE} watches all"),
        (operator("b", release="", name="bench"), [], "the Deployment bench in namespace b watches all namespaces"),
    ],
)
@pytest.mark.parametrize("options", [(), ("--is-upgrade",)], ids=["install", "upgrade"])
def test_an_operator_is_refused_whose_namespaces_another_watches(
    programs: Programs, tmp_path: Path, there: Object, mine: list[str], said: str, options: tuple[str, ...]
) -> None:
    with looking_at(tmp_path, there) as looking:
        done = programs.template({"watchNamespaces": mine}, *options, *looking)

    assert done.returncode != 0
    assert f"watchNamespaces: {said}" in done.stderr


@pytest.mark.parametrize(
    ("there", "mine"),
    [
        (operator(NAMESPACE), []),
        (operator("b", "team-x"), ["team-y"]),
        (deployment("b", {"name": "web"}, release="web", name="web"), []),
    ],
    ids=["this release's", "one that watches others", "no operator"],
)
def test_a_deployment_that_does_not_take_the_same_batchtests_is_no_hindrance(
    programs: Programs, tmp_path: Path, there: Object, mine: list[str]
) -> None:
    with looking_at(tmp_path, there) as looking:
        assert programs.objects({"watchNamespaces": mine}, *looking)


@pytest.mark.parametrize(
    "values",
    [{"checkOtherOperators": False}, {"watchNamespaces": ["a"], "crds": {"install": False}}],
    ids=["told not to look", "rights in namespaces only"],
)
def test_whoever_may_not_list_deployments_can_install_all_the_same(
    programs: Programs, tmp_path: Path, values: dict[str, Any]
) -> None:
    with looking_at(tmp_path, forbidden=["deployments"]) as looking:
        done = programs.template(values, *looking)

    assert done.returncode == 0, done.stderr
    assert documents(done.stdout)
