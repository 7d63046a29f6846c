"""Every alert asks for what there is, has a page that says what to do, and a test of when it fires and when not.

That those tests pass is for promtool to say (``tests/cluster/test_prometheus.py``).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from batchyard.metrics.catalogue import CATALOGUE
from observability_files import ALERT_TESTS, RUNBOOK, alerts
from promql import TARGET_LABELS, faults_of, metrics_of, names_of

if TYPE_CHECKING:
    from observability_files import Rule

ALERTS = alerts()
NAMES = [rule["alert"] for rule in ALERTS]
SECTIONS = ["Meaning", "Impact", "How to find the cause", "What to do"]
each_alert = pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])


def stories_of(name: str) -> list[dict[str, Any]]:
    document = yaml.safe_load((ALERT_TESTS / f"{name}.yaml").read_text(encoding="utf-8"))
    assert document["rule_files"] == ["../../charts/batchyard/files/alerts.yaml"]
    found: list[dict[str, Any]] = document["tests"]
    return found


def expected(test: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """Return which alerts of this name a test expects; it must look for no other."""
    assert {look["alertname"] for look in test["alert_rule_test"]} == {name}
    return [alert for look in test["alert_rule_test"] for alert in look["exp_alerts"]]


def page(name: str) -> str:
    return (RUNBOOK / f"{name}.md").read_text(encoding="utf-8")


def test_there_are_at_least_twelve_and_no_two_have_one_name() -> None:
    assert len(NAMES) == len(set(NAMES)) >= 12


@each_alert
def test_an_alert_asks_only_for_metrics_labels_and_values_that_there_are(rule: Rule) -> None:
    assert faults_of(rule["expr"]) == []
    assert metrics_of(rule["expr"])


@each_alert
def test_an_alert_says_how_bad_it_is_what_it_means_and_where_to_read_on(rule: Rule) -> None:
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["runbook_url"].endswith(f"/runbook/{rule['alert']}.html")
    assert len(rule["annotations"]["summary"]) < 80


@each_alert
def test_a_description_speaks_only_of_labels_that_the_alert_has(rule: Rule) -> None:
    spoken = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["description"]))

    assert spoken <= names_of(rule["expr"]).grouped_by | TARGET_LABELS


@each_alert
def test_an_alert_has_a_test_in_which_it_fires_and_another_in_which_it_does_not(rule: Rule) -> None:
    firing = [test for test in stories_of(rule["alert"]) if expected(test, rule["alert"])]
    silent = [test for test in stories_of(rule["alert"]) if not expected(test, rule["alert"])]

    assert [test["name"].split(" when ")[0] for test in (*firing, *silent)] == ["fires"] * len(firing) + [
        "stays silent"
    ] * len(silent)
    assert firing
    assert silent


@each_alert
def test_the_series_of_an_alerts_tests_are_series_that_the_operator_has(rule: Rule) -> None:
    faults = {
        fault
        for test in stories_of(rule["alert"])
        for series in test["input_series"]
        for fault in faults_of(series["series"])
    }

    assert faults == set()


def test_no_test_is_of_an_alert_that_there_is_not() -> None:
    assert {file.stem for file in ALERT_TESTS.glob("*.yaml")} == set(NAMES)


@each_alert
def test_an_alert_has_a_runbook_page_that_says_what_it_means_and_what_to_do(rule: Rule) -> None:
    text = page(rule["alert"])

    assert text.startswith(f"# {rule['alert']}\n")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == SECTIONS
    assert f"`{rule['labels']['severity']}`" in text
    assert rule["annotations"]["summary"] in text


@each_alert
def test_a_runbook_page_speaks_of_the_metrics_of_its_alert(rule: Rule) -> None:
    spoken = set(re.findall(r"(?:batchyard|process)_[a-z_]+", page(rule["alert"])))

    mine = {name for name in spoken if name.startswith(tuple(metrics_of(rule["expr"])))}
    assert mine
    assert all(name.startswith(tuple(metric.full_name for metric in CATALOGUE)) for name in spoken)


def test_no_page_is_of_an_alert_that_there_is_not_and_the_index_has_them_all() -> None:
    index = (RUNBOOK / "index.md").read_text(encoding="utf-8")

    assert {file.stem for file in RUNBOOK.glob("*.md")} == {*NAMES, "index"}
    rows = re.findall(r"^\| \[(\w+)\]\(\1\.md\) \| (\w+) \| (.+) \|$", index, re.MULTILINE)
    assert rows == [(rule["alert"], rule["labels"]["severity"], rule["annotations"]["summary"]) for rule in ALERTS]
