"""The CRD on a real API server: what admission refuses, in what words, what it takes, what may change, what is shown.

Files and documents go to the server in one call of kubectl each, as a dry run: nothing is made.
"""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from admission_documents import ACCEPTED, LARGE, REFUSED, document
from batchyard.engine.sources import load
from batchyard.kube.status import build_status, rejected_status
from batchyard.model.crd import GROUP, PLURAL
from batchyard.model.crd_rules import CHANGEABLE
from batchyard.model.errors import SpecInvalid
from batchyard.model.outcome import Phase, Reason
from batchyard.model.spec import BatchTestSpec
from batchyard.model.status import BatchStatus
from cluster.bed import settings
from cluster.bed.choice import choose
from cluster.bed.client import Cluster
from cluster.bed.settings import CHECKOUT
from status_builders import FAILURES, MOST, NOW, a_whole_status, an_environment, the_fullest_record

if TYPE_CHECKING:
    from collections.abc import Mapping

pytestmark = [pytest.mark.cluster]

Object = dict[str, Any]

INVALID = CHECKOUT / "tests" / "data" / "invalid"
VALID = [*(CHECKOUT / "tests" / "data" / "valid").glob("*.yaml"), *CHECKOUT.glob("examples/*/batchtest.yaml")]

IN_A_CONFIG_MAP = "what is in a ConfigMap is not seen at admission"
READ_OTHERWISE = "kubectl reads it as something that is fine"
ENGINES = {
    "cases-too-large": "free JSON has no size in CEL",
    "casesfrom-csv-faults": IN_A_CONFIG_MAP,
    "casesfrom-csv-header": IN_A_CONFIG_MAP,
    "casesfrom-empty": IN_A_CONFIG_MAP,
    "casesfrom-jsonl-faults": IN_A_CONFIG_MAP,
    "casesfrom-names-twice": IN_A_CONFIG_MAP,
    "casesfrom-yaml-faults": IN_A_CONFIG_MAP,
    "casesfrom-yaml-not-a-list": IN_A_CONFIG_MAP,
    "casesfrom-yaml-syntax": IN_A_CONFIG_MAP,
    "gate-baseline-unknown": "the names of products are made with hashes, which CEL has not",
    "gate-sequential-without-confidence": "what is null is not there for CEL",
    "text-nul-character": "free JSON is not looked into",
    "text-binary-tag": f"{READ_OTHERWISE}: the text that the bytes are",
    "text-duplicate-dimension": f"{READ_OTHERWISE}: the last one",
    "text-duplicate-key": f"{READ_OTHERWISE}: the last one",
    "text-key-not-text": f"{READ_OTHERWISE}: the key as text",
    "text-nothing": f"{READ_OTHERWISE}: no object at all",
    "text-python-tag": f"{READ_OTHERWISE}: the list that is tagged",
    "text-too-large-integer": f"{READ_OTHERWISE}: the nearest number of floating point",
    "text-two-documents": f"{READ_OTHERWISE}: two objects",
}
"""The invalid files that admission cannot refuse, each with the reason; all others it does."""

IN_THE_SAME_WORDS = [
    "cases-all-weightless",
    "cases-none",
    "deadlines-default-over-batch",
    "deadlines-in-the-wrong-order",
    "environment-kuberay-without-provider",
    "evaluators-all-weightless",
    "metadata-name-upper-case",
    "retry-unknown-outcome",
    "variants-dimension-name",
    "variants-empty",
    "variants-exclude-everything",
    "variants-override-with-threads",
    "variants-too-many-combinations",
    "workflow-factory-not-an-import-path",
    "workflow-source-empty",
    "workflow-source-twice",
]
"""The invalid files of which a rule in CEL says what the engine says."""

# What kubectl says before it names the file.
_BEFORE_A_FILE = re.compile(
    r'(?:error when creating|unable to decode|error parsing|error validating|from) "?(\S+?/([\w-]+)\.(?:yaml|json))'
)


def answers(cluster: Cluster, folder: Path) -> dict[str, str]:
    """Return what is said against each file of a folder, by its stem; those taken are not in it."""
    done = cluster.attempt("create", "--dry-run=server", "--validate=strict", "-f", str(folder))
    found = list(_BEFORE_A_FILE.finditer(done.stderr))
    ends = [match.start() for match in found[1:]] + [len(done.stderr)]
    return {match[2]: done.stderr[match.start() : end] for match, end in zip(found, ends, strict=True)}


def without_values(text: str) -> str:
    """Return a message without the kind of value that the server puts between path and words."""
    return re.sub(r'Invalid value: (?:"(?:object|array|string|number|integer)"|\{.*?\}): ', "", text)


