"""What a user's pod template may do to our pods, and what it may not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from batchyard.environments.left_out import faults_of_place
from batchyard.environments.manifests import SECRETS_FOLDER, TOKEN_FOLDER, job, protected_env, ray_cluster
from place_builders import DEFAULTS, kube_ray, request
from pod_security import containers_of, violations

Object = dict[str, Any]

CLEAN: Object = job(request(), DEFAULTS, 60)["spec"]["template"]


def laid(template: Any) -> Object:
    """Return the runner's pod template with one laid over it."""
    made: Object = job(request(environment={"template": template}), DEFAULTS, 60)["spec"]["template"]
    return made


def runner(**fields: Any) -> Object:
    """Return a template for our container."""
    return {"containers": [{"name": "runner", **fields}]}


def container(template: Object, name: str = "runner") -> Object:
    found: Object = next(one for one in containers_of(template["spec"]) if one["name"] == name)
    return found


# -- what a template is for ------------------------------------------------------------------------------------------


def test_a_template_says_where_a_pod_runs() -> None:
    asked = {
        "nodeSelector": {"pool": "gpu"},
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "topologySpreadConstraints": [{"maxSkew": 1}],
        "priorityClassName": "low",
        "runtimeClassName": "gvisor",
        "schedulerName": "volcano",
        "serviceAccountName": "build-bot",
        "imagePullSecrets": [{"name": "registry"}],
        "hostAliases": [{"ip": "10.0.0.9", "hostnames": ["db"]}],
        "dnsPolicy": "None",
        "dnsConfig": {"nameservers": ["10.0.0.2"]},
        "terminationGracePeriodSeconds": 60,
        "hostUsers": False,
    }

    made = laid(asked)

    assert asked.items() <= made["spec"].items()
    assert violations(made) == []


def test_a_whole_template_may_be_written_as_well_as_a_pods_spec() -> None:
    assert laid({"spec": {"nodeSelector": {"pool": "gpu"}}}) == laid({"nodeSelector": {"pool": "gpu"}})


def test_labels_and_annotations_are_added_and_replace_none_of_ours() -> None:
    labels = {"team": "search", "batchyard.dev/uid": "another's", "app.kubernetes.io/managed-by": "me"}
    annotations = {
        "sidecar.istio.io/inject": "false",
        "ray.io/overwrite-container-cmd": "true",
        "container.apparmor.security.beta.kubernetes.io/runner": "unconfined",
        "seccomp.security.alpha.kubernetes.io/pod": "unconfined",
        "number": 3,
    }

    made = laid({"metadata": {"labels": labels, "annotations": annotations, "name": "mine"}, "spec": {}})

    assert made["metadata"] == {
        "labels": {"team": "search", **CLEAN["metadata"]["labels"]},
        "annotations": {"sidecar.istio.io/inject": "false"},
    }


def test_our_container_gets_more_variables_resources_and_mounts() -> None:
    asked = {
        **runner(
            resources={"limits": {"nvidia.com/gpu": "1"}, "requests": {"cpu": "2"}},
            env=[
                {"name": "MODE", "value": "fast"},
                {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            ],
            envFrom=[{"configMapRef": {"name": "settings"}}],
            volumeMounts=[{"name": "data", "mountPath": "/data"}, {"name": "data", "mountPath": "/tmp/cache"}],
            imagePullPolicy="Always",
        ),
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "corpus"}}],
    }

    made, clean = container(laid(asked)), container(CLEAN)

    assert made["resources"] == {
        "requests": {"cpu": "2", "memory": "512Mi"},
        "limits": {"nvidia.com/gpu": "1"},
    }
    assert made["env"] == [*clean["env"], *asked["containers"][0]["env"]]
    assert made["envFrom"] == [{"configMapRef": {"name": "settings"}}]
    assert made["volumeMounts"] == [*clean["volumeMounts"], *asked["containers"][0]["volumeMounts"]]
    assert made["imagePullPolicy"] == "Always"
    assert {"name": "data", "persistentVolumeClaim": {"claimName": "corpus"}} in laid(asked)["spec"]["volumes"]


