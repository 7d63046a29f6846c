"""The dashboard: what Grafana needs of it, and that every query asks for what there is."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import pytest

from batchyard.metrics.catalogue import CATALOGUE
from observability_files import alerts, dashboard, panels, queries
from promql import faults_of, metrics_of, names_of

if TYPE_CHECKING:
    from observability_files import Panel

# Of the units that Grafana knows, those that are used here.
UNITS = {"short", "s", "ops", "bytes", "percentunit"}
each_panel = pytest.mark.parametrize("panel", panels(), ids=lambda panel: panel["title"])


def test_it_can_be_found_linked_to_and_imported() -> None:
    board = dashboard()

    assert (board["uid"], board["title"]) == ("batchyard", "Batchyard")
    assert isinstance(board["schemaVersion"], int)
    assert "id" not in board
    assert "__inputs" not in board


def test_the_data_source_and_the_namespace_are_chosen_by_whoever_looks() -> None:
    by_name = {variable["name"]: variable for variable in dashboard()["templating"]["list"]}

    assert (by_name["datasource"]["type"], by_name["datasource"]["query"]) == ("datasource", "prometheus")
    assert by_name["namespace"]["query"]["query"] == "label_values(batchyard_build_info, namespace)"
    assert faults_of("batchyard_build_info") == []


def test_its_rows_follow_a_batch_and_end_with_the_operator() -> None:
    rows = [panel["title"] for panel in dashboard()["panels"] if panel["type"] == "row"]

    assert rows == ["Batches", "Trials", "Deadlines and kills", "Environments", "Operator health"]


def test_no_two_panels_have_one_id_or_lie_on_one_another() -> None:
    every = dashboard()["panels"]
    ids = [panel["id"] for panel in every]

    assert len(ids) == len(set(ids))
    for one, other in combinations((panel["gridPos"] for panel in every), 2):
        apart_x = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        apart_y = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert apart_x or apart_y
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in every)


@each_panel
def test_a_panel_is_whole(panel: Panel) -> None:
    assert panel["type"] in {"timeseries", "stat"}
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    references = [target["refId"] for target in panel["targets"]]
    assert references
    assert len(references) == len(set(references))
    for target in panel["targets"]:
        assert target["datasource"] == panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


@each_panel
def test_every_query_keeps_to_the_chosen_namespace(panel: Panel) -> None:
    for target in panel["targets"]:
        for selector in names_of(target["expr"].replace("$__rate_interval", "1m")).selectors:
            chosen = [one for one in selector.matchers if one.label == "namespace"]
            assert [(one.op, one.value) for one in chosen] == [("=~", "$namespace")]


@pytest.mark.parametrize(("title", "query"), list(queries()))
def test_every_query_asks_only_for_metrics_labels_and_values_that_there_are(title: str, query: str) -> None:
    assert faults_of(query) == [], title


def test_every_metric_is_on_the_dashboard_or_in_an_alert() -> None:
    asked = {name for _, query in queries() for name in metrics_of(query)}
    asked |= {name for rule in alerts() for name in metrics_of(rule["expr"])}

    # How much address space a process has says nothing about its health.
    assert {metric.full_name for metric in CATALOGUE} - asked == {"process_virtual_memory_bytes"}
