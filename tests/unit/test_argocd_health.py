"""Argo CD's scripts of health, as Argo CD runs them."""

from __future__ import annotations

import pytest
import yaml

from argo_lua import APPLICATION_HEALTH, ARGOCD, HEALTH, health
from batchyard.model.outcome import Phase
from gitops_cases import A_NEWER_PHASE, CASES, WITHOUT_STATUS, GitOpsCase, Object, Told


@pytest.mark.parametrize("case", [*CASES, WITHOUT_STATUS, A_NEWER_PHASE], ids=lambda case: case.name)
def test_argo_cd_shows_a_batchtest_as_it_stands(case: GitOpsCase) -> None:
    assert health(case.body) == case.argo


def test_every_phase_is_among_the_cases() -> None:
    assert {case.status["phase"] for case in CASES if case.status and "phase" in case.status} == set(Phase)


@pytest.mark.parametrize("status", [{}, {"phase": "Running"}, {"conditions": []}, {"observedGeneration": 1}])
def test_half_a_status_is_no_verdict(status: Object) -> None:
    case = GitOpsCase("half", Told("Progressing"), Told("InProgress"), status)

    assert health(case.body).state == "Progressing"


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (None, Told("Progressing", "waiting for its first comparison")),
        ({"health": {}}, Told("Progressing", "waiting for its first comparison")),
        ({"health": {"status": "Degraded", "message": "a batch failed"}}, Told("Degraded", "a batch failed")),
        ({"health": {"status": "Healthy"}}, Told("Healthy")),
    ],
)
def test_a_wave_waits_for_the_applications_of_the_wave_before(status: Object | None, told: Told) -> None:
    body = {"metadata": {"name": "batchyard-operator"}, "status": status}

    assert health(body, APPLICATION_HEALTH) == told


def test_the_part_of_argo_cd_s_configuration_holds_the_scripts_as_they_are() -> None:
    part = yaml.safe_load((ARGOCD / "argocd-cm.yaml").read_text(encoding="utf-8"))

    assert part["data"] == {
        "resource.customizations.health.batchyard.dev_BatchTest": HEALTH,
        "resource.customizations.health.argoproj.io_Application": APPLICATION_HEALTH,
    }, "run `make golden`"
