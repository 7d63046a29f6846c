"""What containers said last is quoted in a status, events and the audit trail: never with a value of a Secret in it."""

from __future__ import annotations

from typing import Any

import pytest

from batchyard.environments.place_secrets import secret_names
from fake_cluster_api import PODS, SECRETS
from place_bench import Bench, job_bench, ray_bench, secret_of, told
from place_builders import RESULTS_TOKEN, kube_ray, request

URL = "https://robot:hunter22hunter22@git.example"
REFUSED = f"fatal: unable to access '{URL}/docs.git/': The requested URL returned error: 403"
CLONE: dict[str, Any] = {
    "name": "clone",
    "image": "git:1",
    "env": [{"name": "ORIGIN", "valueFrom": {"secretKeyRef": {"name": "git", "key": "url"}}}],
    "terminationMessagePolicy": "FallbackToLogsOnError",
}


def ended(name: str, message: str, code: int = 1) -> dict[str, Any]:
    return {"name": name, "state": {"terminated": {"exitCode": code, "reason": "Error", "message": message}}}


def crashed(name: str, message: str) -> dict[str, Any]:
    last = {"terminated": {"exitCode": 1, "reason": "Error", "message": message}}
    return {"name": name, "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": last}


def with_clone(bench: Bench) -> None:
    bench.cluster.put(SECRETS, "git", secret_of("git", url=URL))
    bench.ensure()


# -- which Secrets ---------------------------------------------------------------------------------------------------


TEMPLATE: dict[str, Any] = {
    "volumes": [
        {"name": "netrc", "secret": {"secretName": "netrc"}},
        {"name": "both", "projected": {"sources": [{"secret": {"name": "projected"}}, {"configMap": {"name": "map"}}]}},
    ],
    "initContainers": [CLONE],
    "containers": [{"name": "proxy", "image": "proxy:1", "envFrom": [{"secretRef": {"name": "proxy"}}]}],
}


@pytest.mark.parametrize("environment", [{"template": TEMPLATE}, kube_ray(TEMPLATE)], ids=["InProcess", "KubeRay"])
def test_the_secrets_of_a_place_are_also_those_that_its_template_names(environment: dict[str, Any]) -> None:
    asked = request(environment={**environment, "envFrom": [{"secretRef": {"name": "llm"}}]})

    assert set(secret_names(asked)) == {"llm", "netrc", "projected", "git", "proxy"}


def test_the_secrets_of_a_place_are_also_those_of_the_templates_of_one_kind_of_rays_pods() -> None:
    workers = {"template": {"volumes": [{"name": "corpus", "secret": {"secretName": "corpus"}}]}}

    assert secret_names(request(environment=kube_ray(workers=workers))) == ("corpus",)


def test_what_a_template_leaves_without_a_name_is_no_secret() -> None:
    volumes = [{"name": "one", "secret": {"secretName": ""}}, {"name": "two", "secret": {"secretName": 7}}]

    assert secret_names(request(environment={"template": {"volumes": volumes}})) == ()


# -- what is quoted --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "status",
    [
        {"phase": "Failed", "initContainerStatuses": [ended("clone", REFUSED)]},
        {"phase": "Pending", "initContainerStatuses": [crashed("clone", REFUSED)]},
        {"phase": "Pending", "initContainerStatuses": [ended("clone", REFUSED)]},
    ],
    ids=["failed", "tries again", "going to fail"],
)
def test_what_an_added_container_said_last_is_quoted_without_its_secrets(status: dict[str, Any]) -> None:
    with job_bench(request(environment={"template": {"initContainers": [CLONE]}})) as bench:
        with_clone(bench)
        bench.pod(**status)

        seen = bench.observe()

    assert "hunter22" not in told(seen)
    assert "fatal: unable to access '[redacted]/docs.git/'" in seen.message


def test_what_a_pod_of_ray_said_last_is_quoted_without_its_secrets() -> None:
    with ray_bench(template={"initContainers": [CLONE]}) as bench:
        with_clone(bench)
        bench.take_up()
        bench.head(ready=False, phase="Pending", initContainerStatuses=[crashed("clone", REFUSED)])

        starting = bench.observe()
        bench.becomes("head", podIP="10.0.0.1", phase="Running", containerStatuses=[ended("ray-head", REFUSED)])
        ours = bench.cluster.get(PODS, f"{bench.name}-head")["metadata"]["uid"]
        lost = bench.observe(f"session@{ours}")
        replaced = bench.observe("session@another-pod")

    for seen in (starting, lost, replaced):
        assert "hunter22" not in told(seen)
        assert "'[redacted]/docs.git/'" in seen.message


@pytest.mark.parametrize(
    "message",
    [f"{URL[9:]} " + "x" * 2040, "x" * 2040 + f" {URL[:-9]}", f"no such token: {RESULTS_TOKEN}"],
    ids=["cut at the beginning", "cut at the end", "the worker's token"],
)
def test_not_even_a_part_of_a_secret_is_quoted_where_the_cluster_cut_what_was_said(message: str) -> None:
    with job_bench(request(environment={"template": {"initContainers": [CLONE]}})) as bench:
        with_clone(bench)
        bench.pod(phase="Failed", initContainerStatuses=[ended("clone", message)])

        seen = told(bench.observe())

    assert "hunter22" not in seen
    assert RESULTS_TOKEN not in seen


def test_what_a_container_said_is_left_out_where_the_secrets_cannot_be_known() -> None:
    with job_bench(request(environment={"template": {"initContainers": [CLONE]}})) as bench:
        with_clone(bench)
        bench.pod(phase="Failed", initContainerStatuses=[ended("clone", REFUSED)])
        bench.cluster.fail("GET", "secrets/git", 403, reason="Forbidden")

        seen = bench.observe()

    assert (seen.reason, seen.message) == ("Error", "container clone ended with 1 (Error)")


def test_no_secret_is_read_for_a_pod_that_runs() -> None:
    with job_bench(request(environment={"template": {"initContainers": [CLONE]}})) as bench:
        with_clone(bench)
        bench.pod(phase="Running", initContainerStatuses=[ended("clone", "cloned", code=0)])

        bench.observe()

        assert not any("secrets/git" in one.path for one in bench.cluster.asked)


def test_the_last_words_of_a_driver_are_quoted_without_what_a_template_mounts() -> None:
    template = {"volumes": [{"name": "netrc", "secret": {"secretName": "netrc"}}]}
    with ray_bench(template=template) as bench:
        bench.cluster.put(SECRETS, "netrc", secret_of("netrc", url=URL))
        identity = bench.begun()
        bench.ray.end(bench.name, "FAILED", REFUSED, "JOB_ENTRYPOINT_COMMAND_ERROR")

        seen = bench.observe(identity)

    assert "hunter22" not in told(seen)
    assert "unable to access" in seen.message