def test_another_user_than_ours_may_run_the_pod_if_it_is_not_root() -> None:
    made = laid({"securityContext": {"runAsUser": 2000, "runAsGroup": 0, "fsGroup": None}})

    context = made["spec"]["securityContext"]
    assert (context["runAsUser"], context["runAsGroup"]) == (2000, 0)
    assert "fsGroup" not in context
    assert violations(made) == []


def test_the_images_own_user_runs_the_pod_if_ours_is_null() -> None:
    context = laid({"securityContext": {"runAsUser": None}})["spec"]["securityContext"]

    assert "runAsUser" not in context
    assert context["runAsNonRoot"] is True


def test_an_image_that_writes_to_its_own_files_may_be_let() -> None:
    made = laid(runner(securityContext={"readOnlyRootFilesystem": False}))

    assert container(made)["securityContext"]["readOnlyRootFilesystem"] is False
    assert violations(made) == []


def test_added_containers_run_beside_ours_and_are_restricted_too() -> None:
    sidecar = {
        "name": "proxy",
        "image": "registry.test/proxy:1",
        "ports": [{"containerPort": 5432, "hostPort": 5432, "hostIP": "0.0.0.0"}],  # noqa: S104
        "env": [{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "proxy", "key": "key"}}}],
        "livenessProbe": {"httpGet": {"path": "/", "port": 80, "host": "169.254.169.254"}},
        "lifecycle": {"preStop": {"tcpSocket": {"port": 1, "host": "10.0.0.1"}}},
        "securityContext": {"privileged": True, "capabilities": {"add": ["SYS_ADMIN", "NET_BIND_SERVICE"]}},
        "volumeMounts": [{"name": "token", "mountPath": "/stolen"}, {"name": "tmp", "mountPath": "/tmp"}],
    }

    made = laid(
        {"containers": [sidecar], "initContainers": [{"name": "fetch", "image": "x", "restartPolicy": "Always"}]}
    )

    assert [one["name"] for one in made["spec"]["containers"]] == ["runner", "proxy"]
    assert violations(made) == []
    added = container(made, "proxy")
    assert added["ports"] == [{"containerPort": 5432}]
    assert added["env"] == sidecar["env"]
    assert added["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}
    assert added["volumeMounts"] == [{"name": "tmp", "mountPath": "/tmp"}]
    assert container(made, "fetch")["restartPolicy"] == "Always"


def test_two_overlays_may_speak_of_the_same_added_container() -> None:
    asked = kube_ray(
        {"containers": [{"name": "proxy", "image": "proxy:1", "volumeMounts": [{"name": "tmp", "mountPath": "/a"}]}]},
        head={
            "template": {
                "containers": [
                    {"name": "proxy", "args": ["-v"], "volumeMounts": [{"name": "spool", "mountPath": "/a"}]},
                    {"name": "ray-head", "volumeMounts": [{"name": "x", "mountPath": "/x"}]},
                ]
            }
        },
    )
    asked["template"]["containers"].append({"name": "ray-head", "volumeMounts": [{"name": "y", "mountPath": "/x/"}]})

    made = ray_cluster(request(environment=asked), DEFAULTS)["spec"]["headGroupSpec"]["template"]

    proxy = container(made, "proxy")
    assert (proxy["image"], proxy["args"]) == ("proxy:1", ["-v"])
    assert proxy["volumeMounts"] == [{"name": "spool", "mountPath": "/a"}]
    assert [one["name"] for one in container(made, "ray-head")["volumeMounts"] if one["mountPath"] == "/x"] == ["x"]
    assert violations(made) == []


def test_a_template_for_one_providers_container_is_left_out_of_the_others_pods() -> None:
    asked = kube_ray({"containers": [{"name": "runner", "env": []}, {"name": "ray-worker", "args": ["x"]}]})

    made = ray_cluster(request(environment=asked), DEFAULTS)["spec"]["headGroupSpec"]["template"]

    assert [one["name"] for one in made["spec"]["containers"]] == ["ray-head"]


# -- what it cannot do -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "hostile",
    [
        {"hostNetwork": True},
        {"hostPID": True, "hostIPC": True, "shareProcessNamespace": True},
        {"hostUsers": True},
        {"os": {"name": "windows"}},
        {"automountServiceAccountToken": True, "enableServiceLinks": True},
        {"securityContext": None},
        {"securityContext": {"runAsNonRoot": False, "runAsUser": 0}},
        {"securityContext": {"seccompProfile": {"type": "Unconfined"}, "appArmorProfile": {"type": "Unconfined"}}},
        {"securityContext": {"seccompProfile": None}},
        {"securityContext": {"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}},
        {"securityContext": {"seLinuxOptions": {"type": "spc_t", "user": "root", "role": "sysadm_r"}}},
        {"securityContext": {"windowsOptions": {"hostProcess": True}}},
        runner(securityContext={"privileged": True, "allowPrivilegeEscalation": True}),
        runner(securityContext={"capabilities": {"add": ["SYS_ADMIN"], "drop": []}, "procMount": "Unmasked"}),
        runner(securityContext={"capabilities": None, "runAsNonRoot": False, "runAsUser": 0}),
        runner(securityContext={"seccompProfile": {"type": "Unconfined"}}),
        runner(securityContext=None),
        runner(image="evil", command=["sh"], args=["-c", "evil"], workingDir="/"),
        runner(livenessProbe={"httpGet": {"host": "10.0.0.1"}}, lifecycle={"postStart": {"exec": {"command": ["x"]}}}),
        runner(ports=[{"hostPort": 80}], volumeDevices=[{"name": "disk", "devicePath": "/dev/sda"}]),
        runner(terminationMessagePolicy="FallbackToLogsOnError"),
        runner(env=None, volumeMounts=None, envFrom=None),
        {"containers": None},
        {"containers": [{"image": "evil"}]},
        {"containers": "evil", "initContainers": 3, "volumes": {"tmp": {}}},
        {"ephemeralContainers": [{"name": "debug", "image": "evil"}]},
        {"volumes": [{"name": "host", "hostPath": {"path": "/"}}]},
        {"volumes": [{"name": "share", "nfs": {"server": "10.0.0.1", "path": "/"}}]},
        {"volumes": [{"name": "tmp", "hostPath": {"path": "/"}}, {"name": "token", "emptyDir": {}}]},
        {"activeDeadlineSeconds": 1, "restartPolicy": "OnFailure"},
        {"spec": "evil", "metadata": ["evil"]},
        {"spec": {"hostNetwork": True}, "hostPID": True},
    ],
    ids=json.dumps,
)
def test_what_would_weaken_or_replace_our_pod_leaves_it_as_it_is_and_is_told_of(hostile: Object) -> None:
    assert laid(hostile) == CLEAN
    assert faults_of_place(request(environment={"template": hostile}), DEFAULTS)


@pytest.mark.parametrize("empty", [{"securityContext": {}}, {"containers": []}, {"volumes": []}], ids=json.dumps)
def test_what_asks_for_nothing_changes_nothing(empty: Object) -> None:
    assert laid(empty) == CLEAN
    assert faults_of_place(request(environment={"template": empty}), DEFAULTS) == []


@pytest.mark.parametrize("name", sorted(protected_env(request())))
def test_no_variable_of_ours_is_set_by_a_template(name: str) -> None:
    assert laid(runner(env=[{"name": name, "value": "evil"}])) == CLEAN


def test_a_variable_of_the_users_own_is_set_anew_by_the_template() -> None:
    environment = {"env": {"MODE": "slow"}, "template": runner(env=[{"name": "MODE", "value": "fast"}])}

    made = job(request(environment=environment), DEFAULTS, 60)["spec"]["template"]

    assert [one for one in container(made)["env"] if one["name"] == "MODE"] == [{"name": "MODE", "value": "fast"}]


@pytest.mark.parametrize(
    "secret",
    [
        {"env": [{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "key"}}}]},
        {"envFrom": [{"secretRef": {"name": "keys"}}]},
    ],
    ids=["env", "envFrom"],
)
def test_a_secret_becomes_a_variable_by_the_environment_only_which_knows_to_keep_it_quiet(secret: Object) -> None:
    assert laid(runner(**secret)) == CLEAN


