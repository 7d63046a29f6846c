"""The kustomize base, the definitions and the example overlay, built by the real kubectl."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import yaml

from batchyard.model.crd import crd_document
from cluster.bed.settings import CHECKOUT
from cluster.chart_bench import documents, key, one

if TYPE_CHECKING:
    from cluster.chart_bench import Programs

pytestmark = pytest.mark.cluster

DEPLOY = CHECKOUT / "deploy"


def test_the_base_is_what_the_one_file_for_kubectl_apply_holds(programs: Programs) -> None:
    built = programs.kustomized(DEPLOY / "kustomize" / "base")

    assert sorted(built, key=key) == sorted(documents((DEPLOY / "operator.yaml").read_text()), key=key)


def test_the_definitions_are_built_by_themselves_so_that_deleting_the_operator_keeps_the_batch_tests(
    programs: Programs,
) -> None:
    built = programs.kustomized(DEPLOY / "kustomize" / "crds")

    assert built == [yaml.safe_load(yaml.safe_dump(crd_document()))]


def test_the_example_overlay_sets_both_images_and_nothing_else(programs: Programs) -> None:
    base = programs.kustomized(DEPLOY / "kustomize" / "base")

    built = programs.kustomized(DEPLOY / "kustomize" / "example")

    registry = "registry.mycompany.example"
    container = one(built, "Deployment")["spec"]["template"]["spec"]["containers"][0]
    runner = next(variable for variable in container["env"] if variable["name"] == "BATCHYARD_RUNNER_IMAGE")
    assert container["image"].startswith(f"{registry}/batchyard/operator:")
    assert runner["value"].startswith(f"{registry}/batchyard/runner:")
    text = yaml.safe_dump_all(sorted(built, key=key)).replace(registry, "registry.example.com")
    # The order of variables is the overlay's.
    assert sorted(text.splitlines()) == sorted(yaml.safe_dump_all(sorted(base, key=key)).splitlines())


def test_the_check_after_each_sync_is_the_batch_of_the_repository_as_a_hook_of_argo_cd(programs: Programs) -> None:
    batches = programs.kustomized(DEPLOY / "gitops" / "batches")

    built = programs.kustomized(DEPLOY / "gitops" / "argocd" / "post-sync")

    assert one(built, "BatchTest")["metadata"].pop("annotations") == {
        "argocd.argoproj.io/hook": "PostSync",
        "argocd.argoproj.io/hook-delete-policy": "BeforeHookCreation",
    }
    assert sorted(built, key=key) == sorted(batches, key=key)


def test_the_code_of_a_batch_of_the_repository_cannot_change_so_that_the_batch_can_be_amended(
    programs: Programs,
) -> None:
    built = programs.kustomized(DEPLOY / "gitops" / "batches")

    code = one(built, "ConfigMap")
    assert code["immutable"] is True
    assert one(built, "BatchTest")["spec"]["workflow"]["source"]["configMapRef"]["name"] == code["metadata"]["name"]
