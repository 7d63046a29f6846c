"""What ``bundle`` makes of a file: the objects, and what the options change."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest

from batchyard.engine.bundling import Wanted, bundle_file
from batchyard.engine.cluster_source import DIMENSIONS_ANNOTATION
from batchyard.engine.config_maps import MAX_BYTES
from batchyard.engine.sources import STDIN, load
from batchyard.environments.manifests import MANAGED_SELECTOR
from batchyard.model.spec import Provider
from bundle_bench import (
    a_batch_test,
    a_file,
    bundled,
    code_of,
    faults_of,
    in_cluster,
    mounted,
    of_provider,
    run_of,
    the_test,
)

EXAMPLE = Path(__file__).parents[2] / "examples" / "docs_search" / "batchtest.yaml"


# -- the whole of it ---------------------------------------------------------------------------------------------


def test_the_example_is_in_a_cluster_what_it_is_here() -> None:
    bundle = bundled(EXAMPLE)

    local, there = load(EXAMPLE), in_cluster(bundle)
    assert [trial.id for trial in there.plan] == [trial.id for trial in local.plan]
    assert there.plan == local.plan
    assert run_of(there) == run_of(local)
    files = mounted(code_of(bundle))
    assert files["docs_search/graph.py"] == (EXAMPLE.parent / "docs_search" / "graph.py").read_bytes()
    assert "batchtest.yaml" not in files
    assert "cases.jsonl" not in files


def test_the_code_comes_first_then_the_cases_then_the_batchtest(tmp_path: Path) -> None:
    (tmp_path / "more.jsonl").write_text('{"name": "two"}\n')

    bundle = bundled(a_file(tmp_path, casesFrom=[{"path": "more.jsonl"}]))

    components = [one["metadata"].get("labels", {}).get("app.kubernetes.io/component") for one in bundle.objects]
    assert components == ["code", "cases", None]
    assert the_test(bundle)["kind"] == "BatchTest"


def test_what_the_file_says_stays_as_it_is_written(tmp_path: Path) -> None:
    document = a_batch_test(deadlines={"trialSeconds": 7}, environment={"env": {"MODE": "test"}})

    test = the_test(bundled(a_file(tmp_path, document)))

    source = test["spec"]["workflow"].pop("source")
    assert list(source) == ["configMapRef"]
    del document["spec"]["workflow"]["source"], test["metadata"]["annotations"]
    assert test == document


def test_the_order_of_the_dimensions_survives_an_api_server(tmp_path: Path) -> None:
    path = a_file(tmp_path, variants={"matrix": {"z": ["1", "2"], "a": ["x", "y"], "m": ["p"]}})

    there = in_cluster(bundled(path))

    assert [one.name for one in there.plan.combinations] == [one.name for one in load(path).plan.combinations]
    assert there.plan.combinations[1].name == "1-y-p"


def test_an_order_that_no_api_server_changes_is_not_written_down(tmp_path: Path) -> None:
    document = a_batch_test(variants={"matrix": {"a": ["x"], "b": ["y"]}})
    document["metadata"]["annotations"] = {DIMENSIONS_ANNOTATION: '["b", "a"]', "note": "mine"}

    bundle = bundled(a_file(tmp_path, document))

    assert the_test(bundle)["metadata"]["annotations"] == {"note": "mine"}


@pytest.mark.parametrize("annotation", ["[", "7", '{"a": 1}', '["nobody", 3, null]', "[" * 100_000])
def test_an_annotation_that_tells_no_order_changes_nothing(tmp_path: Path, annotation: str) -> None:
    bundle = bundled(a_file(tmp_path, variants={"matrix": {"z": ["1", "2"], "a": ["x", "y"]}}))
    the_test(bundle)["metadata"]["annotations"][DIMENSIONS_ANNOTATION] = annotation

    there = in_cluster(bundle)

    assert [one.name for one in there.plan.combinations] == ["x-1", "x-2", "y-1", "y-2"]


def test_bundling_twice_gives_equal_objects_in_equal_order(tmp_path: Path) -> None:
    (tmp_path / "more.csv").write_text("question\nhow\n")
    path = a_file(tmp_path, casesFrom=[{"path": "more.csv"}])

    first, second = (json.dumps(bundled(path).objects) for _ in range(2))

    assert first == second


def test_a_name_tells_the_contents_and_does_not_change_without_them(tmp_path: Path) -> None:
    path = a_file(tmp_path)
    before = code_of(bundled(path))["metadata"]["name"]

    (tmp_path / "graph.py").touch()
    touched = code_of(bundled(path))["metadata"]["name"]
    (tmp_path / "graph.py").write_text("def build(variants): return 1\n")
    changed = code_of(bundled(path))["metadata"]["name"]

    assert re.fullmatch(r"demo-code-[0-9a-f]{8}", before)
    assert touched == before
    assert changed != before


def test_a_file_with_another_path_is_other_contents(tmp_path: Path) -> None:
    path = a_file(tmp_path)
    (tmp_path / "a.b").mkdir()
    (tmp_path / "a.b" / "c").write_text("1")
    before = code_of(bundled(path))["metadata"]["name"]

    (tmp_path / "a.b").rename(tmp_path / "a")
    (tmp_path / "a" / "b").mkdir()
    (tmp_path / "a" / "c").rename(tmp_path / "a" / "b" / "c")

    assert code_of(bundled(path))["metadata"]["name"] != before


def test_configmaps_are_immutable_and_nothing_that_the_operator_sweeps(tmp_path: Path) -> None:
    (tmp_path / "more.jsonl").write_text('{"name": "two"}\n')

    bundle = bundled(a_file(tmp_path, casesFrom=[{"path": "more.jsonl"}]))

    for one in bundle.objects[:-1]:
        assert one["immutable"] is True
        labels = one["metadata"]["labels"]
        assert labels["batchyard.dev/batch"] == "demo"
        assert not MANAGED_SELECTOR.items() <= labels.items()


def test_standard_input_is_bundled_with_the_code_of_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = a_file(tmp_path).read_bytes()
    monkeypatch.chdir(tmp_path)

    bundle = bundle_file(STDIN, Wanted(), io.BytesIO(text))

    assert "graph.py" in mounted(code_of(bundle))


def test_code_in_an_image_or_in_the_cluster_stays_there(tmp_path: Path) -> None:
    for source in ({"image": "registry.example/search:1"}, {"configMapRef": {"name": "search-code"}}):
        bundle = bundled(a_file(tmp_path, workflow={"factory": "graph:build", "source": source}))

        assert len(bundle.objects) == 1
        assert the_test(bundle)["spec"]["workflow"]["source"] == source


def test_cases_in_the_cluster_stay_where_they_are_among_the_others(tmp_path: Path) -> None:
    (tmp_path / "first.jsonl").write_text('{"name": "two"}\n')
    (tmp_path / "last.jsonl").write_text('{"name": "three", "weight": 0}\n')
    reference = {"configMapRef": {"name": "smoke-cases", "key": "cases.csv"}}

    bundle = bundled(a_file(tmp_path, casesFrom=[{"path": "first.jsonl"}, reference, {"path": "last.jsonl"}]))

    written = [entry["configMapRef"]["key"] for entry in the_test(bundle)["spec"]["casesFrom"]]
    assert written == ["first.jsonl", "cases.csv", "last.jsonl"]
    assert any("smoke-cases" in notice for notice in bundle.notices)


def test_cases_that_are_not_known_here_may_have_the_weight(tmp_path: Path) -> None:
    reference = {"configMapRef": {"name": "smoke-cases", "key": "cases.csv"}}

    bundle = bundled(a_file(tmp_path, cases=[{"name": "one", "weight": 0}], casesFrom=[reference]))

    assert the_test(bundle)["spec"]["casesFrom"] == [reference]


# -- options -----------------------------------------------------------------------------------------------------


def test_the_provider_can_be_chosen(tmp_path: Path) -> None:
    path = a_file(tmp_path, **of_provider("Ray"), parallelism=2)

    test = the_test(bundled(path, provider=Provider.KUBE_RAY, workers=3))

    assert test["spec"]["environment"] == {"provider": "KubeRay", "kubeRay": {"workers": {"replicas": 3}}}


def test_a_provider_can_be_given_to_a_file_without_an_environment(tmp_path: Path) -> None:
    test = the_test(bundled(a_file(tmp_path), provider=Provider.IN_PROCESS))

    assert test["spec"]["environment"] == {"provider": "InProcess"}


def test_the_workers_of_the_file_keep_all_but_their_number(tmp_path: Path) -> None:
    kube_ray = {"rayVersion": "2.52.0", "workers": {"replicas": 1, "resources": {"cpu": "2"}}}

    test = the_test(bundled(a_file(tmp_path, **of_provider("KubeRay", kubeRay=kube_ray)), workers=0))

    assert test["spec"]["environment"]["kubeRay"] == {
        "rayVersion": "2.52.0",
        "workers": {"replicas": 0, "resources": {"cpu": "2"}},
    }


def test_without_kuberay_there_is_no_raycluster_to_describe(tmp_path: Path) -> None:
    path = a_file(tmp_path, **of_provider("KubeRay", kubeRay={"rayVersion": "2.52.0"}, env={"A": "b"}))

    bundle = bundled(path, provider=Provider.IN_PROCESS)

    assert the_test(bundle)["spec"]["environment"] == {"provider": "InProcess", "env": {"A": "b"}}
    assert in_cluster(bundle).plan == load(path).plan


def test_with_an_image_no_code_is_read(tmp_path: Path) -> None:
    path = a_file(tmp_path)
    (tmp_path / "elsewhere").symlink_to("/")
    (tmp_path / "large.bin").write_bytes(bytes(MAX_BYTES + 1))

    bundle = bundled(path, image="registry.example/search:1.4@sha256:00")

    assert len(bundle.objects) == 1
    assert the_test(bundle)["spec"]["workflow"]["source"] == {"image": "registry.example/search:1.4@sha256:00"}


def test_name_and_namespace_are_those_of_every_object(tmp_path: Path) -> None:
    (tmp_path / "more.jsonl").write_text('{"name": "two"}\n')
    path = a_file(tmp_path, casesFrom=[{"path": "more.jsonl"}])

    bundle = bundled(path, name="other", namespace="team-a")

    assert [one["metadata"]["namespace"] for one in bundle.objects] == ["team-a"] * 3
    assert the_test(bundle)["metadata"]["name"] == "other"
    assert all(one["metadata"]["name"].startswith("other-") for one in bundle.objects[:-1])
    assert all(one["metadata"]["labels"]["batchyard.dev/batch"] == "other" for one in bundle.objects[:-1])


def test_the_files_own_namespace_is_the_configmaps_too(tmp_path: Path) -> None:
    document = a_batch_test()
    document["metadata"]["namespace"] = "team-b"

    bundle = bundled(a_file(tmp_path, document))

    assert [one["metadata"]["namespace"] for one in bundle.objects] == ["team-b"] * 2


def test_without_a_namespace_none_is_written(tmp_path: Path) -> None:
    assert all("namespace" not in one["metadata"] for one in bundled(a_file(tmp_path)).objects)


# -- cases -------------------------------------------------------------------------------------------------------


def test_case_files_of_every_format_become_lines_of_json_with_their_names(tmp_path: Path) -> None:
    (tmp_path / "My cases.csv").write_text("question,weight,expected:json\nwhy,2,[1]\nhow,,\n")
    (tmp_path / "b.yaml").write_text("- {name: two, input: {at: 2024-01-01, x: 1.0}, deadlineSeconds: 5}\n")
    path = a_file(tmp_path, casesFrom=[{"path": "My cases.csv"}, {"path": "b.yaml"}])

    bundle = bundled(path)

    keys = [entry["configMapRef"]["key"] for entry in the_test(bundle)["spec"]["casesFrom"]]
    assert keys == ["my-cases.jsonl", "b.jsonl"]
    assert bundle.objects[2]["data"]["b.jsonl"] == (
        '{"name":"two","input":{"at":"2024-01-01","x":1.0},"deadlineSeconds":5.0}\n'
    )
    assert in_cluster(bundle).plan.cases == load(path).plan.cases


def test_many_cases_are_parted_into_configmaps_that_plain_kubectl_can_apply(tmp_path: Path) -> None:
    rows = [json.dumps({"name": f"case-{number}", "input": {"text": '"' * 400}}) for number in range(2000)]
    (tmp_path / "many.jsonl").write_text("\n".join(rows))
    path = a_file(tmp_path, casesFrom=[{"path": "many.jsonl"}])

    bundle = bundled(path)

    assert len(bundle.objects) > 5
    assert not bundle.notices
    assert in_cluster(bundle).plan == load(path).plan


def test_so_many_cases_that_they_need_all_the_room_there_is_say_so(tmp_path: Path) -> None:
    rows = [json.dumps({"name": f"case-{number}", "input": {"text": "x" * 100_000}}) for number in range(200)]
    (tmp_path / "many.jsonl").write_text("\n".join(rows))
    path = a_file(tmp_path, casesFrom=[{"path": "many.jsonl"}])

    bundle = bundled(path)

    assert len(bundle.objects) == 2 + 20
    assert "--server-side" in bundle.notices[0]
    assert in_cluster(bundle).plan == load(path).plan


def test_more_cases_than_a_batchtest_can_name_are_refused(tmp_path: Path) -> None:
    rows = [json.dumps({"name": f"case-{number}", "input": {"text": "x" * 700_000}}) for number in range(65)]
    (tmp_path / "many.jsonl").write_text("\n".join(rows))

    faults = faults_of(a_file(tmp_path, casesFrom=[{"path": "many.jsonl"}]))

    assert list(faults) == ["spec.casesFrom"]
    assert "65 ConfigMaps, more than the 64" in faults["spec.casesFrom"]


def test_a_case_that_no_configmap_holds_is_named(tmp_path: Path) -> None:
    rows = [json.dumps({"name": name, "input": {"text": "x" * size}}) for name, size in (("a", 5), ("b", MAX_BYTES))]
    (tmp_path / "many.jsonl").write_text("\n".join(rows))

    faults = faults_of(a_file(tmp_path, casesFrom=[{"path": "many.jsonl"}]))

    assert list(faults) == ["many.jsonl: case b"]


def test_cases_of_the_files_own_that_are_too_many_are_moved_out_before_the_others(tmp_path: Path) -> None:
    cases = [{"name": f"own-{number}", "input": {"text": "ü" * 100}, "weight": number} for number in range(500)]
    (tmp_path / "more.jsonl").write_text('{"name": "last"}\n')

    bundle = bundled(a_file(tmp_path, cases=cases, casesFrom=[{"path": "more.jsonl"}]))

    assert "cases" not in the_test(bundle)["spec"]
    there = in_cluster(bundle)
    assert [case.name for case in there.plan.cases] == [*(case["name"] for case in cases), "last"]
    assert [case.weight for case in there.plan.cases] == [*range(500), 1]


def test_cases_that_may_stay_in_the_file_do(tmp_path: Path) -> None:
    bundle = bundled(a_file(tmp_path))

    assert "casesFrom" not in the_test(bundle)["spec"]
    assert the_test(bundle)["spec"]["cases"] == [{"name": "one", "input": {"question": "why"}}]
