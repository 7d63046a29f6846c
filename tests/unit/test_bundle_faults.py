"""What ``bundle`` refuses, every fault at once, and what it gives notice of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from batchyard.model.spec import Provider
from bundle_bench import a_batch_test, a_file, bundled, code_of, faults_of, mounted, of_provider

if TYPE_CHECKING:
    from pathlib import Path


def test_every_fault_is_told_at_once_whatever_it_is_of(tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text("{}\n{\n")
    (tmp_path / "away").symlink_to("/etc")
    overrides = [{"match": {}, "packages": ["--pre"]}]
    document = a_batch_test(
        repeats=0,
        variants={"matrix": {"a": ["x"]}, "overrides": overrides},
        casesFrom=[{"path": "bad.jsonl"}, {"path": "none.jsonl"}],
        **of_provider("Ray"),
    )

    faults = faults_of(a_file(tmp_path, document), workers=2, name="Demo", namespace="a b", image="")

    assert list(faults) == [
        "--name",
        "--namespace",
        "--workers",
        "spec.variants.overrides[0].packages[0]",
        "spec.repeats",
        "spec.casesFrom[1].path",
        "spec.environment.provider",
        "bad.jsonl:2",
        "away",
    ]


def test_what_the_place_would_not_have_is_told_beside_every_other_fault(tmp_path: Path) -> None:
    template = {"hostNetwork": True, "foo": 1}

    faults = faults_of(a_file(tmp_path, repeats=0, environment={"template": template}))

    assert list(faults) == [
        "spec.repeats",
        "spec.environment.template.hostNetwork",
        "spec.environment.template.foo",
    ]


def test_the_place_is_that_of_the_provider_that_is_wanted(tmp_path: Path) -> None:
    environment = {"kubeRay": {"head": {"template": {"hostNetwork": True}}}, "provider": "KubeRay"}

    assert list(faults_of(a_file(tmp_path, environment=environment))) == [
        "spec.environment.kubeRay.head.template.hostNetwork"
    ]
    assert bundled(a_file(tmp_path, environment=environment), provider=Provider.IN_PROCESS).objects


def test_a_local_ray_is_refused_with_what_to_do(tmp_path: Path) -> None:
    faults = faults_of(a_file(tmp_path, **of_provider("Ray")))

    assert faults == {
        "spec.environment.provider": "is for an address outside a cluster; "
        "give --provider KubeRay or --provider InProcess"
    }


def test_workers_are_for_kuberay_only(tmp_path: Path) -> None:
    faults = faults_of(a_file(tmp_path), workers=2)

    assert faults == {
        "--workers": "is only for provider KubeRay, not InProcess; give --provider KubeRay, or leave --workers out"
    }


@pytest.mark.parametrize("image", ["a b", "a\n", "x" * 1025, "\x1b[0m"])
def test_an_image_that_is_none_is_refused(tmp_path: Path, image: str) -> None:
    assert list(faults_of(a_file(tmp_path), image=image)) == ["--image"]


def test_an_image_that_the_ray_pods_would_not_run_is_refused(tmp_path: Path) -> None:
    path = a_file(tmp_path, **of_provider("KubeRay", kubeRay={"image": "ray:1"}))

    assert list(faults_of(path, image="search:1")) == ["spec.environment.kubeRay.image"]
    assert bundled(path, image="ray:1").objects
    assert bundled(path, image="search:1", provider=Provider.IN_PROCESS).objects


def test_threads_are_refused_on_ray(tmp_path: Path) -> None:
    path = a_file(tmp_path, **of_provider("InProcess", isolation="Thread"))

    assert list(faults_of(path, provider=Provider.KUBE_RAY)) == ["spec.environment.isolation"]
    assert bundled(path).objects


def test_a_file_that_is_no_batchtest_at_all_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "batch.yaml"
    for text in ("", "[]", "spec: []", "spec: {cases: 1, casesFrom: [1, {path: 2}], workflow: {source: x}}", "{"):
        path.write_text(text)

        assert faults_of(path, workers=1, name="X")


def test_a_source_that_is_no_folder_is_refused_once(tmp_path: Path) -> None:
    path = a_file(tmp_path, workflow={"factory": "graph:build", "source": {"path": "nowhere"}})

    assert list(faults_of(path)) == ["spec.workflow.source.path"]


# -- notices -----------------------------------------------------------------------------------------------------


def test_nothing_is_said_of_a_bundle_that_needs_no_care(tmp_path: Path) -> None:
    assert bundled(a_file(tmp_path)).notices == ()


def test_code_without_the_factory_is_noticed(tmp_path: Path) -> None:
    path = a_file(tmp_path, workflow={"factory": "other.graph:build", "source": {"path": "."}})

    assert "module other" in bundled(path).notices[0]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "graph.py").write_text("")
    assert bundled(path).notices == ()


def test_code_that_plain_kubectl_cannot_apply_is_noticed(tmp_path: Path) -> None:
    path = a_file(tmp_path)
    (tmp_path / "words.txt").write_text("word\n" * 60_000)

    assert "demo-code-" in bundled(path).notices[0]
    assert "--server-side" in bundled(path).notices[0]


def test_a_store_that_is_left_out_is_noticed_until_the_user_says_so(tmp_path: Path) -> None:
    path = a_file(tmp_path)
    (tmp_path / "facts.db").write_bytes(b"SQLite")

    noticed = bundled(path)
    (tmp_path / ".batchyardignore").write_text("*.db\n")
    agreed = bundled(path)
    (tmp_path / ".batchyardignore").write_text("!facts.db\n")
    taken = bundled(path)

    assert "facts.db" in noticed.notices[0]
    assert agreed.notices == taken.notices == ()
    assert "facts.db" not in mounted(code_of(agreed))
    assert mounted(code_of(taken))["facts.db"] == b"SQLite"
