"""What decides the pods of a batch, as it is written down to be held against another batch's."""

from __future__ import annotations

from typing import Any

import pytest

from batchyard.decide.amending import setting_differences
from batchyard.environments.deciding import place_of, pods_of
from batchyard.environments.manifests import Defaults
from batchyard.model.setting import Setting
from place_builders import request

DEFAULTS = Defaults(image="runner:1", ray_version="2.9")
TEMPLATE = {"spec": {"nodeSelector": {"disk": "fast"}}}


def setting(defaults: Defaults = DEFAULTS, **environment: Any) -> Setting:
    asked = request(environment={"provider": "InProcess", **environment})
    return Setting(place=place_of(asked), pods=pods_of(asked, defaults))


def on_ray(**kube_ray: Any) -> Setting:
    return setting(provider="KubeRay", kubeRay=kube_ray)


@pytest.mark.parametrize(
    ("new", "old", "said"),
    [
        (setting(Defaults("runner:2", "2.9")), setting(), "image: runner:2, was runner:1"),
        (setting(template=TEMPLATE), setting(), "spec.environment.template is another"),
        (
            setting(Defaults("runner:1", "2.9", env={"MODE": "a"})),
            setting(Defaults("runner:1", "2.9", env={"MODE": "b"})),
            "variables that the operator gives every pod is another",
        ),
        (setting(isolation="Thread"), setting(), "place: threads of a pod, was worker processes of a pod"),
        (on_ray(), setting(), "place: KubeRay, was worker processes of a pod"),
        (on_ray(rayVersion="2.10.0"), on_ray(), "Ray: 2.10.0, was 2.9"),
        (on_ray(image="own:1"), on_ray(), "image: own:1, was runner:1"),
        (on_ray(head={"template": TEMPLATE}), on_ray(), "spec.environment.kubeRay.head is another"),
        (on_ray(workers={"resources": {"cpu": "2"}}), on_ray(), "spec.environment.kubeRay.workers is another"),
        (on_ray(runtimeEnv={"pip": ["a"]}), on_ray(), "spec.environment.kubeRay.runtimeEnv is another"),
    ],
)
def test_other_pods_are_told_apart(new: Setting, old: Setting, said: str) -> None:
    assert list(setting_differences(new, old)) == [said]


def test_how_many_pods_there_are_and_how_long_they_stay_decides_no_trial() -> None:
    more = on_ray(workers={"replicas": 7}, keepOnFailure=True, reuse="SameSpec")

    assert list(setting_differences(more, on_ray(workers={"replicas": 1}))) == []


def test_what_a_template_says_is_not_repeated() -> None:
    kept = setting(template={"spec": {"containers": [{"name": "runner", "env": [{"name": "A", "value": "s3cret"}]}]}})

    assert "s3cret" not in str(kept.to_json())
    assert Setting.from_json(kept.to_json()) == kept
