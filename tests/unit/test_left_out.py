"""What a BatchTest asks of its place and would not get is refused, and what it gets is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from batchyard.environments.left_out import faults_of_file, faults_of_place
from batchyard.model.parse import read_draft
from place_builders import DEFAULTS, kube_ray, request

Object = dict[str, Any]
DATA = Path(__file__).parents[1] / "data"


def paths(**environment: Any) -> list[str]:
    """Return where the faults of such an environment are."""
    return [fault.path.removeprefix("spec.environment.") for fault in faults_of_place(_request(environment), DEFAULTS)]


def _request(environment: Object) -> Any:
    return request(environment=environment)


def test_a_fault_says_where_and_what_to_do_and_not_what_was_there() -> None:
    template = {"containers": [{"name": "runner", "command": ["sh", "-c", "echo s3cret"]}]}

    (fault,) = faults_of_place(_request({"template": template}), DEFAULTS)

    assert str(fault) == (
        "spec.environment.template.containers[runner].command: is not for a template to say; "
        "take it out; see docs/pod-templates.md"
    )


def test_each_thing_that_is_left_out_is_a_fault_at_its_own_place() -> None:
    template = {
        "metadata": {"labels": {"team": "search", "batchyard.dev/uid": "mine"}},
        "spec": {
            "hostNetwork": True,
            "nodeSelector": {"pool": "gpu"},
            "volumes": [{"name": "host", "hostPath": {"path": "/"}}, {"name": "data", "emptyDir": {}}],
            "containers": [
                {
                    "name": "runner",
                    "env": [{"name": "MODE", "value": "fast"}, {"name": "HOME", "value": "/root"}],
                    "volumeMounts": [{"name": "data", "mountPath": "/data"}, {"name": "data", "mountPath": "/tmp"}],
                },
                {
                    "name": "proxy",
                    "image": "proxy",
                    "ports": [{"containerPort": 80}, {"containerPort": 81, "hostPort": 81}],
                    "securityContext": {"privileged": True},
                },
            ],
        },
    }

    assert paths(template=template) == [
        "template.metadata.labels.batchyard.dev/uid",
        "template.spec.hostNetwork",
        "template.spec.volumes[host]",
        "template.spec.containers[runner].env[HOME].value",
        "template.spec.containers[runner].volumeMounts[/tmp].name",
        "template.spec.containers[proxy].ports[1].hostPort",
        "template.spec.containers[proxy].securityContext.privileged",
    ]


@pytest.mark.parametrize("file", sorted((DATA / "invalid").glob("*.yaml")), ids=lambda file: file.stem)
def test_of_a_file_that_breaks_other_rules_it_can_be_told_too(file: Path) -> None:
    shape = read_draft(file.read_text(encoding="utf-8", errors="replace")).shape

    assert shape is None or isinstance(faults_of_file(shape), list)


def test_what_a_template_may_say_is_no_fault() -> None:
    template = {
        "nodeSelector": {"pool": "gpu"},
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
        "affinity": {},
        "hostNetwork": False,
        "automountServiceAccountToken": False,
        "hostUsers": False,
        "terminationGracePeriodSeconds": None,
        "securityContext": {"runAsUser": None, "runAsNonRoot": True, "fsGroup": 2000},
        "initContainers": [{"name": "fetch", "image": "curl", "volumeMounts": [{"name": "data", "mountPath": "/d"}]}],
        "volumes": [{"name": "data", "projected": {"sources": [{"configMap": {"name": "words"}}]}}],
        "containers": [
            {
                "name": "runner",
                "imagePullPolicy": "Always",
                "resources": {"limits": {"nvidia.com/gpu": "1"}},
                "env": [{"name": "MODE", "value": "fast"}],
                "envFrom": [{"configMapRef": {"name": "settings"}}],
                "volumeMounts": [{"name": "data", "mountPath": "/data", "readOnly": True}],
                "securityContext": {"readOnlyRootFilesystem": False, "allowPrivilegeEscalation": False},
            },
            {
                "name": "proxy",
                "image": "proxy",
                "tty": True,
                "securityContext": {
                    "runAsNonRoot": True,
                    "allowPrivilegeEscalation": False,
                    "capabilities": {"drop": ["NET_RAW"]},
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
            },
        ],
    }

    assert paths(template=template) == []


@pytest.mark.parametrize("source", [{"serviceAccountToken": {"path": "token"}}, {"podCertificate": {"keyType": "RSA"}}])
def test_a_credential_of_the_cluster_in_a_projected_volume_is_a_fault(source: Object) -> None:
    volume = {"name": "mine", "projected": {"sources": [{"configMap": {"name": "words"}}, source]}}

    assert paths(template={"volumes": [volume]}) == ["template.volumes[mine].projected.sources[1]"]


def test_a_template_of_rays_head_or_workers_is_looked_at_by_itself() -> None:
    asked = kube_ray(
        {"nodeSelector": {"pool": "cpu"}, "hostPID": True},
        head={"template": {"hostIPC": True, "containers": [{"name": "ray-head", "image": "evil"}]}},
        workers={"template": {"nodeSelector": {"pool": "gpu"}, "restartPolicy": "OnFailure"}},
    )

    assert paths(**asked) == [
        "template.hostPID",
        "kubeRay.head.template.hostIPC",
        "kubeRay.head.template.containers[ray-head].image",
        "kubeRay.workers.template.restartPolicy",
    ]


@pytest.mark.parametrize(
    "context", [{"runAsUser": 0}, {"runAsNonRoot": False}, {"capabilities": {"add": ["SYS_ADMIN"]}}]
)
@pytest.mark.parametrize("name", ["runner", "proxy"])
def test_a_weaker_security_context_is_a_fault_in_each_container(name: str, context: Object) -> None:
    (part,) = context

    (path,) = paths(template={"containers": [{"name": name, "securityContext": context}]})

    assert path.startswith(f"template.containers[{name}].securityContext.{part}")


def test_a_container_that_no_pod_of_the_place_has_is_a_fault() -> None:
    def named(*names: str) -> Object:
        return {"containers": [{"name": name, "resources": {"limits": {"nvidia.com/gpu": "1"}}} for name in names]}

    assert paths(template=named("runner")) == []
    assert paths(template=named("runner", "ray-head")) == ["template.containers[ray-head]"]
    assert paths(**kube_ray(named("ray-head", "ray-worker"))) == []
    assert paths(**kube_ray({"spec": named("runner")})) == ["template.spec.containers[runner]"]
    assert paths(**kube_ray(workers={"template": named("ray-head")})) == [
        "kubeRay.workers.template.containers[ray-head]"
    ]


def test_the_name_of_a_container_of_ours_excuses_nothing_else() -> None:
    template = {
        "initContainers": [{"name": "ray-head", "image": "fetch"}],
        "volumes": [{"name": "runner", "hostPath": {"path": "/"}}],
        "containers": [
            {"name": "runner", "env": [{"name": "runner", "valueFrom": {"secretKeyRef": {"name": "a", "key": "b"}}}]}
        ],
    }

    assert sorted(paths(template=template)) == [
        "template.containers[runner].env[runner]",
        "template.initContainers[ray-head]",
        "template.volumes[runner]",
    ]


def test_there_are_at_most_a_hundred_faults_however_much_is_wrong() -> None:
    env = [{"name": f"KEY_{number}", "valueFrom": {"secretKeyRef": {}}} for number in range(20_000)]

    assert len(paths(template={"containers": [{"name": "runner", "env": env}]})) == 100


def test_what_has_no_name_is_found_behind_what_is_ours() -> None:
    secret = {"secretRef": {"name": "keys"}}
    maps = [{"configMapRef": {"name": f"map-{number}"}} for number in range(5)]
    container = {"name": "runner", "envFrom": [*maps, secret]}

    assert paths(envFrom=[secret], template={"containers": [{**container, "envFrom": maps}]}) == []
    other = [{"secretRef": {"name": "of-the-environment"}}]
    assert paths(envFrom=other, template={"containers": [container]}) == [
        "template.containers[runner].envFrom[5].secretRef"
    ]


def test_the_trials_variables_are_theirs_whatever_the_pods_are() -> None:
    assert paths(env={"HOME": "/root", "MODE": "fast"}) == []


def test_variables_and_options_that_batchyard_sets_are_faults() -> None:
    asked = kube_ray(
        head={"rayStartParams": {"num-cpus": "4", "dashboard-port": "8265", "block": "true"}},
        runtimeEnv={"env_vars": {"RAY_AUTH_MODE": "disabled", "MODE": "fast"}},
    )

    assert paths(**asked) == [
        "kubeRay.head.rayStartParams.num-cpus",
        "kubeRay.runtimeEnv.env_vars.RAY_AUTH_MODE",
    ]


def test_the_same_fault_in_several_pods_is_told_once() -> None:
    assert paths(**kube_ray({"hostNetwork": True})) == ["template.hostNetwork"]
