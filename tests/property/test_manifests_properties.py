"""What holds of every place, whatever a BatchTest asks for and however its templates are meant."""

from __future__ import annotations

import json
import string
from copy import deepcopy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from batchyard.engine.cluster_ports import ClusterRef
from batchyard.engine.places import place_name
from batchyard.environments.manifests import TOKEN_FOLDER, job, protected_env, ray_cluster, token_name, token_secret
from batchyard.model.names import is_dns_label
from place_builders import DEFAULTS, RESULTS_TOKEN, kube_ray, request
from pod_security import containers_of, violations

Object = dict[str, Any]

# The words that the fields of a pod and of its containers are made of, and values that do harm in them.
_WORDS = st.sampled_from([
    "name", "image", "command", "args", "env", "envFrom", "value", "valueFrom", "volumeMounts", "mountPath", "readOnly",
    "subPath", "mountPropagation", "securityContext", "privileged", "allowPrivilegeEscalation", "capabilities", "add",
    "drop", "procMount", "runAsNonRoot", "runAsUser", "runAsGroup", "seccompProfile", "appArmorProfile", "type",
    "seLinuxOptions", "windowsOptions", "hostProcess", "sysctls", "hostNetwork", "hostPID", "hostIPC", "hostUsers",
    "hostPath", "path", "projected", "sources", "serviceAccountToken", "secret", "secretName", "emptyDir", "nfs",
    "ports", "hostPort", "livenessProbe", "httpGet", "host", "lifecycle", "postStart", "automountServiceAccountToken",
    "spec", "metadata", "labels", "annotations", "restartPolicy", "os", "resources", "limits", "nodeSelector",
    "terminationMessagePolicy", "serviceAccountName",
])  # fmt: skip
_VALUES = st.sampled_from([
    None, True, False, 0, 1, 10001, "", "runner", "ray-head", "ray-worker", "evil", "tmp", "token", "source", "spool",
    "secret-0", "Unconfined", "ALL", "SYS_ADMIN", "Unmasked", "root", "windows", "Always", "spc_t", "/", "/tmp",
    "/var/run/batchyard/token", "/run/batchyard", "BATCHYARD_RESULTS_URL", "BATCHYARD_TOKEN_FILE", "RAY_AUTH_MODE",
])  # fmt: skip
_ANYTHING = st.recursive(
    _VALUES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_WORDS, inner, max_size=4), max_leaves=6
)

_NAMES = st.sampled_from(["runner", "ray-head", "ray-worker", "beside", "fetch", "tmp", "token", "source", "mine"])
_CONTAINERS = st.lists(
    st.dictionaries(_WORDS, _ANYTHING, max_size=4).flatmap(
        lambda fields: _NAMES.map(lambda name: {"image": "x", **fields, "name": name})
    ),
    max_size=3,
)
_VOLUMES = st.lists(
    st.dictionaries(_WORDS, _ANYTHING, max_size=3).flatmap(
        lambda fields: _NAMES.map(lambda name: {**fields, "name": name})
    ),
    max_size=3,
)
_TEMPLATES = st.fixed_dictionaries(
    {},
    optional={
        "containers": _CONTAINERS | _ANYTHING,
        "initContainers": _CONTAINERS | _ANYTHING,
        "volumes": _VOLUMES | _ANYTHING,
        "securityContext": st.dictionaries(_WORDS, _ANYTHING, max_size=4) | _ANYTHING,
        "hostNetwork": _ANYTHING,
        "hostPID": _ANYTHING,
        "hostUsers": _ANYTHING,
        "automountServiceAccountToken": _ANYTHING,
        "nodeSelector": _ANYTHING,
        "os": _ANYTHING,
    },
)
_OVERLAYS = _TEMPLATES | _TEMPLATES.flatmap(lambda pod: _ANYTHING.map(lambda meta: {"metadata": meta, "spec": pod}))

