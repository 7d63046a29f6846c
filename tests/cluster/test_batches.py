"""Batches from ``kubectl apply`` to their end, on the real cluster."""

from __future__ import annotations

import json
import subprocess
import sys
from base64 import b64encode
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from batchyard.model.events import EventType
from cluster.operator_bench import OperatorProcess, batch_test, check_trail
from cluster.pods import logs, restricted_pod, wait_for_phase
from package_bench import a_wheel

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

EXAMPLE = Path(__file__).parents[2] / "examples" / "docs_search" / "batchtest.yaml"


@pytest.mark.parametrize("provider", ["InProcess", "KubeRay"])
def test_the_example_ends_in_the_cluster_as_it_does_locally(operator: OperatorProcess, provider: str) -> None:
    command = [sys.executable, "-m", "batchyard", "bundle", str(EXAMPLE), "--provider", provider]
    workers = ["--workers", "1"] if provider == "KubeRay" else []
    bundled = subprocess.run([*command, *workers], check=True, capture_output=True)
    local = run_locally(operator)

    operator.apply(*yaml.safe_load_all(bundled.stdout))
    operator.cluster.kubectl(
        "wait", "-n", operator.namespace, "batchtest/docs-search", "--for=condition=Finished", "--timeout=120s",
        timeout=130,
    )  # fmt: skip

    status = operator.finished("docs-search")
    expected = {trial["id"]: (trial["outcome"], trial["score"]) for trial in local["trials"]}
    assert len(expected) == 837
    assert {result.trial_id: (result.outcome, result.score) for result in operator.results("docs-search")} == expected
    assert status["phase"] == local["batch"]["phase"]
    assert (status["best"], status["gate"]) == (local["best"], local["gate"])
    check_trail(operator, "docs-search")
    metrics = operator.metrics()
    runner = "Ray" if provider == "KubeRay" else "Threads"
    assert metrics[f'batchyard_trials_total{{outcome="Passed",runner="{runner}"}}'] == status["trials"]["passed"]
    assert metrics['batchyard_batches_finished_total{reason="",verdict="Succeeded"}'] == 1
    assert metrics['batchyard_batches{phase="Succeeded"}'] == 1
    assert metrics[f'batchyard_trials_running{{runner="{runner}"}}'] == 0


def test_the_same_trials_come_to_the_same_in_processes_in_threads_and_on_ray(operator: OperatorProcess) -> None:
    cases = [
        {"name": f"case-{n}", "input": {"case": f"{n}"}, "expected": {"count": 4 + n % 2}, "weight": n + 1}
        for n in range(4)
    ]
    evaluation = {"evaluators": [{"name": "exactMatch", "config": {"field": "count"}}]}
    strict = {"enabled": True, "sampleSize": 16, "metricTolerance": 0, "absoluteTolerance": 0}
    places: dict[str, dict[str, Any]] = {
        "processes": {"parity": {**strict, "against": "KubeRay"}},
        "threads": {"environment": {"isolation": "Thread"}, "parity": strict},
    }

    for name, place in places.items():
        operator.apply(*batch_test(name, cases=cases, repeats=2, evaluation=evaluation, **place))
    for name in places:
        operator.until(240, f"{name} to be compared", partial(is_compared, operator, name), name)

    for name in places:
        parity = operator.status(name)["parity"]
        assert operator.condition(name, "ParityVerified") == "True", operator.status(name)
        assert (parity["compared"], parity["matching"]) == (16, 16)
        (owner,) = operator.get(f"{name}-parity")["metadata"]["ownerReferences"]
        assert owner["name"] == name
        check_trail(operator, name)
    operator.cluster.kubectl("delete", "-n", operator.namespace, "batchtest", *places, "--timeout=30s")
    listed = partial(operator.cluster.kubectl, "get", "-n", operator.namespace, "batchtests", "-o", "name")
    operator.until(45, "both twins to go with them", lambda: not listed())


