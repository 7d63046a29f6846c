"""Batches that a GitOps tool applies again and again: nothing drifts, and nothing that is over runs again."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from argo_lua import health
from batchyard.model.events import EventType
from cluster.bed.settings import CHECKOUT
from cluster.operator_bench import OperatorProcess, batch_test, own_events

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cluster.bed.client import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

Object = dict[str, Any]

BATCHES = CHECKOUT / "deploy" / "gitops" / "batches"
ARGO = "argocd-controller"
SERVER_SIDE = ("--server-side", f"--field-manager={ARGO}")
CLIENT_SIDE = ("--server-side=false",)
RESYNCS = 8
_DIFFS = 20


class Tool:
    """What a GitOps tool does to a namespace, by kubectl. It takes no field from anybody by force."""

    def __init__(self, cluster: Cluster, namespace: str, folder: Path) -> None:
        self._cluster, self._namespace, self._folder = cluster, namespace, folder

    def sync(self, objects: Sequence[Object], *how: str) -> None:
        """Apply objects."""
        said = self.refusal(objects, *how)
        assert said == ""

    def refusal(self, objects: Sequence[Object], *how: str) -> str:
        """Return what is said against applying objects, warnings too; "" if nothing is."""
        return self._attempt("apply", objects, *how).stderr

    def drift(self, objects: Sequence[Object], *how: str) -> str:
        """Return how the cluster differs from objects.

        kubectl reads what is there and asks what would be, one after the other: where an operator wrote a status in
        between, it is asked again.
        """
        for _ in range(_DIFFS):
            done = self._attempt("diff", objects, *how)
            assert done.returncode in {0, 1}, done.stderr
            if "\n-  resourceVersion:" not in done.stdout:
                break
        return done.stdout + done.stderr

    def _attempt(self, verb: str, objects: Sequence[Object], *how: str) -> subprocess.CompletedProcess[str]:
        file = self._folder / "manifests.json"
        file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}), encoding="utf-8")
        return self._cluster.attempt(verb, "-n", self._namespace, *how, "-f", str(file))


@pytest.fixture
def tool(cluster: Cluster, namespace: str, tmp_path: Path) -> Tool:
    """A GitOps tool that looks after a namespace."""
    return Tool(cluster, namespace, tmp_path)


def rendered(cluster: Cluster, folder: Path) -> list[Object]:
    """Return what kustomize makes of a folder, the BatchTest last."""
    return list(yaml.safe_load_all(cluster.kubectl("kustomize", str(folder))))


def bundled() -> list[Object]:
    """Return the large example as it would stand in a repository."""
    file = CHECKOUT / "examples" / "docs_search" / "batchtest.yaml"
    command = [sys.executable, "-m", "batchyard", "bundle", str(file), "--name", "docs-search-1"]
    return list(yaml.safe_load_all(subprocess.run(command, check=True, capture_output=True).stdout))


def everything(operator: OperatorProcess, name: str) -> Object:
    """Return all that would be different if a batch had run again."""
    found = operator.get(name)
    return {
        "uid": found["metadata"]["uid"],
        "generation": found["metadata"]["generation"],
        # The trail goes on growing while others' events about the batch's pods come in.
        "status": {key: value for key, value in found["status"].items() if key != "audit"},
        "batch": operator.record(name).id,
        "places": [place.name for place in operator.place_records(name)],
        "attempts": len(operator.attempts(name)),
        "trail": [(sealed.entry.type, sealed.entry.message) for sealed in own_events(operator.trail(name))],
        "left": operator.places(),
    }


def over(operator: OperatorProcess, name: str) -> Object:
    """Wait until a batch is over and its place is told as given back, the last of its trail; return the status."""
    status = operator.finished(name)
    operator.until(30, "its place to be told as given back", lambda: _is_told_as_released(operator, name), name)
    return status


def _is_told_as_released(operator: OperatorProcess, name: str) -> bool:
    return any(sealed.entry.type is EventType.ENVIRONMENT_RELEASED for sealed in operator.trail(name))


def let_the_operator_look(operator: OperatorProcess) -> None:
    """Wait until the operator has seen what was applied until now: it ends a batch that is younger."""
    operator.apply(*batch_test("younger"))
    assert operator.finished("younger")["phase"] == "Succeeded"


def test_a_finished_batch_shows_no_drift_and_runs_no_more_however_often_it_is_applied(
    operator: OperatorProcess, tool: Tool
) -> None:
    name, objects = "docs-search-1", bundled()
    tool.sync(objects, *SERVER_SIDE)
    assert over(operator, name)["phase"] == "Succeeded"
    before, version = everything(operator, name), operator.get(name)["metadata"]["resourceVersion"]

    assert tool.drift(objects, *SERVER_SIDE) == ""
    for _ in range(RESYNCS):
        tool.sync(objects, *SERVER_SIDE)
    assert operator.get(name)["metadata"]["resourceVersion"] == version
    operator.kill()
    operator.start()
    for number in range(RESYNCS):
        objects[-1]["metadata"].setdefault("labels", {})["example.com/release"] = f"r{number}"
        objects[-1]["metadata"].setdefault("annotations", {})["example.com/commit"] = f"c{number}"
        tool.sync(objects, *SERVER_SIDE)
    assert tool.drift(objects, *SERVER_SIDE) == ""

    let_the_operator_look(operator)
    assert everything(operator, name) == before
    assert operator.get(name)["metadata"]["labels"]["example.com/release"] == f"r{RESYNCS - 1}"


def test_whoever_applies_owns_the_spec_and_the_operator_the_status_alone(operator: OperatorProcess, tool: Tool) -> None:
    objects = rendered(operator.cluster, BATCHES)
    tool.sync(objects, *SERVER_SIDE)
    over(operator, "greeting-1")

    managed = operator.get("greeting-1")["metadata"]["managedFields"]

    owned = {(one["manager"] == ARGO, one.get("subresource", ""), *sorted(one["fieldsV1"])) for one in managed}
    assert owned == {(True, "", "f:spec"), (False, "status", "f:status")}


@pytest.mark.parametrize("how", [SERVER_SIDE, CLIENT_SIDE], ids=["server-side", "client-side"])
def test_the_sample_ends_well_and_shows_no_drift_either_way_it_is_applied(
    operator: OperatorProcess, tool: Tool, how: tuple[str, ...]
) -> None:
    objects = rendered(operator.cluster, BATCHES)
    assert objects[-1]["spec"]["cases"][1]["input"] == {"name": None}
    tool.sync(objects, *how)
    assert tool.drift(objects, *how) == ""

    assert over(operator, "greeting-1")["phase"] == "Succeeded"

    before = everything(operator, "greeting-1")
    assert tool.drift(objects, *how) == ""
    for _ in range(RESYNCS):
        tool.sync(objects, *how)
    let_the_operator_look(operator)
    assert everything(operator, "greeting-1") == before
    # A client-side apply drops what is null before the API server sees it.
    given = operator.get("greeting-1")["spec"]["cases"][1]["input"]
    assert given == ({"name": None} if how is SERVER_SIDE else {})
    shown = health(operator.get("greeting-1"))
    assert shown.state == "Healthy"
    assert shown.message.endswith("best is warm")


@pytest.mark.parametrize("how", [SERVER_SIDE, CLIENT_SIDE], ids=["server-side", "client-side"])
def test_changed_code_is_refused_with_what_to_do_and_runs_under_another_name(
    operator: OperatorProcess, tool: Tool, tmp_path: Path, how: tuple[str, ...]
) -> None:
    folder = tmp_path / "batches"
    shutil.copytree(BATCHES, folder)
    tool.sync(rendered(operator.cluster, folder), *how)
    over(operator, "greeting-1")
    before = everything(operator, "greeting-1")
    (folder / "greet.py").write_text((folder / "greet.py").read_text().replace("good to see you", "go away"))

    said = tool.refusal(rendered(operator.cluster, folder), *how)

    assert "cannot change once the batch is accepted" in said
    assert 'here ["workflow"] would; give the changed BatchTest another name' in said
    assert everything(operator, "greeting-1") == before
    kustomization = folder / "kustomization.yaml"
    kustomization.write_text(kustomization.read_text().replace('nameSuffix: "-1"', 'nameSuffix: "-2"'))
    tool.sync(rendered(operator.cluster, folder), *how)
    status = over(operator, "greeting-2")
    assert (status["phase"], status["reason"]) == ("Failed", "AllTrialsFailed")
    shown = health(operator.get("greeting-2"))
    assert shown.state == "Degraded"
    assert shown.message.startswith("AllTrialsFailed: ")
    assert everything(operator, "greeting-1") == before


def test_replacing_a_finished_batch_by_itself_runs_nothing(operator: OperatorProcess, tool: Tool) -> None:
    objects = rendered(operator.cluster, BATCHES)
    tool.sync(objects, *SERVER_SIDE)
    over(operator, "greeting-1")
    before = everything(operator, "greeting-1")

    # As Argo CD does with the option Replace=true, without a status and a version in the manifest.
    replaced = copy.deepcopy(objects[-1])
    operator.cluster.kubectl("replace", "-n", operator.namespace, "-f", "-", stdin=json.dumps(replaced))

    let_the_operator_look(operator)
    assert everything(operator, "greeting-1") == before


def test_a_batch_that_its_time_to_live_took_away_runs_again_at_the_next_sync_as_the_guide_warns(
    operator: OperatorProcess, tool: Tool
) -> None:
    objects = rendered(operator.cluster, BATCHES)
    objects[-1]["spec"]["ttlSecondsAfterFinished"] = 1
    tool.sync(objects, *SERVER_SIDE)
    operator.until(60, "the batch to be deleted", lambda: _is_gone(operator, "greeting-1"))
    first = operator.record("greeting-1").id

    tool.sync(objects, *SERVER_SIDE)

    operator.until(60, "it to run again", lambda: operator.record("greeting-1").id != first)


def _is_gone(operator: OperatorProcess, name: str) -> bool:
    found = operator.cluster.kubectl(
        "get", "-n", operator.namespace, "batchtest", name, "--ignore-not-found", "-o", "name"
    )
    return not found


@pytest.mark.parametrize("how", [SERVER_SIDE, CLIENT_SIDE], ids=["server-side", "client-side"])
def test_a_batch_that_no_operator_has_seen_is_in_progress_and_shows_no_drift(
    cluster: Cluster, namespace: str, tool: Tool, how: tuple[str, ...]
) -> None:
    objects = rendered(cluster, BATCHES)

    tool.sync(objects, *how)

    found = cluster.get(namespace, "batchtest", "greeting-1")
    assert found["status"] == {"observedGeneration": -1}
    assert health(found).state == "Progressing"
    assert tool.drift(objects, *how) == ""
