"""What Flux makes of BatchTests, by its own libraries, and the samples for Argo CD and Flux against their definitions.

Needs the programs of the test bed, not its cluster.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
import yaml

from cluster.bed import settings, tools
from cluster.bed.client import go_without
from cluster.bed.running import BedFailed, run
from gitops_cases import A_NEWER_PHASE, CASES, WITHOUT_STATUS, GitOpsCase, Object, Told

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

ROOT = settings.CHECKOUT
SAMPLES = ROOT / "deploy" / "gitops"
ALL = [*CASES, WITHOUT_STATUS, A_NEWER_PHASE]


def manifests() -> Iterator[tuple[str, Object]]:
    """Yield every document of the samples that Argo CD or Flux reads, with the file it is in."""
    for file in sorted(SAMPLES.rglob("*.yaml")):
        for document in yaml.safe_load_all(file.read_text(encoding="utf-8")):
            if document.get("apiVersion", "").partition("/")[0].endswith(("toolkit.fluxcd.io", "argoproj.io")):
                yield str(file.relative_to(SAMPLES)), document


MANIFESTS = [pytest.param(document, id=f"{file}-{document['metadata']['name']}") for file, document in manifests()]


@pytest.fixture(scope="session")
def built() -> tools.Tools:
    """The programs and definitions that these tests need."""
    wanted = settings.read()
    try:
        tools.build(wanted, "kstatus", "gitops")
    except BedFailed as err:
        go_without(str(err))
    return tools.located(wanted)


@pytest.fixture(scope="session")
def definitions(built: tools.Tools) -> Mapping[tuple[str, str], Object]:
    """The schemas of the kinds of Argo CD and Flux, by version and kind."""
    found = {}
    for file in built.files("gitops").rglob("*.yaml"):
        spec = yaml.load(file.read_text(encoding="utf-8"), yaml.CSafeLoader)["spec"]
        for version in spec["versions"]:
            schema = strict(version["schema"]["openAPIV3Schema"])
            found[f"{spec['group']}/{version['name']}", spec["names"]["kind"]] = schema
    return found


def strict(schema: Any, *, whole: bool = True) -> Any:
    """Return a schema that refuses fields it does not name, as a strict server does."""
    match schema:
        case dict():
            made = {key: strict(inner, whole=False) for key, inner in schema.items()}
            free = "additionalProperties" in schema or schema.get("x-kubernetes-preserve-unknown-fields")
            if isinstance(schema.get("properties"), dict) and schema.get("type") == "object" and not free and not whole:
                made["additionalProperties"] = False
            return made
        case list():
            return [strict(inner, whole=False) for inner in schema]
        case _:
            return schema


def asked(built: tools.Tools, bodies: Sequence[Object], exprs: Mapping[str, str] | None = None) -> list[Told]:
    """Return what Flux's libraries say of objects."""
    questions = json.dumps([{"object": body, "exprs": exprs} for body in bodies])
    answers = json.loads(run(built.program("kstatus", "kstatus"), stdin=questions, timeout=60))
    assert len(answers) == len(bodies)
    return [Told(answer["status"] or "Error", answer["message"] or answer["error"]) for answer in answers]


@pytest.fixture(scope="session")
def told(built: tools.Tools) -> Mapping[str, Told]:
    """What kstatus says of every case."""
    return dict(zip((case.name for case in ALL), asked(built, [case.body for case in ALL]), strict=True))


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
def test_kstatus_shows_a_batchtest_as_it_stands(told: Mapping[str, Told], case: GitOpsCase) -> None:
    shown = told[case.name]

    assert shown.state == case.kstatus.state
    assert shown.message == case.kstatus.message


def test_where_the_verdict_does_not_matter_flux_waits_for_the_end_of_every_batch(built: tools.Tools) -> None:
    (sample,) = yaml.safe_load_all((SAMPLES / "flux" / "verdict-does-not-matter.yaml").read_text(encoding="utf-8"))
    (exprs,) = sample["spec"]["healthCheckExprs"]
    assert (exprs["apiVersion"], exprs["kind"]) == ("batchyard.dev/v1alpha1", "BatchTest")
    # Deletion is looked at before the expressions are, and without a status there is nothing that they could read.
    cases = [case for case in CASES if "deletionTimestamp" not in case.metadata]

    answers = asked(built, [case.body for case in cases], {"current": exprs["current"]})

    ended = {"Current": "Current", "Failed": "Current", "InProgress": "InProgress"}
    assert {case.name: answer.state for case, answer in zip(cases, answers, strict=True)} == {
        case.name: ended[case.kstatus.state] for case in cases
    }