_TEXT = st.text(string.ascii_lowercase + string.digits + "-.", min_size=1, max_size=20)
_VARIABLES = st.dictionaries(
    st.sampled_from([*sorted(protected_env(request())), "MODE", "BATCHYARD_CA_FILE"]), _TEXT, max_size=4
)
_QUANTITIES = st.sampled_from(["1", "2", "500m", "1500m", "8"])
_LABELS = st.from_regex(r"\A[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\Z")
_ENVIRONMENTS = st.fixed_dictionaries(
    {
        "env": _VARIABLES,
        "envFrom": st.lists(
            st.sampled_from(["keys", "others"]).map(lambda name: {"secretRef": {"name": name}})
            | st.just({"configMapRef": {"name": "settings"}}),
            max_size=3,
        ),
    }
)


@st.composite
def requests(draw: st.DrawFn) -> tuple[Any, Any]:
    """A batch in a cluster of either provider, as (request for a Job, request for a RayCluster)."""
    ref = ClusterRef(draw(_LABELS), draw(_LABELS), str(draw(st.uuids())))
    attempt, parallelism = draw(st.integers(1, 10_000)), draw(st.integers(1, 64))
    environment, template = draw(_ENVIRONMENTS), draw(_OVERLAYS)
    cpu = draw(st.none() | _QUANTITIES)
    on_ray = kube_ray(
        template,
        head={"template": draw(_OVERLAYS)},
        workers={
            "template": draw(_OVERLAYS),
            "replicas": draw(st.integers(1, 20)),
            **({"resources": {"cpu": cpu}} if cpu else {}),
        },
    )
    plain = request(ref, attempt, parallelism=parallelism, environment={**environment, "template": template})
    return plain, request(ref, attempt, parallelism=parallelism, environment={**environment, **on_ray})


def objects(both: tuple[Any, Any]) -> tuple[Object, Object]:
    return job(both[0], DEFAULTS, 60), ray_cluster(both[1], DEFAULTS)


def templates(both: tuple[Any, Any]) -> dict[str, Object]:
    """Every pod template of a batch, by the name of our container in it."""
    one, cluster = objects(both)
    return {
        "runner": one["spec"]["template"],
        "ray-head": cluster["spec"]["headGroupSpec"]["template"],
        "ray-worker": cluster["spec"]["workerGroupSpecs"][0]["template"],
    }


def as_kuberay_adds_to_it(template: Object) -> Object:
    """A worker's pod waits for the head in a container that KubeRay makes of our own."""
    made = deepcopy(template)
    own = made["spec"]["containers"][0]
    made["spec"].setdefault("initContainers", []).append({**own, "name": "wait-gcs-ready", "resources": {}})
    return made


@given(requests())
def test_every_pod_keeps_to_the_restricted_profile(both: tuple[Any, Any]) -> None:
    found = templates(both)

    for template in (*found.values(), as_kuberay_adds_to_it(found["ray-worker"])):
        assert violations(template) == []


@given(requests())
def test_no_pod_gets_a_token_of_the_cluster(both: tuple[Any, Any]) -> None:
    for template in templates(both).values():
        assert template["spec"]["automountServiceAccountToken"] is False
        projected = [volume.get("projected") for volume in template["spec"]["volumes"]]
        sources = [one.get("sources") for one in projected if isinstance(one, dict)]
        assert not any("serviceAccountToken" in part for one in sources if isinstance(one, list) for part in one)


@given(requests())
def test_our_container_comes_first_and_is_ours(both: tuple[Any, Any]) -> None:
    for name, template in templates(both).items():
        own = template["spec"]["containers"][0]
        assert own["name"] == name
        assert own["image"] == DEFAULTS.image
        assert own.get("args") == (["worker"] if name == "runner" else None)
        assert not {"command", "lifecycle", "livenessProbe", "ports", "workingDir", "terminationMessagePolicy"} & set(
            own
        )
        names = [one["name"] for one in containers_of(template["spec"])]
        assert [one for one in names if one in {"runner", "ray-head", "ray-worker"}] == [name]