@pytest.mark.parametrize(
    "path",
    [
        TOKEN_FOLDER,
        TOKEN_FOLDER + "/token",
        "/run/batchyard/token/",
        "/var/run/batchyard",
        "/var/run/../run/batchyard",
        "/var",
        "/",
        "",
        "tmp",
        "/tmp",
        "/tmp/../var/lib/batchyard",
        "/opt/batchyard-source/docs.py",
        "/opt",
    ],
)
def test_no_mount_hides_one_of_ours_or_changes_what_is_in_it(path: str) -> None:
    volume = {"name": "mine", "emptyDir": {}}
    asked = {"volumes": [volume], **runner(volumeMounts=[{"name": "mine", "mountPath": path}])}

    made = laid(asked)

    assert container(made) == container(CLEAN)
    assert made["spec"]["volumes"] == [*CLEAN["spec"]["volumes"], volume]


def test_a_mount_beside_ours_is_fine() -> None:
    mount = {"name": "mine", "mountPath": "/var/run/batchyard-other"}

    assert mount in container(laid(runner(volumeMounts=[mount])))["volumeMounts"]


def test_a_mount_into_the_node_is_an_ordinary_mount() -> None:
    mount = {"name": "mine", "mountPath": "/data"}

    made = laid(runner(volumeMounts=[{**mount, "mountPropagation": "Bidirectional"}]))

    assert mount in container(made)["volumeMounts"]