@pytest.mark.parametrize("document", MANIFESTS)
def test_a_sample_is_what_argo_cd_and_flux_know(
    definitions: Mapping[tuple[str, str], Object], document: Object
) -> None:
    schema = definitions[document["apiVersion"], document["kind"]]

    errors = jsonschema.Draft202012Validator(schema).iter_errors(document)

    assert [f"{error.json_path}: {error.message}" for error in errors] == []


def test_a_misspelt_field_of_a_sample_would_be_found(definitions: Mapping[tuple[str, str], Object]) -> None:
    for _, document in manifests():
        misspelt = {**document, "spec": {**document["spec"], "intervall": "5m"}}
        validator = jsonschema.Draft202012Validator(definitions[document["apiVersion"], document["kind"]])
        assert not validator.is_valid(misspelt)


def paths(value: Any) -> Iterator[str]:
    """Yield every path within the repository that a sample names."""
    match value:
        case dict():
            for key, inner in value.items():
                if key in {"path", "chart"} and isinstance(inner, str):
                    yield inner
                else:
                    yield from paths(inner)
        case list():
            for inner in value:
                yield from paths(inner)


def test_every_folder_that_a_sample_names_is_in_the_checkout() -> None:
    named = {path for _, document in manifests() for path in paths(document["spec"])}

    assert len(named) >= 5
    assert {path for path in named if not (ROOT / path).is_dir()} == set()


def test_the_values_in_the_samples_are_values_of_the_chart_and_leave_the_definition_to_others() -> None:
    schema = json.loads((ROOT / "charts" / "batchyard" / "values.schema.json").read_text(encoding="utf-8"))
    (flux,) = (document["spec"]["values"] for _, document in manifests() if document["kind"] == "HelmRelease")
    (argo,) = (
        document["spec"]["source"]["helm"]["valuesObject"]
        for _, document in manifests()
        if "helm" in document["spec"].get("source", {})
    )

    for values in (argo, flux):
        assert values["crds"] == {"install": False}
        # The chart's own names no registry that there is.
        assert values["image"]["registry"] == values["runner"]["image"]["registry"] == "registry.mycompany.example"
        jsonschema.validate(values, schema)


def applied(folder: Path) -> Iterator[Object]:
    """Yield what Flux applies of a folder; without a kustomization that is all in it."""
    kustomization = folder / "kustomization.yaml"
    there = [file.name for file in folder.glob("*.yaml")]
    names = yaml.safe_load(kustomization.read_text(encoding="utf-8"))["resources"] if kustomization.exists() else there
    for name in names:
        yield from yaml.load_all((folder / name).read_text(encoding="utf-8"), yaml.CSafeLoader)


def made_before(document: Object, ours: Sequence[Object]) -> Iterator[str]:
    """Yield the namespaces that are made by the Kustomizations which one of Flux depends on."""
    names = {one["name"] for one in document["spec"].get("dependsOn", [])}
    for needed in (one for one in ours if one["metadata"]["name"] in names):
        objects = applied(ROOT / needed["spec"]["path"])
        yield from (found["metadata"]["name"] for found in objects if found["kind"] == "Namespace")
        yield from made_before(needed, ours)


def test_every_namespace_that_flux_is_to_put_something_into_is_made_before() -> None:
    ours = [document for _, document in manifests() if document["kind"] == "Kustomization"]
    targets = [document for document in ours if "targetNamespace" in document["spec"]]

    assert targets
    for document in targets:
        assert document["spec"]["targetNamespace"] in set(made_before(document, ours))


def test_argo_cd_makes_every_namespace_that_it_is_to_put_something_into_but_its_own() -> None:
    ours = [document["spec"] for _, document in manifests() if document["kind"] == "Application"]
    targets = [spec for spec in ours if spec["destination"].get("namespace", "argocd") != "argocd"]

    assert targets
    for spec in targets:
        assert "CreateNamespace=true" in spec["syncPolicy"]["syncOptions"]


def test_a_failed_upgrade_is_tried_again_and_never_rolled_back_to_an_operator_that_refuses_the_store() -> None:
    (release,) = (document for _, document in manifests() if document["kind"] == "HelmRelease")

    assert release["spec"]["upgrade"] == {"strategy": {"name": "RetryOnFailure"}}


def test_definitions_come_before_the_operator_and_that_before_batches() -> None:
    waves = {
        document["metadata"]["name"]: int(document["metadata"]["annotations"]["argocd.argoproj.io/sync-wave"])
        for file, document in manifests()
        if file.startswith("argocd/apps/")
    }
    needs = {
        document["metadata"]["name"]: [one["name"] for one in document["spec"].get("dependsOn", [])]
        for _, document in manifests()
        if document["kind"] == "Kustomization"
    }

    assert waves == {"batchyard-crds": -2, "batchyard-operator": -1, "batchyard-batches": 1}
    assert needs == {
        "batchyard-crds": [],
        "batchyard-operator": ["batchyard-crds"],
        "batchyard-batches": ["batchyard-operator"],
    }
