"""Argo CD's scripts of health, in a real Lua 5.1 with no more of its libraries than Argo CD gives them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from lupa import lua51

from batchyard.model.outcome import Phase
from gitops_cases import A_NEWER_PHASE, CASES, WITHOUT_STATUS, GitOpsCase, Object, Told

ARGOCD = Path(__file__).parents[2] / "deploy" / "gitops" / "argocd"
HEALTH = (ARGOCD / "health.lua").read_text(encoding="utf-8")
APPLICATION = (ARGOCD / "application-health.lua").read_text(encoding="utf-8")
STATES = {"Healthy", "Progressing", "Degraded", "Suspended", "Missing", "Unknown"}
# What Argo CD opens if `useOpenLibs` is not set: package, base, table, and an os that can tell the time alone.
NOT_OPENED = ("string", "math", "io", "debug", "coroutine", "os", "python")


def health(body: Object, script: str = HEALTH) -> Told:
    """Return what Argo CD makes of an object."""
    # It asks no script about what is being deleted.
    if body["metadata"].get("deletionTimestamp"):
        return Told("Progressing", "Pending deletion")
    lua = lua51.LuaRuntime(register_eval=False, register_builtins=False)
    for name in NOT_OPENED:
        lua.globals()[name] = None
    lua.globals().obj = in_lua(lua, body)
    answer = dict(lua.execute(script))
    assert set(answer) <= {"status", "message"}
    assert answer["status"] in STATES
    assert isinstance(answer.get("message", ""), str)
    return Told(answer["status"], answer.get("message", ""))


def in_lua(lua: Any, value: Any) -> Any:
    """Return a value as Argo CD's decoder hands it over: null is nil, so it is not there."""
    match value:
        case dict():
            return lua.table_from({key: in_lua(lua, inner) for key, inner in value.items() if inner is not None})
        case list() | tuple():
            return lua.table_from([in_lua(lua, inner) for inner in value])
        case bool() | str():
            return value
        case int():
            return float(value)
        case _:
            return value


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

    assert health(body, APPLICATION) == told


def test_the_part_of_argo_cd_s_configuration_holds_the_scripts_as_they_are() -> None:
    part = yaml.safe_load((ARGOCD / "argocd-cm.yaml").read_text(encoding="utf-8"))

    assert part["data"] == {
        "resource.customizations.health.batchyard.dev_BatchTest": HEALTH,
        "resource.customizations.health.argoproj.io_Application": APPLICATION,
    }, "run `make golden`"
