"""What a place is made of, object by object."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from batchyard.engine.cluster_ports import ClusterRef
from batchyard.engine.places import place_name
from batchyard.environments import manifests
from batchyard.environments.manifests import SECRETS_FOLDER, SPOOL_FOLDER, TOKEN_FOLDER, job, ray_cluster, token_secret
from place_builders import DEFAULTS, REF, RESULTS_TOKEN, RESULTS_URL, UID, kube_ray, request
from pod_security import violations

Object = dict[str, Any]


def job_template(**spec: Any) -> Object:
    made: Object = job(request(**spec), DEFAULTS, 60)["spec"]["template"]
    return made


def ray_templates(**spec: Any) -> tuple[Object, Object]:
    made = ray_cluster(request(**spec), DEFAULTS)["spec"]
    return made["headGroupSpec"]["template"], made["workerGroupSpecs"][0]["template"]


def all_templates(**environment: Any) -> list[Object]:
    """Return the templates of every pod there is, for one environment."""
    given = dict(environment)
    fields = given.pop("kubeRay", {})
    on_ray = {**given, **kube_ray(given.get("template"), **fields)}
    return [job_template(environment=given), *ray_templates(environment=on_ray)]


def env_of(template: Object) -> dict[str, str]:
    return {entry["name"]: entry.get("value", "") for entry in template["spec"]["containers"][0]["env"]}


def mounts_of(template: Object) -> dict[str, str]:
    return {mount["mountPath"]: mount["name"] for mount in template["spec"]["containers"][0]["volumeMounts"]}


# -- every pod -------------------------------------------------------------------------------------------------------


def test_every_pod_keeps_to_the_restricted_profile() -> None:
    for template in all_templates():
        assert violations(template) == []


def test_no_pod_gets_a_token_of_the_cluster() -> None:
    for template in all_templates(template={"serviceAccountName": "build-bot"}):
        assert template["spec"]["automountServiceAccountToken"] is False
        assert "serviceAccountToken" not in json.dumps(template)


def test_no_pod_is_told_of_the_namespaces_services() -> None:
    assert [template["spec"]["enableServiceLinks"] for template in all_templates()] == [False, False, False]


def test_a_pod_writes_to_its_own_folders_only() -> None:
    for template in all_templates():
        assert template["spec"]["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True
        assert {"/tmp": "tmp", SPOOL_FOLDER: "spool"}.items() <= mounts_of(template).items()
        assert {"name": "tmp", "emptyDir": {}} in template["spec"]["volumes"]


def test_the_same_request_gives_the_same_objects() -> None:
    first, second = request(environment=kube_ray()), request(environment=kube_ray())

    assert json.dumps(ray_cluster(first, DEFAULTS)) == json.dumps(ray_cluster(second, DEFAULTS))
    assert json.dumps(job(first, DEFAULTS, 60)) == json.dumps(job(second, DEFAULTS, 60))


def test_objects_and_pods_say_whose_they_are() -> None:
    made = job(request(attempt=3), DEFAULTS, 60)

    for labels in (made["metadata"]["labels"], made["spec"]["template"]["metadata"]["labels"]):
        assert labels["app.kubernetes.io/managed-by"] == "batchyard"
        assert labels["batchyard.dev/batch"] == "docs-search"
        assert labels["batchyard.dev/uid"] == UID
        assert labels["batchyard.dev/attempt"] == "3"


def test_a_batch_label_of_a_long_name_is_still_a_label() -> None:
    ref = replace(REF, name="a" * 62 + "." + "b" * 100)

    labels = job(request(ref), DEFAULTS, 60)["metadata"]["labels"]

    assert labels["batchyard.dev/batch"] == "a" * 62


@pytest.mark.parametrize("kind", ["Job", "RayCluster"])
def test_a_place_belongs_to_its_batchtest(kind: str) -> None:
    made = job(request(), DEFAULTS, 60) if kind == "Job" else ray_cluster(request(), DEFAULTS)

    assert made["kind"] == kind
    assert made["metadata"]["namespace"] == "team-a"
    assert made["metadata"]["ownerReferences"] == [
        {
            "apiVersion": "batchyard.dev/v1alpha1",
            "kind": "BatchTest",
            "name": "docs-search",
            "uid": UID,
            "controller": True,
        }
    ]


# -- the Secret and secrets ------------------------------------------------------------------------------------------


def test_the_tokens_secret_belongs_to_the_place_and_goes_with_it() -> None:
    owner = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "x", "uid": "the-jobs"}}

    secret = token_secret(request(), owner)

    assert secret["metadata"]["ownerReferences"] == [
        {"apiVersion": "batch/v1", "kind": "Job", "name": "x", "uid": "the-jobs"}
    ]
    assert secret["stringData"] == {"token": RESULTS_TOKEN}
    assert secret["immutable"] is True


def test_the_token_is_in_its_secret_and_nowhere_else() -> None:
    for made in (job(request(), DEFAULTS, 60), ray_cluster(request(environment=kube_ray()), DEFAULTS)):
        assert RESULTS_TOKEN not in json.dumps(made)


def test_the_runner_and_the_head_get_the_results_token_and_the_workers_do_not() -> None:
    runner, head, worker = all_templates()

    for template in (runner, head):
        assert mounts_of(template)[TOKEN_FOLDER] == "token"
        assert env_of(template)["BATCHYARD_TOKEN_FILE"] == f"{TOKEN_FOLDER}/token"
        assert env_of(template)["BATCHYARD_RESULTS_URL"] == RESULTS_URL
    assert "results" not in json.dumps(worker["spec"]["volumes"])
    assert TOKEN_FOLDER not in mounts_of(worker)
    assert not {"BATCHYARD_TOKEN_FILE", "BATCHYARD_RESULTS_URL", "BATCHYARD_BATCH"} & env_of(worker).keys()


def test_secrets_come_by_name_as_variables_and_as_files_that_the_worker_knows_to_keep_quiet() -> None:
    entries = [{"configMapRef": {"name": "settings"}}, {"secretRef": {"name": "llm-keys"}, "prefix": "LLM_"}]

    for template in all_templates(envFrom=entries):
        container = template["spec"]["containers"][0]
        assert container["envFrom"] == [
            {"configMapRef": {"name": "settings"}},
            {"secretRef": {"name": "llm-keys"}, "prefix": "LLM_"},
        ]
        assert {"name": "secret-1", "secret": {"secretName": "llm-keys"}} in template["spec"]["volumes"]
        assert mounts_of(template)[f"{SECRETS_FOLDER}/1"] == "secret-1"
        assert env_of(template)["BATCHYARD_SECRET_FILES"] == SECRETS_FOLDER


def test_the_worker_also_knows_the_secrets_that_a_template_mounts() -> None:
    overlay = {
        "volumes": [{"name": "cloud", "secret": {"secretName": "cloud-key"}}, {"name": "data", "emptyDir": {}}],
        "containers": [
            {
                "name": "runner",
                "volumeMounts": [{"name": "cloud", "mountPath": "/cloud"}, {"name": "data", "mountPath": "/data"}],
            }
        ],
    }

    mounts = mounts_of(job_template(environment={"template": overlay}))

    assert mounts["/cloud"] == mounts[f"{SECRETS_FOLDER}/volume-cloud"] == "cloud"
    assert f"{SECRETS_FOLDER}/volume-data" not in mounts


# -- variables -------------------------------------------------------------------------------------------------------


def test_plain_variables_reach_every_pod() -> None:
    for template in all_templates(env={"MODE": "fast", "BATCHYARD_CA_FILE": "/etc/ca.pem"}):
        assert env_of(template)["MODE"] == "fast"
        assert env_of(template)["BATCHYARD_CA_FILE"] == "/etc/ca.pem"


def test_plain_variables_replace_none_of_ours_and_do_not_open_ray() -> None:
    hostile = {
        "BATCHYARD_RESULTS_URL": "http://evil.test",
        "BATCHYARD_SECRET_FILES": "",
        "BATCHYARD_TOKEN_FILE": "/etc/passwd",
        "HOME": "/root",
        "RAY_AUTH_MODE": "disabled",
        "RAY_AUTH_TOKEN": "guessed",
    }

    for plain, given in zip(all_templates(), all_templates(env=hostile), strict=True):
        assert given == plain


def test_every_variable_is_set_once() -> None:
    for template in all_templates(env={"MODE": "fast", "BATCHYARD_BATCH": "another"}):
        names = [entry["name"] for entry in template["spec"]["containers"][0]["env"]]
        assert sorted(names) == sorted(set(names))


# -- the code --------------------------------------------------------------------------------------------------------


def test_the_code_is_mounted_read_only_at_its_own_paths() -> None:
    for template in all_templates():
        assert {
            "name": "source",
            "configMap": {
                "name": "docs-code",
                "items": [
                    {"key": "data--words.txt", "path": "data/words.txt"},
                    {"key": "docs.py", "path": "docs.py"},
                ],
            },
        } in template["spec"]["volumes"]
        mount = next(one for one in template["spec"]["containers"][0]["volumeMounts"] if one["name"] == "source")
        assert mount["readOnly"] is True
        assert env_of(template)["BATCHYARD_SOURCE"] == mount["mountPath"]


def test_code_in_an_image_is_used_as_it_is_there() -> None:
    workflow = {"factory": "docs:build", "source": {"image": "registry.test/docs:3"}}

    for template in (job_template(workflow=workflow), *ray_templates(workflow=workflow, environment=kube_ray())):
        assert template["spec"]["containers"][0]["image"] == "registry.test/docs:3"
        assert "source" not in json.dumps(template["spec"]["volumes"])
        assert env_of(template)["BATCHYARD_SOURCE"] == ""


def test_an_image_for_ray_is_that_of_the_head_and_of_the_workers() -> None:
    head, worker = ray_templates(environment=kube_ray(image="registry.test/ray:9"))

    assert head["spec"]["containers"][0]["image"] == worker["spec"]["containers"][0]["image"] == "registry.test/ray:9"


def test_the_operators_pull_policy_holds_for_every_container_of_ours() -> None:
    made = job(request(), replace(DEFAULTS, pull_policy="Never"), 60)

    assert made["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"] == "Never"
    assert "imagePullPolicy" not in job_template()["spec"]["containers"][0]


# -- the Job ---------------------------------------------------------------------------------------------------------


def test_a_job_runs_one_pod_once_and_never_two_of_them() -> None:
    spec = job(request(), DEFAULTS, 60)["spec"]

    assert (spec["backoffLimit"], spec["completions"], spec["parallelism"]) == (0, 1, 1)
    assert spec["podReplacementPolicy"] == "Failed"
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    assert spec["template"]["spec"]["containers"][0]["args"] == ["worker"]


def test_a_job_outlives_its_batch_only_as_long_as_a_dead_operator_may_take_to_come_back() -> None:
    asked = request(deadlines={"graceSeconds": 5})

    assert job(asked, DEFAULTS, 60.2)["spec"]["activeDeadlineSeconds"] == 66 + 300
    assert job(asked, DEFAULTS, 0)["spec"]["activeDeadlineSeconds"] == 5 + 300


# -- the RayCluster --------------------------------------------------------------------------------------------------


def test_a_raycluster_opens_to_its_token_only() -> None:
    spec = ray_cluster(request(environment=kube_ray()), DEFAULTS)["spec"]

    assert spec["authOptions"] == {"mode": "token"}
    assert spec["rayVersion"] == "2.52.0"


def test_the_version_of_ray_is_the_batchs_own_if_it_names_one() -> None:
    spec = ray_cluster(request(environment=kube_ray(rayVersion="2.55.1")), DEFAULTS)["spec"]

    assert spec["rayVersion"] == "2.55.1"


def test_the_workers_are_as_many_as_asked_for_and_stay_so() -> None:
    asked = request(environment=kube_ray(workers={"replicas": 3}))

    group = ray_cluster(asked, DEFAULTS)["spec"]["workerGroupSpecs"][0]

    assert (group["replicas"], group["minReplicas"], group["maxReplicas"]) == (3, 3, 3)
    assert manifests.wanted_workers(asked) == 3


def test_no_trial_runs_on_the_head_whatever_is_asked_for() -> None:
    params = {"num-cpus": "8", "dashboard-port": "1", "include-dashboard": "false", "log-color": "false"}

    spec = ray_cluster(request(environment=kube_ray(head={"rayStartParams": params})), DEFAULTS)["spec"]

    everywhere = "0.0.0.0"  # noqa: S104
    expected = {"num-cpus": "0", "dashboard-host": everywhere, "log-color": "false"}
    assert spec["headGroupSpec"]["rayStartParams"] == expected


@pytest.mark.parametrize(
    ("parallelism", "workers", "per_trial", "expected"),
    [
        (4, {"replicas": 2}, None, "2"),
        (5, {"replicas": 2}, None, "3"),
        (1, {"replicas": 4}, None, "1"),
        (4, {"replicas": 2, "resources": {"cpu": "8"}}, None, "8"),
        (4, {"replicas": 2, "resources": {"cpu": "500m"}}, None, "2"),
        (4, {"replicas": 4}, "2", "2"),
        (4, {"replicas": 2}, "1500m", "4"),
        (4, {"replicas": 2}, "500m", "1"),
        (4, {"replicas": 2, "rayStartParams": {"num-cpus": "6"}}, None, "6"),
    ],
)
def test_a_worker_counts_enough_processors_for_its_share_of_the_trials(
    parallelism: int, workers: Object, per_trial: str | None, expected: str
) -> None:
    overrides = [{"resources": {"cpu": per_trial}}] if per_trial else []
    variants = {"matrix": {"retriever": ["bm25", "tfidf"]}, "overrides": overrides}
    asked = request(parallelism=parallelism, variants=variants, environment=kube_ray(workers=workers))

    group = ray_cluster(asked, DEFAULTS)["spec"]["workerGroupSpecs"][0]

    assert group["rayStartParams"]["num-cpus"] == expected


def test_resources_are_asked_for_and_are_the_limit() -> None:
    asked = kube_ray(head={"resources": {"memory": "4Gi"}}, workers={"resources": {"cpu": "2", "memory": "8Gi"}})

    head, worker = ray_templates(environment=asked)

    assert head["spec"]["containers"][0]["resources"] == {
        "requests": {"cpu": "200m", "memory": "4Gi"},
        "limits": {"memory": "4Gi"},
    }
    assert worker["spec"]["containers"][0]["resources"] == {
        "requests": {"cpu": "2", "memory": "8Gi"},
        "limits": {"cpu": "2", "memory": "8Gi"},
    }


def test_ray_is_told_to_leave_no_process_behind_and_to_kill_no_actor_for_its_trials_memory() -> None:
    for template in ray_templates(environment=kube_ray()):
        assert env_of(template)["RAY_kill_child_processes_on_worker_exit_with_raylet_subreaper"] == "1"
        assert env_of(template)["RAY_memory_monitor_refresh_ms"] == "0"


def test_the_overlay_of_a_part_comes_after_the_one_of_all_pods() -> None:
    asked = kube_ray(
        {"nodeSelector": {"pool": "any", "zone": "a"}}, workers={"template": {"nodeSelector": {"pool": "gpu"}}}
    )

    head, worker = ray_templates(environment=asked)

    assert head["spec"]["nodeSelector"] == {"pool": "any", "zone": "a"}
    assert worker["spec"]["nodeSelector"] == {"pool": "gpu", "zone": "a"}


def test_the_runtime_environment_is_passed_to_the_driver_but_for_our_variables() -> None:
    asked = {"pip": ["orjson"], "env_vars": {"MODE": "fast", "BATCHYARD_RESULTS_URL": "http://evil.test"}}

    made = manifests.runtime_env(request(environment=kube_ray(runtimeEnv=asked)))

    assert made == {"pip": ["orjson"], "env_vars": {"MODE": "fast"}}
    assert manifests.runtime_env(request()) == {}


# -- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["docs-search", "1st", "9", "a." * 100 + "b", "x" * 63, "a" * 29 + "-b"])
def test_a_places_name_is_one_that_kuberay_takes(name: str) -> None:
    made = place_name(ClusterRef("team-a", name, UID), 12)

    assert made[0].isalpha()
    assert made[-1].isdigit()
    assert set(made) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert len(made) <= 50


def test_a_places_name_tells_batchtests_and_attempts_apart() -> None:
    other = replace(REF, namespace="team-b", uid="5f2c8a9e-0000-4000-8000-000000000002")

    names = {place_name(ref, attempt) for ref in (REF, other) for attempt in (1, 2)}

    assert len(names) == 4
