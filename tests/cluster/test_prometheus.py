"""What people watch Batchyard with, under real programs: promtool judges alerts, Prometheus scrapes an operator."""

from __future__ import annotations

import re
import shutil
from functools import partial
from typing import TYPE_CHECKING

import httpx
import pytest

from cluster.operator_bench import batch_test, free_ports
from cluster.prometheus import Prometheus, promtool
from observability_files import ALERT_TESTS, ROOT, RULES, alerts, queries

if TYPE_CHECKING:
    from pathlib import Path

    from cluster.operator_bench import OperatorProcess

pytestmark = [pytest.mark.cluster]


def test_promtool_finds_nothing_wrong_with_the_alerts() -> None:
    code, said = promtool("check", "rules", "--lint=all", "--lint-fatal", RULES)

    assert code == 0, said
    assert f"{len(alerts())} rules found" in said


@pytest.mark.parametrize("file", sorted(ALERT_TESTS.glob("*.yaml")), ids=lambda file: file.stem)
def test_an_alert_fires_when_it_should_and_only_then(file: Path) -> None:
    code, said = promtool("test", "rules", file)

    assert code == 0, said


def test_the_configuration_in_the_documentation_is_one_that_prometheus_takes(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "observability.md").read_text(encoding="utf-8")
    (found,) = re.findall(r"^```yaml\n(scrape_configs:.*?)^```", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "prometheus.yaml").write_text(found)
    shutil.copy(RULES, tmp_path / "alerts.yaml")

    code, said = promtool("check", "config", tmp_path / "prometheus.yaml")

    assert code == 0, said


@pytest.mark.timeout(300)
@pytest.mark.proves("next-metrics")
def test_a_prometheus_that_scrapes_an_operator_sees_a_batch_and_no_alert_fires_until_the_operator_is_gone(
    operator: OperatorProcess, tmp_path: Path
) -> None:
    address = f"127.0.0.1:{operator.metrics_port}"
    labels = {"namespace": operator.namespace}
    folder = tmp_path / "prometheus"
    folder.mkdir()
    with Prometheus(folder, free_ports()[0], address, labels, RULES) as prometheus:
        operator.until(30, "the first scrape", lambda: prometheus.shows("batchyard_leading", 1))

        operator.apply(*batch_test("watched"))
        assert operator.finished("watched")["phase"] == "Succeeded"

        ended = 'batchyard_batches_finished_total{verdict="Succeeded",reason=""}'
        operator.until(30, "the batch in Prometheus", lambda: prometheus.shows(ended, 1))
        # A scrape that a busy machine does not answer in its second hides a series until the next.
        for query, value in {
            'sum(batchyard_trials_total{outcome="Passed"})': 2,
            "batchyard_checkpoints_total": 10,
            'batchyard_environment_provision_seconds_count{outcome="Ready"} > 0': 1,
            "sum(batchyard_environments)": 0,
            "up": 1,
        }.items():
            operator.until(30, f"{query} to be {value}", partial(prometheus.shows, query, value))

        for title, query in queries():
            assert isinstance(prometheus.ask("query", query=query)["result"], list), title
        operator.until(30, "every rule to be evaluated", lambda: all_healthy(prometheus))
        assert sorted(rule["name"] for rule in prometheus.rules()) == sorted(rule["alert"] for rule in alerts())
        operator.until(30, "no alert", lambda: prometheus.alerts() == {})

        code, said = promtool("check", "metrics", stdin=httpx.get(f"http://{address}/metrics", timeout=10).text)
        assert code == 0, said

        operator.kill()
        operator.until(30, "the absence to be noticed", lambda: prometheus.alerts() == {"BatchyardAbsent": "pending"})


def all_healthy(prometheus: Prometheus) -> bool:
    return all(rule["health"] == "ok" for rule in prometheus.rules())
