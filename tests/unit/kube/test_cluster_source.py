"""From a BatchTest as a cluster has it, and its ConfigMaps, to a batch, or to all that is wrong with it."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchyard.engine.cluster_source import config_maps_needed, load_from_cluster, source_items
from batchyard.model.errors import SpecInvalid
from kube_world import a_batch_test

if TYPE_CHECKING:
    from batchyard.engine.sources import LoadedBatch
    from kube_fakes import Object

CODE: Object = {"metadata": {"name": "code"}, "data": {"graph.py": "..."}}


def in_cluster(**spec: Any) -> Object:
    """Return a BatchTest as the API server gives it back."""
    test = a_batch_test(**spec)
    test["metadata"] |= {
        "namespace": "team", "uid": "uid-1", "generation": 3, "resourceVersion": "7",
        "managedFields": [{"manager": "x"}], "creationTimestamp": "2026-01-02T03:04:05Z",
    }  # fmt: skip
    return {**test, "status": {"phase": "Pending"}}


def cases_from(key: str, text: str | None, *, binary: bool = False, **spec: Any) -> LoadedBatch:
    test = in_cluster(casesFrom=[{"configMapRef": {"name": "cases", "key": key}}], **spec)
    data = {} if text is None else {key: text}
    found: Object = {"metadata": {"name": "cases"}, "data": data}
    if binary and text is not None:
        found = {"metadata": {"name": "cases"}, "binaryData": {key: base64.b64encode(text.encode()).decode()}}
    return load_from_cluster(test, {"code": CODE, "cases": found})


def faults(test: Object, maps: dict[str, Object] | None = None) -> list[str]:
    with pytest.raises(SpecInvalid) as refused:
        load_from_cluster(test, maps if maps is not None else {"code": CODE})
    return [str(fault) for fault in refused.value.faults]


def test_the_same_batch_is_read_whatever_the_api_server_added_to_it() -> None:
    once = load_from_cluster(in_cluster(), {"code": CODE})
    again = load_from_cluster(a_batch_test(), {"code": CODE})

    assert once.digest == again.digest
    assert len(once.plan) == 4


def test_what_may_change_while_it_runs_is_no_part_of_what_a_batch_is() -> None:
    plain = load_from_cluster(in_cluster(), {"code": CODE})

    changed = load_from_cluster(in_cluster(suspend=True, cancel=True, ttlSecondsAfterFinished=5), {"code": CODE})

    assert changed.digest == plain.digest


def test_each_configmap_that_is_named_is_needed_once_however_malformed_the_rest_is() -> None:
    refs = [{"configMapRef": {"name": name, "key": "a.jsonl"}} for name in ("a", "b", "a")]
    test = in_cluster(casesFrom=[*refs, {"configMapRef": 7}, "nonsense", {"path": "x"}])

    assert config_maps_needed(test) == ("code", "a", "b")
    for nonsense in (None, "x", {"spec": 1}, {"spec": {"workflow": [], "casesFrom": {"a": 1}}}):
        assert config_maps_needed(nonsense) == ()


@pytest.mark.parametrize("binary", [False, True])
def test_cases_of_a_configmap_follow_those_of_the_object(*, binary: bool) -> None:
    loaded = cases_from("more.jsonl", '{"name": "x"}\n{"name": "y"}\n', binary=binary)

    assert [case.name for case in loaded.plan.cases] == ["c0", "c1", "x", "y"]
    assert len(loaded.plan) == 8


@pytest.mark.parametrize(
    ("key", "text", "told"),
    [
        ("more.jsonl", None, "is no key of ConfigMap cases"),
        ("more.txt", "x", "no ending that is known"),
        ("more.jsonl", "{", "cases/more.jsonl"),
        ("more.jsonl", '{"name": "c0"}', "c0"),
        ("more.jsonl", '{"name": "x", "weight": -1}', "weight"),
    ],
)
def test_what_is_wrong_with_the_cases_of_a_configmap_is_said(key: str, text: str | None, told: str) -> None:
    with pytest.raises(SpecInvalid, match=told):
        cases_from(key, text)


def test_the_faults_of_the_object_and_of_its_files_are_said_together() -> None:
    with pytest.raises(SpecInvalid) as refused:
        cases_from("more.jsonl", '{"name": "x", "weight": -1}\n[]\n', repeats=-1)

    told = "\n".join(str(fault) for fault in refused.value.faults)
    for part in ("spec.repeats", "cases/more.jsonl"):
        assert part in told
    assert len(refused.value.faults) >= 3


def test_what_only_a_machine_of_the_users_has_cannot_be_had_in_a_cluster() -> None:
    local = in_cluster(casesFrom=[{"path": "cases.jsonl"}])
    local["spec"]["workflow"]["source"] = {"path": "."}
    local["spec"]["environment"]["provider"] = "Ray"

    told = "\n".join(faults(local))

    for part in ("spec.workflow.source.path", "spec.casesFrom[0].path", "spec.environment.provider"):
        assert part in told


def test_too_many_trials_are_refused_also_if_files_bring_them() -> None:
    many = "".join(json.dumps({"name": f"x{number}"}) + "\n" for number in range(60_000))

    with pytest.raises(SpecInvalid, match=r"100[,_ ]?000"):
        cases_from("more.jsonl", many)


class Read(str):
    """A text of a file that counts how often it was read."""

    __slots__ = ("times",)
    times: int

    def __new__(cls, text: str) -> Read:
        made = super().__new__(cls, text)
        made.times = 0
        return made

    def split(self, *given: Any) -> list[str]:
        self.times += 1
        return super().split(*given)


def refer(*names: str, key: str = "more.jsonl") -> list[Object]:
    return [{"configMapRef": {"name": name, "key": key}} for name in names]


def test_a_file_that_is_named_again_is_read_once_and_what_is_wrong_with_it_said_once() -> None:
    text = Read('{"name": "x", "weight": -1}\n{"name": "y"}\n')
    test = in_cluster(casesFrom=refer(*["cases"] * 8))

    told = faults(test, {"code": CODE, "cases": {"data": {"more.jsonl": text}}})

    assert text.times == 1
    assert sum("weight" in one for one in told) == 1
    assert any("cases/more.jsonl:2" in one and "is already the name of the case" in one for one in told)


def test_no_file_is_read_once_there_are_too_many_trials() -> None:
    names = [f"cases-{number}" for number in range(4)]
    texts = {name: Read("".join(f'{{"name": "{name}-{number}"}}\n' for number in range(30_000))) for name in names}
    maps: dict[str, Object] = {name: {"data": {"more.jsonl": text}} for name, text in texts.items()}

    told = faults(in_cluster(casesFrom=refer(*names)), {"code": CODE, **maps})

    assert [text.times for text in texts.values()] == [1, 1, 0, 0]
    (fault,) = told
    assert "2 combinations x at least 50,001 cases x 1 repeats are at least 100,002 trials, more than 100,000" in fault


def test_a_file_is_read_no_further_once_there_are_too_many_trials() -> None:
    many = "".join(json.dumps({"name": f"x{number}"}) + "\n" for number in range(51_000)) + '{"weight": -1}\n'

    with pytest.raises(SpecInvalid) as refused:
        cases_from("more.jsonl", many)

    (fault,) = refused.value.faults
    assert "at least 50,001 cases" in str(fault)


def test_so_much_yaml_that_no_operator_could_hold_it_is_refused() -> None:
    long = f"# {'x' * 1024 * 1024}\n"
    names = [f"cases-{number}" for number in range(17)]
    maps: dict[str, Object] = {name: {"data": {"more.yaml": f"{long}- name: {name}\n"}} for name in names}

    told = faults(in_cluster(casesFrom=refer(*names, key="more.yaml")), {"code": CODE, **maps})

    assert [one.partition(":")[0] for one in told] == [f"spec.casesFrom[{at}].configMapRef.key" for at in (15, 16)]
    assert "larger than 16,384 KiB; put cases into JSONL files" in told[0]


def test_code_goes_where_its_configmap_says_or_else_where_its_key_says() -> None:
    annotations = {"batchyard.dev/paths": json.dumps({"pkg.graph.py": "pkg/graph.py"})}
    found: Object = {
        "metadata": {"name": "code", "annotations": annotations},
        "data": {"pkg.graph.py": "", "main.py": ""},
        "binaryData": {"model.bin": ""},
    }

    assert source_items(found) == {"pkg.graph.py": "pkg/graph.py", "main.py": "main.py", "model.bin": "model.bin"}


@pytest.mark.parametrize(
    "paths",
    [
        "[" * 100_000,
        "[]",
        "{",
        '"x"',
        '{"graph.py": "../graph.py"}',
        '{"graph.py": "/etc/passwd"}',
        '{"graph.py": "a/../../b"}',
    ],
    ids=lambda paths: paths[:20],
)
def test_code_that_leads_out_of_its_folder_is_refused_with_the_batchtest(paths: str) -> None:
    code = {**CODE, "metadata": {"name": "code", "annotations": {"batchyard.dev/paths": paths}}}

    (told,) = faults(in_cluster(), {"code": code})

    assert "batchyard.dev/paths" in told


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=12,
)


@given(
    where=st.sampled_from(
        ["workflow", "variants", "cases", "casesFrom", "environment", "deadlines", "retry", "gate", "suspend"]
    ),
    what=_JSON,
)
def test_whatever_stands_in_a_spec_is_read_or_refused_with_its_faults(where: str, what: Any) -> None:
    test = in_cluster()
    test["spec"][where] = what

    names = config_maps_needed(test)
    try:
        loaded = load_from_cluster(test, dict.fromkeys(names, CODE))
    except SpecInvalid as err:
        count = len(err.faults)
    else:
        count = len(loaded.plan)
    assert count > 0