@pytest.fixture(scope="module")
def refusals(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What is said of the invalid files, as they would be in a cluster: code and cases in ConfigMaps."""
    folder = tmp_path_factory.mktemp("invalid")
    for file in INVALID.glob("*.yaml"):
        text = file.read_bytes().replace(b"{path: .", b"{configMapRef: {name: code}")
        moved = re.sub(rb"\{path: files/([\w.]+)\}", rb"{configMapRef: {name: cases, key: \1}}", text)
        (folder / file.name).write_bytes(moved)
    return answers(cluster, folder)


@pytest.fixture(scope="module")
def judged(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What is said of the documents that test single rules."""
    folder = tmp_path_factory.mktemp("documents")
    documents = {name: body for name, (body, _) in REFUSED.items()} | ACCEPTED
    for name, body in (documents | {name: make() for name, make in LARGE.items()}).items():
        (folder / f"{name}.json").write_text(json.dumps(body), encoding="utf-8")
    return answers(cluster, folder)


@pytest.mark.alone  # it ends the watches of every operator that runs beside it
def test_a_session_of_tests_brings_the_definition_up_to_date_and_changes_nothing_twice(cluster: Cluster) -> None:
    name = f"crd/{PLURAL}.{GROUP}"
    older = [{"op": "replace", "path": "/spec/versions/0/additionalPrinterColumns/0/description", "value": "older"}]
    cluster.kubectl("patch", name, "--type=json", "-p", json.dumps(older))

    generations = []
    for _ in range(2):
        again = Cluster(choose(settings.read()))
        found = json.loads(again.kubectl("get", name, "-o", "json"))
        generations.append(found["metadata"]["generation"])

    (version,) = found["spec"]["versions"]
    assert version["additionalPrinterColumns"][0]["description"] != "older"
    assert generations[0] == generations[1]


# -- admission -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(file.stem for file in INVALID.glob("*.yaml")))
def test_an_invalid_file_is_refused_at_admission_unless_only_the_engine_can_find_it(
    refusals: dict[str, str], name: str
) -> None:
    assert (name in refusals) == (name not in ENGINES), refusals.get(name) or ENGINES.get(name)


def test_the_table_names_no_file_that_is_not_there() -> None:
    assert {INVALID / f"{name}.yaml" for name in ENGINES} <= set(INVALID.glob("*.yaml"))


def test_a_refusal_by_the_server_names_a_faulty_field_and_never_an_inside_of_the_server(
    refusals: dict[str, str],
) -> None:
    for name, said in refusals.items():
        first = (INVALID / f"{name}.yaml").read_text(encoding="utf-8", errors="replace").partition("\n")[0]
        expected = {step[0] for step in re.finditer(r"[A-Za-z]+(\.[A-Za-z]+)?(?=[\s.\[]|$)", first.partition(":")[2])}
        if said.startswith("error when creating"):
            assert any(path in said for path in expected), said
        assert "evaluating rule" not in said
        assert "cost" not in said


@pytest.mark.parametrize("name", IN_THE_SAME_WORDS)
def test_admission_says_what_the_engine_says(refusals: dict[str, str], name: str) -> None:
    with pytest.raises(SpecInvalid) as caught:
        load(INVALID / f"{name}.yaml")

    for fault in caught.value.faults:
        assert fault.message in refusals[name]
        assert fault.remedy in refusals[name]


@pytest.mark.parametrize("name", REFUSED)
def test_a_broken_rule_is_told_where_it_is_broken_with_what_to_do(judged: dict[str, str], name: str) -> None:
    _, expected = REFUSED[name]

    assert expected in without_values(judged[name])


@pytest.mark.parametrize("name", [*ACCEPTED, *LARGE])
def test_what_is_at_the_edge_of_a_rule_or_as_large_as_may_be_is_taken(judged: dict[str, str], name: str) -> None:
    assert judged.get(name) is None


def in_a_cluster(file: Path) -> Object:
    """Return the BatchTest of a file with its code and cases in ConfigMaps."""
    body: Object = yaml.safe_load(file.read_text(encoding="utf-8"))
    body["metadata"].pop("namespace", None)
    source = body["spec"]["workflow"]["source"]
    if "path" in source:
        body["spec"]["workflow"]["source"] = {"configMapRef": {"name": "code"}}
    for entry in body["spec"].get("casesFrom", []):
        if "path" in entry:
            entry["configMapRef"] = {"name": "cases", "key": Path(entry.pop("path")).name}
    return body


@pytest.mark.parametrize("server_side", [False, True])
def test_every_valid_file_is_taken_however_it_is_applied(cluster: Cluster, server_side: bool) -> None:
    items = [in_a_cluster(file) for file in VALID]
    for number, item in enumerate(items):
        item["metadata"]["name"] += f"-{number}"
    listed = {"apiVersion": "v1", "kind": "List", "items": items}

    taken = cluster.kubectl(
        *("apply", "--dry-run=server", "--validate=strict", f"--server-side={server_side}".lower(), "-f", "-"),
        stdin=json.dumps(listed),
    )

    assert len(taken.splitlines()) == len(VALID) >= 3


def test_what_is_read_back_is_what_was_written(cluster: Cluster, namespace: str) -> None:
    wanted = [ACCEPTED["free-json"], {**in_a_cluster(VALID[0]), "metadata": {"name": "valid"}}]

    cluster.kubectl("create", "-n", namespace, "-f", "-", stdin="\n---\n".join(map(json.dumps, wanted)))

    for body in wanted:
        assert cluster.get(namespace, PLURAL, body["metadata"]["name"])["spec"] == body["spec"]


# -- changes ---------------------------------------------------------------------------------------------------------


def write_status(cluster: Cluster, namespace: str, status: Mapping[str, Any], name: str = "demo") -> Object:
    patch = json.dumps({"status": status})
    cluster.kubectl("patch", "-n", namespace, PLURAL, name, "--subresource=status", "--type=merge", "-p", patch)
    written: Object = cluster.get(namespace, PLURAL, name)["status"]
    return written


def accept(cluster: Cluster, namespace: str, name: str = "demo") -> None:
    condition = {"type": "Accepted", "status": "True", "reason": "Accepted", "message": ""}
    write_status(
        cluster, namespace, {"conditions": [{**condition, "lastTransitionTime": "2026-01-01T00:00:00Z"}]}, name
    )


def change(cluster: Cluster, namespace: str, spec: Mapping[str, Any], name: str = "demo") -> str:
    """Try to change fields of a spec, as a dry run, and return what is said against it."""
    patch = json.dumps({"spec": spec})
    tried = cluster.attempt("patch", "-n", namespace, PLURAL, name, "--type=merge", "--dry-run=server", "-p", patch)
    return tried.stderr if tried.returncode else ""


CHANGES: Object = {
    "description": "another",
    "workflow": {"inputSchema": "graph:Question"},
    "variants": {"exclude": [{"reader": "best"}]},
    "cases": [{"name": "one", "input": {"question": "what"}}],
    "casesFrom": [{"configMapRef": {"name": "cases", "key": "a.csv"}}],
    "initialState": {"seen": []},
    "repeats": 2,
    "parallelism": 5,
    "failFast": True,
    "retry": {"maxAttempts": 3},
    "deadlines": {"batchSeconds": 1000},
    "budgets": {"trial": {"steps": 9}},
    "forkFrom": {"batchTest": "another", "node": "read"},
    "amends": "another",
    "environment": {"env": {"MODE": "b"}},
    "checkpoints": {"postgres": {"secretRef": {"name": "checkpoints", "key": "url"}}},
    "limits": {"recursionLimit": 7},
    "evaluation": {"passThreshold": 0.6},
    "gate": {"minScore": 0.5},
    "parity": {"enabled": True},
    "audit": {"retentionDays": 3},
}


def test_an_accepted_spec_cannot_change_and_the_refusal_names_the_fields(cluster: Cluster, namespace: str) -> None:
    assert set(CHANGES) | set(CHANGEABLE) == {info.alias or name for name, info in BatchTestSpec.model_fields.items()}
    whole = document(environment={"env": {"MODE": "a"}}, deadlines={"batchSeconds": 900})
    cluster.apply(namespace, whole)
    accept(cluster, namespace)

    for field, value in CHANGES.items():
        said = change(cluster, namespace, {field: value})
        assert "spec: " in said
        assert f'and here ["{field}"] would; give the changed BatchTest another name' in said, said
    assert 'here ["cases", "repeats"] would' in change(cluster, namespace, {"repeats": 2, "cases": CHANGES["cases"]})
    assert 'here ["deadlines"] would' in change(cluster, namespace, {"deadlines": None})


def test_what_may_change_of_an_accepted_batch_changes(cluster: Cluster, namespace: str) -> None:
    cluster.apply(namespace, document())
    accept(cluster, namespace)

    spec = {"suspend": True, "cancel": True, "ttlSecondsAfterFinished": 60}
    patch = {"spec": spec, "metadata": {"labels": {"team": "a"}, "annotations": {"note": "b"}, "finalizers": ["a.b/c"]}}
    cluster.kubectl("patch", "-n", namespace, PLURAL, "demo", "--type=merge", "-p", json.dumps(patch))

    found = cluster.get(namespace, PLURAL, "demo")
    assert spec.items() <= found["spec"].items()
    assert found["metadata"]["labels"] == {"team": "a"}
    cluster.kubectl(
        "patch", "-n", namespace, PLURAL, "demo", "--type=merge", "-p", '{"metadata": {"finalizers": null}}'
    )


def test_a_spec_that_was_not_accepted_can_be_corrected(cluster: Cluster, namespace: str) -> None:
    cluster.apply(namespace, document())
    rejected = rejected_status(Reason.INVALID_SPEC, "2 faults", generation=1, final=True, previous={}, now=NOW)
    assert write_status(cluster, namespace, rejected) == rejected

    assert change(cluster, namespace, CHANGES) == ""


def test_the_largest_accepted_batch_takes_changes_and_statuses(cluster: Cluster, namespace: str) -> None:
    largest = LARGE["largest"]()
    cluster.kubectl("create", "-n", namespace, "-f", "-", stdin=json.dumps(largest))
    accept(cluster, namespace, "largest")

    assert write_status(cluster, namespace, {"progress": "1/2"}, "largest")["progress"] == "1/2"
    assert change(cluster, namespace, {"suspend": True}, "largest") == ""
    changed = copy.deepcopy(largest["spec"]["variants"])
    changed["matrix"]["main"][-1] = "another"
    changed["include"] = []
    changed["overrides"] = []
    assert 'here ["variants"] would' in change(cluster, namespace, {"variants": changed}, "largest")


# -- the status and what is shown of it ------------------------------------------------------------------------------


def test_a_status_of_the_most_combinations_is_kept_whole(cluster: Cluster, namespace: str) -> None:
    cluster.apply(namespace, document())
    record = the_fullest_record()
    status = build_status(record, an_environment(), generation=1, previous={}, now=NOW)
    assert len(status["failures"]) == FAILURES

    assert write_status(cluster, namespace, status) == status

    # As the operator would write it if it might take any room.
    rows = [{key: value for key, value in row.items() if value is not None} for row in record.status["combinations"]]
    assert len(rows) == MOST
    assert write_status(cluster, namespace, {"combinations": rows}) == {**status, "combinations": rows}


def test_every_field_of_the_status_is_kept_and_those_of_a_newer_operator_too(cluster: Cluster, namespace: str) -> None:
    cluster.apply(namespace, document())
    whole = a_whole_status().to_json()
    assert set(whole) == {info.alias for info in BatchStatus.model_fields.values()}
    newer: Object = {**whole, "progress": "1/2", "mood": {"colour": "blue"}}
    newer["phase"] = "Musing"
    newer["trials"] = {**whole["trials"], "pondered": 1}
    newer["conditions"] = [*whole["conditions"], {**whole["conditions"][0], "type": "Amused", "severity": "Low"}]

    assert write_status(cluster, namespace, newer) == newer


def test_a_condition_can_stand_there_once_only(cluster: Cluster, namespace: str) -> None:
    cluster.apply(namespace, document())
    condition = a_whole_status().to_json()["conditions"][0]
    patch = json.dumps({"status": {"conditions": [condition, condition]}})

    tried = cluster.attempt(
        "patch", "-n", namespace, PLURAL, "demo", "--subresource=status", "--type=merge", "-p", patch
    )

    assert 'status.conditions[1]: Duplicate value: {"type":"Accepted"}' in tried.stderr


def test_kubectl_shows_where_a_batch_stands(cluster: Cluster, namespace: str) -> None:
    cluster.apply(namespace, document())
    status = build_status(the_fullest_record(), an_environment(), generation=1, previous={}, now=NOW)
    write_status(cluster, namespace, {**status, "reason": "GateFailed", "phase": Phase.FAILED})

    titles, row = cluster.kubectl("get", "bt", "-n", namespace).splitlines()

    assert titles.split() == ["NAME", "PHASE", "PROGRESS", "BEST", "SCORE", "REASON", "AGE"]
    assert row.split()[:-1] == ["demo", "Failed", f"{MOST}/{MOST}", "v0", "1", "GateFailed"]
    assert "batchtest.batchyard.dev/demo" in cluster.kubectl("get", "all", "-n", namespace)
    cluster.kubectl("wait", "-n", namespace, "--for=condition=Finished", "bt/demo", "--timeout=5s")


def test_kubectl_explains_fields_with_their_defaults(cluster: Cluster) -> None:
    shown = cluster.kubectl("explain", "batchtest.spec.deadlines", "--api-version=batchyard.dev/v1alpha1")

    assert re.search(r"trialSeconds\s+<number>\s+One attempt of a trial, .* Default:\s+300\.", shown, re.DOTALL)
