"""Which pods get the URL of the database that threads are kept in."""

from __future__ import annotations

import json

from batchyard.environments.manifests import SECRETS_FOLDER, job, ray_cluster
from batchyard.environments.place_secrets import secret_names
from place_builders import DEFAULTS, kube_ray, request

KEPT = {"postgres": {"secretRef": {"name": "threads", "key": "url"}}}


def test_the_database_of_kept_threads_is_a_file_of_the_runner_and_the_head_only() -> None:
    runner = job(request(checkpoints=KEPT), DEFAULTS, 60)["spec"]["template"]
    place = ray_cluster(request(checkpoints=KEPT, environment=kube_ray()), DEFAULTS)["spec"]

    for template in (runner, place["headGroupSpec"]["template"]):
        (container,) = template["spec"]["containers"]
        (file,) = (one["value"] for one in container["env"] if one["name"] == "BATCHYARD_THREADS_FILE")
        (mount,) = (one for one in container["volumeMounts"] if one["name"] == "checkpoints")
        (volume,) = (one for one in template["spec"]["volumes"] if one["name"] == "checkpoints")
        assert (mount["mountPath"], mount["readOnly"]) == (file.rpartition("/")[0], True)
        assert file.startswith(SECRETS_FOLDER)
        assert volume["secret"] == {"secretName": "threads", "items": [{"key": "url", "path": "url"}]}
    assert "threads" not in json.dumps(place["workerGroupSpecs"])


def test_what_a_pod_says_last_is_quoted_without_the_database() -> None:
    assert secret_names(request(checkpoints=KEPT)) == ("threads",)


def test_a_batch_that_names_no_database_gets_none() -> None:
    template = job(request(), DEFAULTS, 60)["spec"]["template"]

    assert "checkpoints" not in json.dumps(template)
