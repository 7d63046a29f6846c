"""Which tests prove an item of the original design, and whether they did: the marker ``proves`` and its records.

``@pytest.mark.proves("deadlines")`` names rows of ``original_design.yaml``; on a class that inherits its tests,
``by="test_of_it"`` says which of them it is. With ``--proofs FOLDER`` a run leaves there
what became of each such test, for ``tools/original_design.py``.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import yaml

ROWS = Path(__file__).parent / "original_design.yaml"
_PROPERTY = "proves"
_RECORDS = pytest.StashKey[dict[str, bool]]()


def known_rows() -> set[str]:
    """Return the ids of all rows of the table."""
    sections = yaml.safe_load(ROWS.read_text(encoding="utf-8"))
    return {row["id"] for section in sections for row in section["rows"]}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take the folder of records."""
    parser.addoption("--proofs", metavar="FOLDER", help="leave there what became of the tests that prove something")


def pytest_configure(config: pytest.Config) -> None:
    """Say what the marker is, and begin the records."""
    config.addinivalue_line("markers", "proves(*rows, by=test): proves these rows of tests/original_design.yaml")
    config.stash[_RECORDS] = {}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let each test's report name the rows that it proves."""
    known = known_rows()
    for item in items:
        for node in item.listchain():
            for marker in (marker for marker in node.own_markers if marker.name == "proves"):
                if unknown := set(marker.args) - known:
                    names = ", ".join(sorted(unknown))
                    raise pytest.UsageError(f"{item.nodeid} proves unknown rows: {names}; see {ROWS}")
                proof, by = node.nodeid.partition("[")[0], marker.kwargs.get("by")
                if by is None:
                    item.user_properties.append((_PROPERTY, proof))  # a class's marker is about all its tests
                elif by == item.name.partition("[")[0]:
                    item.user_properties.append((_PROPERTY, f"{proof}::{by}"))


class Records:
    """Hears what became of each test; in the process that leads, if several run tests."""

    def __init__(self, config: pytest.Config) -> None:
        """``config`` has the records."""
        self._records = config.stash[_RECORDS]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a test: it passed if all of it did, whatever its parameters."""
        for name, value in report.user_properties:
            if name == _PROPERTY and (report.when == "call" or not report.passed):
                test = str(value)
                self._records[test] = self._records.get(test, True) and report.passed


def pytest_sessionstart(session: pytest.Session) -> None:
    """Listen, unless another process leads this one."""
    if not hasattr(session.config, "workerinput"):
        session.config.pluginmanager.register(Records(session.config), "proofs-records")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Leave the records in a file of this run's own."""
    folder = session.config.getoption("--proofs")
    if folder is None or hasattr(session.config, "workerinput"):
        return
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    (target / f"{os.getpid()}.json").write_text(json.dumps(session.config.stash[_RECORDS], indent=1), encoding="utf-8")
