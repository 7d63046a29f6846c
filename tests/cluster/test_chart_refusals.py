"""Values that the chart refuses, with their place, and before anything is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cluster.chart_bench import CHART, documents, one

if TYPE_CHECKING:
    from cluster.chart_bench import Object, Programs

pytestmark = pytest.mark.cluster

_TWO = {"replicas": 2, "postgresql": {"existingSecret": "store"}}
_ON = {"enabled": True}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"replica": 2}, "additional properties 'replica' not allowed"),
        ({"image": {"name": "x"}}, "at '/image': additional properties 'name' not allowed"),
        ({"replicas": 0}, "at '/replicas': minimum: got 0, want 1"),
        ({"replicas": "two"}, "at '/replicas': got string, want integer"),
        ({"logFormat": "xml"}, "at '/logFormat': value must be one of 'json', 'text'"),
        ({"image": {"digest": "sha256:1"}}, "at '/image/digest': 'sha256:1' does not match pattern"),
        ({"persistence": {"size": "large"}}, "at '/persistence/size'"),
        ({"watchNamespaces": ["A"]}, "at '/watchNamespaces/0'"),
        ({"networkPolicy": {"resultsFrom": [{}]}}, "at '/networkPolicy/resultsFrom/0': minProperties"),
        ({"replicas": 2}, "replicas: 2 operators need PostgreSQL, since only one may write to SQLite; set"),
        (
            {"monitoring": {"serviceMonitor": {"enabled": True}, "podMonitor": {"enabled": True}}},
            "monitoring: serviceMonitor and podMonitor would scrape everything twice; enable one of them",
        ),
        (
            {"persistence": {"enabled": False, "existingClaim": "mine"}},
            "persistence.existingClaim: is not used while persistence.enabled is false; set",
        ),
        (
            {
                "replicas": 2,
                "postgresql": {"existingSecret": "store"},
                "podDisruptionBudget": {"minAvailable": 2},
            },
            "podDisruptionBudget.minAvailable: of 2 operators 2 would have to stay, and no node could be drained",
        ),
        ({"fullnameOverride": "1abc"}, '"1abc" cannot be the name of a Service'),
        ({"fullnameOverride": "a.b"}, '"a.b" cannot be the name of a Service'),
        ({"watchNamespaces": ["a.b"]}, "at '/watchNamespaces/0': 'a.b' does not match pattern"),
        ({"resources": {"limits": {"memory": "12Foo"}}}, "at '/resources/limits/memory': '12Foo' does not match"),
        ({"podDisruptionBudget": {"minAvailable": "half"}}, "at '/podDisruptionBudget/minAvailable'"),
        ({**_TWO, "podDisruptionBudget": {"minAvailable": "51%"}}, "of 2 operators 2 would have to stay"),
        ({"monitoring": {"podMonitor": {**_ON, "interval": "soon"}}}, "at '/monitoring/podMonitor/interval'"),
        (
            {"monitoring": {"serviceMonitor": {**_ON, "interval": "5s"}}},
            "monitoring.serviceMonitor.scrapeTimeout: 10s is longer than the interval, 5s",
        ),
        (
            {"monitoring": {"podMonitor": {**_ON, "interval": "1m30s", "scrapeTimeout": "1m31s"}}},
            "monitoring.podMonitor.scrapeTimeout: 1m31s is longer than the interval, 1m30s",
        ),
        (
            {"monitoring": {"prometheusRule": {"disabled": ["BatchyardGone"]}}},
            'monitoring.prometheusRule.disabled: "BatchyardGone" is not the name of an alert; there are Batchyard',
        ),
        ({"monitoring": {"prometheusRule": {"runbookUrl": "wiki"}}}, "at '/monitoring/prometheusRule/runbookUrl'"),
        ({"commonLabels": {"app.kubernetes.io/name": "x"}}, "commonLabels: app.kubernetes.io/name is a label that"),
        (
            {"podLabels": {"app.kubernetes.io/component": "x"}},
            "podLabels: app.kubernetes.io/component is a label that the chart sets itself",
        ),
        (
            {"extraEnv": [{"name": "BATCHYARD_HOME", "value": "/x"}]},
            "extraEnv: BATCHYARD_HOME is there already; take it out",
        ),
        ({"extraEnv": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]}, "extraEnv: A is there already"),
        ({"extraVolumes": [{"name": "data", "emptyDir": {}}]}, "extraVolumes: there is a volume data already"),
    ],
    ids=str,
)
def test_values_that_cannot_be_meant_are_refused_with_their_place(
    programs: Programs, values: Object, said: str
) -> None:
    done = programs.template(values)

    assert done.returncode != 0
    assert said in done.stderr


def test_a_release_whose_name_no_service_can_have_is_refused(programs: Programs) -> None:
    done = programs.run(programs.helm, "template", "1-batchyard", CHART)

    assert '"1-batchyard" cannot be the name of a Service' in done.stderr


def test_a_label_that_is_given_twice_is_there_once_and_the_nearer_one_counts(programs: Programs) -> None:
    values = {
        "commonLabels": {"team": "all"},
        "podLabels": {"team": "pods"},
        "monitoring": {"prometheusRule": {**_ON, "labels": {"team": "rules"}}},
    }

    rendered = programs.rendered(values)

    objects = documents(rendered)
    deployment = one(objects, "Deployment")
    assert deployment["metadata"]["labels"]["team"] == "all"
    assert deployment["spec"]["template"]["metadata"]["labels"]["team"] == "pods"
    assert one(objects, "PrometheusRule")["metadata"]["labels"]["team"] == "rules"
    # A key that stands twice is refused where the chart is installed; whoever reads it here takes the last.
    times = {text.count(" team: ") for text in rendered.split("\n---\n") if "kind: PrometheusRule" in text}
    times_of_pods = {text.count(" team: ") for text in rendered.split("\n---\n") if "kind: Deployment" in text}
    assert (times, times_of_pods) == ({1}, {2})


def test_a_name_is_free_again_when_the_chart_does_not_use_it(programs: Programs) -> None:
    volumes = [{"name": "tls", "emptyDir": {}}]

    free = programs.template({"extraVolumes": volumes})
    taken = programs.template({"extraVolumes": volumes, "tls": {"existingSecret": "tls"}})

    assert free.returncode == 0
    assert "there is a volume tls already" in taken.stderr
