"""The files that people watch Batchyard with, read: alerts, their tests and runbook pages, the dashboard."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]
RULES = ROOT / "charts" / "batchyard" / "files" / "alerts.yaml"
DASHBOARD = ROOT / "charts" / "batchyard" / "files" / "dashboard.json"
ALERT_TESTS = ROOT / "tests" / "alerts"
RUNBOOK = ROOT / "docs" / "runbook"

Rule = dict[str, Any]
Panel = dict[str, Any]


def alerts() -> list[Rule]:
    """Return every alert."""
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    """Return the dashboard."""
    found: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return found


def panels() -> list[Panel]:
    """Return every panel that shows something."""
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def queries() -> Iterator[tuple[str, str]]:
    """Return each panel's title and each of its queries as Grafana sends them, for every namespace and a minute."""
    for panel in panels():
        for target in panel["targets"]:
            yield panel["title"], target["expr"].replace("$namespace", ".*").replace("$__rate_interval", "1m")