@given(requests())
def test_our_variables_and_mounts_are_as_in_a_batch_that_asks_for_nothing(both: tuple[Any, Any]) -> None:
    protected = protected_env(both[0])
    plain = request(both[0].ref, both[0].attempt, environment={"envFrom": _env_from(both[0])})
    on_ray = request(both[0].ref, both[0].attempt, environment={**kube_ray(), "envFrom": _env_from(both[0])})
    clean = templates((plain, on_ray))

    for name, template in templates(both).items():
        own, expected = template["spec"]["containers"][0], clean[name]["spec"]["containers"][0]
        assert [one for one in own["env"] if one["name"] in protected] == expected["env"]
        assert len({one["name"] for one in own["env"]}) == len(own["env"])
        assert own["volumeMounts"][: len(expected["volumeMounts"])] == expected["volumeMounts"]
        volumes = clean[name]["spec"]["volumes"]
        assert template["spec"]["volumes"][: len(volumes)] == volumes


def _env_from(asked: Any) -> list[Object]:
    dumped: Object = json.loads(asked.batch.model_dump_json(by_alias=True, exclude_none=True))
    found: list[Object] = dumped["spec"]["environment"]["envFrom"]
    return found


@given(requests())
def test_the_workers_of_ray_never_get_the_results_token(both: tuple[Any, Any]) -> None:
    worker = templates(both)["ray-worker"]
    names = {volume["name"] for volume in worker["spec"]["volumes"]}

    assert "token" not in names
    assert token_name(both[1].name) not in json.dumps(worker["spec"])
    assert not any(
        mount["mountPath"].startswith(TOKEN_FOLDER) and mount["name"] == "token"
        for one in containers_of(worker["spec"])
        for mount in one.get("volumeMounts", [])
    )


@given(requests())
def test_no_object_holds_the_token_but_its_secret(both: tuple[Any, Any]) -> None:
    one, cluster = objects(both)

    assert RESULTS_TOKEN not in json.dumps([one, cluster])
    for owner in (one, cluster):
        stored = {**owner, "metadata": {**owner["metadata"], "uid": "stored"}}
        secret = token_secret(both[0], stored)
        assert [one["uid"] for one in secret["metadata"]["ownerReferences"]] == ["stored"]
        assert secret["metadata"]["namespace"] == both[0].ref.namespace


@given(requests())
def test_the_same_batch_gives_the_same_objects_with_names_that_fit(both: tuple[Any, Any]) -> None:
    one, cluster = objects(both)

    assert json.dumps([one, cluster]) == json.dumps(objects(both))
    assert len(cluster["metadata"]["name"]) <= 50
    for made in (one, cluster):
        name = made["metadata"]["name"]
        assert is_dns_label(name)
        assert name[0].isalpha()
        assert is_dns_label(token_name(name))
        assert made["metadata"]["ownerReferences"][0]["uid"] == both[0].ref.uid
        assert all(len(value) <= 63 for value in made["metadata"]["labels"].values())


@given(_LABELS, _LABELS, st.uuids(), st.uuids(), st.integers(1, 99))
def test_batchtests_of_two_namespaces_never_have_places_that_pass_for_each_other(
    name: str, namespace: str, first: Any, second: Any, attempt: int
) -> None:
    one = ClusterRef(namespace, name, str(first))
    other = ClusterRef(namespace + "x", name, str(second))

    made, others = (job(request(ref, attempt), DEFAULTS, 60) for ref in (one, other))

    assert made["metadata"]["namespace"] != others["metadata"]["namespace"]
    if first != second:
        assert made["metadata"]["labels"]["batchyard.dev/uid"] != others["metadata"]["labels"]["batchyard.dev/uid"]
        assert place_name(one, attempt) != place_name(one, attempt + 1)


@given(requests())
def test_the_workers_have_room_for_all_trials_that_run_at_once(both: tuple[Any, Any]) -> None:
    group = ray_cluster(both[1], DEFAULTS)["spec"]["workerGroupSpecs"][0]

    assert int(group["rayStartParams"]["num-cpus"]) * group["replicas"] >= both[1].batch.spec.parallelism
    assert group["minReplicas"] == group["replicas"] == group["maxReplicas"]