def test_a_workflow_that_depends_on_its_place_is_found_out_and_keeps_its_verdict(operator: OperatorProcess) -> None:
    code, test = batch_test("placed", "placed", cases=[{"name": "one", "input": {"case": "one"}}])
    test["spec"] |= {"variants": {"matrix": {"tells": ["case", "host"]}}, "parity": {"enabled": True}}
    operator.apply(code, test)
    operator.until(120, "it to be compared", partial(is_compared, operator, "placed"), "placed")

    status = operator.status("placed")
    assert status["phase"] == "Succeeded"
    assert operator.condition("placed", "ParityVerified") == "False"
    (row,) = status["parity"]["discrepancies"]
    assert (row["type"], row["trial"]) == ("FinalState", "host/one/0")
    check_trail(operator, "placed")


@pytest.mark.parametrize("provider", ["InProcess", "KubeRay"])
def test_two_versions_of_one_package_run_side_by_side_in_a_place(
    operator: OperatorProcess, provider: str, tmp_path: Path
) -> None:
    versions = {"old": "1.0", "new": "2.0"}
    wheels = {name: a_wheel(tmp_path, version=version) for name, version in versions.items()}
    source, test = batch_test(
        "packages", "quoting", cases=[{"name": "one", "input": {"name": "one"}}], provider=provider
    )
    source["binaryData"] = {wheel.name: b64encode(wheel.read_bytes()).decode() for wheel in wheels.values()}
    test["spec"]["variants"] = {
        "matrix": {"motto": list(versions)},
        "overrides": [
            {"match": {"motto": name}, "packages": [f"./{wheel.name}"], "env": {"MOTTO": name}}
            for name, wheel in wheels.items()
        ],
    }

    operator.apply(source, test)

    assert operator.finished("packages", 150)["phase"] == "Succeeded"
    seen = {result.combination: result.output for result in operator.results("packages")}
    assert {
        name: (output["text"], output["variable"]) for name, output in seen.items() if isinstance(output, dict)
    } == {name: (version, name) for name, version in versions.items()}
    assert len({str(output["prefix"]) for output in seen.values() if isinstance(output, dict)}) == 2


@pytest.mark.proves("bug-27")
def test_budgets_the_idle_deadline_and_shared_beginnings_hold_in_a_pod(operator: OperatorProcess) -> None:
    stuck, idle = "is_stuck_and_ignores_stops", {"idleSeconds": 2, "graceSeconds": 0.3}
    slug, source = stuck.replace("_", "-"), {"configMapRef": {"name": "sharing-code"}}
    shared = {"nodes": [{"name": "begin", "dependsOn": []}]}

    operator.apply(*batch_test(
        "spending", "spending", variants=["modest", "goes_on_and_spends", stuck], deadlines=idle,
        budgets={"trial": {"tokens": 1000}},
    ))  # fmt: skip
    operator.apply(*batch_test(
        "sharing", "spending", variants=["modest", "states", stuck], cases=[{"name": "one"}, {"name": "two"}],
        deadlines=idle, workflow={"factory": "spending:build", "source": source, "sharedPrefix": shared},
    ))  # fmt: skip
    for name in ("spending", "sharing"):
        assert operator.finished(name)["phase"] == "Succeeded"

    assert {result.combination: result.reason for result in operator.results("spending")} == {
        "modest": "", "goes-on-and-spends": "TokenBudgetExceeded", slug: "IdleDeadlineExceeded",
    }  # fmt: skip
    ended = operator.results("sharing")
    assert {result.reason for result in ended if result.combination == slug} == {"IdleDeadlineExceeded"}
    nodes = Counter((node.node, node.status) for result in ended for node in result.boundaries)
    assert nodes == {
        ("begin", "completed"): 2, ("begin", "shared"): 4, ("act", "completed"): 4, ("act", "running"): 2,
    }  # fmt: skip
    assert operator.metrics()['batchyard_trials_running{runner="Threads"}'] == 0
    check_trail(operator, "spending")