def test_credentials_of_the_cluster_are_taken_out_of_projected_volumes() -> None:
    kept = {"configMap": {"name": "settings"}}
    sources = [{"serviceAccountToken": {"path": "token"}}, {"podCertificate": {"keyType": "ED25519"}}, kept]

    made = laid({"volumes": [{"name": "mine", "projected": {"sources": sources, "defaultMode": 256}}]})

    assert made["spec"]["volumes"][-1] == {"name": "mine", "projected": {"sources": [kept], "defaultMode": 256}}


def test_a_worker_of_ray_cannot_be_given_the_results_token_by_the_name_of_our_volume() -> None:
    asked = kube_ray(
        workers={
            "template": {
                "volumes": [{"name": "token", "secret": {"secretName": "anything"}}],
                "containers": [
                    {"name": "ray-worker", "volumeMounts": [{"name": "token", "mountPath": TOKEN_FOLDER}]},
                    {"name": "beside", "image": "x", "volumeMounts": [{"name": "token", "mountPath": "/t"}]},
                ],
            }
        }
    )

    worker = ray_cluster(request(environment=asked), DEFAULTS)["spec"]["workerGroupSpecs"][0]["template"]

    assert "token" not in [volume["name"] for volume in worker["spec"]["volumes"]]
    assert "token" not in [
        mount["name"] for one in containers_of(worker["spec"]) for mount in one.get("volumeMounts", [])
    ]


def test_ours_stays_the_first_container_as_kuberay_needs_it() -> None:
    made = laid({"containers": [{"name": "first", "image": "x"}, {"name": "runner", "resources": {}}]})

    assert [one["name"] for one in made["spec"]["containers"]] == ["runner", "first"]


def test_a_secret_that_is_mounted_at_a_secrets_place_hides_none() -> None:
    environment = {
        "envFrom": [{"secretRef": {"name": "keys"}}],
        "template": {
            "volumes": [{"name": "mine", "emptyDir": {}}],
            **runner(volumeMounts=[{"name": "mine", "mountPath": f"{SECRETS_FOLDER}/0"}]),
        },
    }

    made = job(request(environment=environment), DEFAULTS, 60)["spec"]["template"]

    at = [one["name"] for one in container(made)["volumeMounts"] if one["mountPath"] == f"{SECRETS_FOLDER}/0"]
    assert at == ["secret-0"]