def is_compared(operator: OperatorProcess, name: str) -> bool:
    return operator.condition(name, "ParityVerified") != ""


def run_locally(operator: OperatorProcess) -> dict[str, Any]:
    """Return what ``batchyard run`` says of the example in a pod, so with the reference of the image's own Python."""
    files = [file for file in EXAMPLE.parent.rglob("*") if file.suffix in {".py", ".yaml", ".jsonl"}]
    paths = {f"file-{number}": str(file.relative_to(EXAMPLE.parent)) for number, file in enumerate(files)}
    data = {f"file-{number}": file.read_text() for number, file in enumerate(files)}
    command = ["batchyard", "run", "/example/batchtest.yaml", "--store", "/tmp/local.db", "--quiet", "--output", "json"]
    pod = restricted_pod("local", "runner", command)
    items = [{"key": key, "path": path} for key, path in paths.items()]
    pod["spec"]["volumes"].append({"name": "example", "configMap": {"name": "example", "items": items}})
    pod["spec"]["containers"][0]["volumeMounts"].append({"name": "example", "mountPath": "/example"})
    operator.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "example"}, "data": data}, pod)
    wait_for_phase(operator.cluster, operator.namespace, "local", "Succeeded")
    found: dict[str, Any] = json.loads(logs(operator.cluster, operator.namespace, "local"))
    return found


@pytest.mark.proves("bug-27")
def test_cancel_ends_what_runs_and_leaves_the_rest_unrun(operator: OperatorProcess) -> None:
    cases = [{"name": f"case-{number}", "input": {"seconds": 30}} for number in range(4)]
    operator.apply(*batch_test("slow", "waits", cases=cases, variants=["a"], deadlines={"graceSeconds": 1}))
    operator.until(60, "trials to run", lambda: operator.metrics()['batchyard_trials_running{runner="Threads"}'] == 2)

    operator.patch("slow", {"cancel": True})

    status = operator.finished("slow")
    assert (status["phase"], status["reason"]) == ("Cancelled", "Cancelled")
    assert status["trials"]["cancelled"] == 2
    assert status["trials"]["notRun"] == 2
    metrics = operator.metrics()
    assert metrics['batchyard_trials_running{runner="Threads"}'] == 0
    assert metrics['batchyard_batches{phase="Running"}'] == 0
    check_trail(operator, "slow")


def test_suspend_gives_the_place_back_and_resuming_runs_only_the_rest(operator: OperatorProcess) -> None:
    cases = [{"name": f"case-{number}", "input": {"seconds": 3}} for number in range(6)]
    operator.apply(*batch_test("held", "waits", cases=cases, variants=["a"], deadlines={"graceSeconds": 1}))
    operator.until(60, "a result", lambda: operator.has_begun("held") and bool(operator.results("held")))

    operator.patch("held", {"suspend": True})
    operator.until(60, "the batch to be suspended", lambda: operator.status("held").get("phase") == "Suspended", "held")
    assert operator.places() == []
    before = {result.trial_id: result.ended_at for result in operator.results("held")}
    operator.patch("held", {"suspend": False})

    status = operator.finished("held")
    assert status["phase"] == "Succeeded"
    after = {result.trial_id: result.ended_at for result in operator.results("held")}
    assert len(after) == len(cases)
    assert before.items() <= after.items()
    check_trail(operator, "held")


def test_a_batch_that_is_suspended_from_the_start_gets_no_place(operator: OperatorProcess) -> None:
    operator.apply(*batch_test("later", suspend=True))
    operator.until(20, "the batch to be held", lambda: operator.status("later").get("phase") == "Suspended", "later")
    assert operator.places() == []

    operator.patch("later", {"suspend": False})

    assert operator.finished("later")["phase"] == "Succeeded"


@pytest.mark.parametrize("phase", ["Suspended", "Provisioning", "Running", "Succeeded"])
@pytest.mark.proves("bug-26")
def test_a_deleted_batchtest_leaves_nothing_behind_in_any_phase(operator: OperatorProcess, phase: str) -> None:
    cases = [{"name": "one", "input": {"seconds": 0 if phase == "Succeeded" else 30}}]
    # No node takes its pods where it is to be found while it waits for them.
    template = {"nodeSelector": {"no.such/label": "anywhere"}} if phase == "Provisioning" else {}
    more: dict[str, Any] = {"suspend": phase == "Suspended", "environment": {"template": template}}
    operator.apply(*batch_test("gone", "waits", cases=cases, variants=["a"], **more))
    operator.until(60, phase, lambda: operator.status("gone").get("phase") == phase, "gone")

    operator.cluster.kubectl("delete", "-n", operator.namespace, "batchtest", "gone", "--timeout=30s")

    operator.until(45, "all to be gone", lambda: not operator.places())
    ended = {"Succeeded": "Succeeded"}.get(phase, "Cancelled")
    operator.until(30, "its end to be recorded", lambda: operator.record("gone").phase == ended)


def test_a_finished_batch_is_deleted_when_its_time_is_over(operator: OperatorProcess) -> None:
    operator.apply(*batch_test("brief", ttlSecondsAfterFinished=3))
    operator.until(20, "it to be taken up", lambda: operator.has_begun("brief"))

    operator.until(
        90,
        "it to be deleted",
        lambda: not operator.cluster.kubectl("get", "-n", operator.namespace, "batchtests", "-o", "name"),
    )
    assert operator.record("brief").phase == "Succeeded"


@pytest.mark.proves("bug-08")
def test_a_workflow_that_cannot_be_imported_ends_the_batch_with_all_that_is_wrong(operator: OperatorProcess) -> None:
    objects = batch_test("broken")
    objects[1]["spec"]["workflow"]["factory"] = "noop:no_such_function"
    operator.apply(*objects)

    status = operator.finished("broken")

    assert (status["phase"], status["reason"]) == ("Failed", "WorkflowInvalid")
    assert "no_such_function" in status["message"]


def test_a_missing_configmap_is_waited_for(operator: OperatorProcess) -> None:
    source, test = batch_test("early")
    operator.apply(test)
    operator.until(
        20, "it to be waited for", lambda: operator.status("early").get("reason") == "ConfigMapMissing", "early"
    )
    assert "early-code" in operator.status("early")["message"]

    operator.apply(source)

    assert operator.finished("early")["phase"] == "Succeeded"


def test_a_finished_batch_amended_with_a_case_more_runs_only_that_cases_trials(operator: OperatorProcess) -> None:
    cases = [{"name": "one"}, {"name": "two"}]
    first, more = batch_test("first", cases=cases[:1]), batch_test("more", cases=cases, amends="first")
    # Both at once, as a tool that knows no order does it, and the code as `batchyard bundle` makes it.
    operator.apply({**more[0], "immutable": True}, more[1], {**first[0], "immutable": True}, first[1])

    status = operator.finished("more")
    operator.apply(more[1])

    assert status["phase"] == operator.status("first")["phase"] == "Succeeded"
    assert (status["trials"]["passed"], status["trials"]["carriedOver"]) == (4, 2)
    trail = [sealed.entry for sealed in operator.trail("more")]
    told = {kind: {entry.trial_id for entry in trail if entry.type == kind} for kind in EventType}
    assert told[EventType.TRIAL_CARRIED_OVER] == {"a/one/0", "b/one/0"}
    assert told[EventType.TRIAL_PASSED] == {"a/two/0", "b/two/0"}
    source = {result.trial_id: result.output for result in operator.results("first")}
    assert source.items() <= {result.trial_id: result.output for result in operator.results("more")}.items()
    check_trail(operator, "more")
