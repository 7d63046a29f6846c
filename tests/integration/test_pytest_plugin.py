"""The plugin of pytest as a user's project has it: a run of pytest of its own, with xdist."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest

from batchyard.compose import LocalEngine
from batchyard.engine.sources import load
from batchyard.local_files import files_folder
from batchyard.pytest_batch.result import BatchResult, Trial
from batchyard.pytest_batch.session import BatchTests
from batchyard.store.opening import open_store
from command_line import Bench, workflow

if TYPE_CHECKING:
    from pathlib import Path

TESTS = """
import pytest


@pytest.mark.batchtest("batch.yaml")
def test_the_result_can_be_had(batchtest):
    assert batchtest.best == "y"


@pytest.mark.batchtest("batch.yaml")
def test_each_cell_can_be_had(batchtest_cell):
    assert batchtest_cell.case in {"one", "two"}
"""

WRONG = """
import pytest


@pytest.mark.batchtest("missing.yaml")
def test_missing(batchtest): ...


@pytest.mark.batchtest("faulty.yaml")
def test_faulty(batchtest): ...


@pytest.mark.batchtest("faulty.yaml")
def test_each_cell(batchtest_cell): ...


@pytest.mark.batchtest(5)
def test_no_file(batchtest): ...


def test_fine(): ...
"""


def pytest_run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # Without the plugins of others, which take longer to load than all that is tested here.
    environment = Bench(folder, {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}).environment
    plugins = ["-p", "batchyard.pytest_batch.plugin", "-p", "xdist.plugin", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *plugins, f"--basetemp={folder / 'tmp'}", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=280
    )


def results(folder: Path) -> dict[str, str]:
    """Return how each test ended: "" if it passed, else what was said."""
    cases = ElementTree.parse(folder / "junit.xml").iter("testcase")  # noqa: S314
    return {
        case.attrib["name"]: "".join(part.text or "" for part in case if part.tag != "system-out") for case in cases
    }


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which pytest ran a batch, a combination of which raises, by two workers of xdist."""
    folder = tmp_path_factory.mktemp("project")
    parts = {"workflow": workflow("picky"), "gate": {"minSuccessRate": 0.9}}
    Bench(folder).write("batch.yaml", **parts)
    (folder / "test_mine.py").write_text(TESTS, encoding="utf-8")
    done = pytest_run(
        folder,
        "-n2",
        "--batchtest",
        "batch.yaml",
        "--batchtest-store",
        "results.db",
        "--junitxml=junit.xml",
        "test_mine.py",
    )
    assert done.returncode == 1, done.stdout + done.stderr
    return folder


def test_each_combination_and_case_is_a_test_and_so_is_the_verdict(ran: Path) -> None:
    assert sorted(results(ran)) == [
        "test_each_cell_can_be_had[x-one]",
        "test_each_cell_can_be_had[x-two]",
        "test_each_cell_can_be_had[y-one]",
        "test_each_cell_can_be_had[y-two]",
        "test_the_result_can_be_had",
        "verdict",
        "x/one",
        "x/two",
        "y/one",
        "y/two",
    ]


def test_a_cell_that_did_not_pass_names_the_node_and_the_reason(ran: Path) -> None:
    found = results(ran)

    assert sorted(name for name, said in found.items() if said) == ["x/one", "x/two"]
    assert "x/one/0: Failed (NodeRaised) in node 'taste'" in found["x/one"]
    assert 'node "taste" raised ValueError: x is not liked' in found["x/one"]


def test_the_batch_ran_once_for_all_workers(ran: Path) -> None:
    with open_store(str(ran / "results.db")) as store:
        assert len(store.batches(limit=10)) == 1


def test_a_file_with_faults_is_an_error_of_collection_that_says_all_of_them(tmp_path: Path) -> None:
    Bench(tmp_path).write("batch.yaml", cases=[{"name": "A b"}], repeats=0)

    done = pytest_run(tmp_path, "--batchtest", "batch.yaml")

    assert done.returncode == 2
    assert "spec.cases[0].name" in done.stdout
    assert "spec.repeats" in done.stdout


def test_a_batch_that_could_not_be_begun_says_why_and_not_to_look_at_it(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    file = tmp_path / Bench(tmp_path).write("gimp.yaml", workflow={"factory": "gimp:build", "source": {"path": "."}})

    result = BatchTests(request.config).result(file)

    assert (result.exit_code, result.passed) == (2, False)
    assert "gimp" in str(result)
    assert "batchyard show" not in str(result)


def test_a_marker_of_a_wrong_file_is_an_error_of_its_tests_alone(tmp_path: Path) -> None:
    Bench(tmp_path).write("faulty.yaml", repeats=0)
    (tmp_path / "test_mine.py").write_text(WRONG, encoding="utf-8")

    done = pytest_run(tmp_path, "--junitxml=junit.xml", "test_mine.py")

    assert done.returncode == 1, done.stdout + done.stderr
    found = results(tmp_path)
    assert found["test_fine"] == ""
    assert "missing.yaml" in found["test_missing"]
    assert "spec.repeats" in found["test_faulty"]
    assert "spec.repeats" in found["test_each_cell[not-planned]"]
    assert 'write @pytest.mark.batchtest("FILE")' in found["test_no_file"]
    assert "Traceback" not in done.stdout


def test_a_batch_that_a_killed_worker_left_is_taken_up(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    file = tmp_path / Bench(tmp_path).write("batch.yaml")
    batches = BatchTests(request.config)
    folder = batches.folder(file)
    folder.mkdir(parents=True)
    (folder / "begun").touch()
    target = str(folder / "store.db")
    with open_store(target) as store, LocalEngine() as engine:
        left = engine.accept(store, load(file), files_folder(target))

    result = batches.result(file)

    assert (result.id, result.passed) == (left.id, True)


def test_pytest_finds_the_plugin_by_itself() -> None:
    points = {point.name: point.value for point in entry_points(group="pytest11")}

    assert points["batchyard"] == "batchyard.pytest_batch.plugin"


def test_pytest_pays_nothing_for_a_plugin_that_is_not_used() -> None:
    script = """
import sys
import pytest
before = set(sys.modules)
import batchyard.pytest_batch.plugin
print(sorted(name for name in set(sys.modules) - before if name.split(".")[0] != "batchyard"))
"""

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    heavy = ("pydantic", "sqlalchemy", "yaml", "langgraph", "typer", "rich", "orjson")
    assert not [name for name in heavy if f"'{name}'" in done.stdout]


def test_a_result_is_read_back_as_it_was() -> None:
    trial = Trial("x/one/0", "Failed", "NodeRaised", "no", "taste", None, 0.5)
    result = BatchResult("b", "Failed", "", "", 1, ({"name": "minScore"},), "", "s", {"x/one": (trial,)}, lost=("x",))

    assert BatchResult.from_json(result.to_json()) == result
    assert not result.cell("x", "one").passed
    assert str(result.cell("x", "two")) == "x/two: was not run"


def test_the_verdict_says_after_which_node_a_lost_trial_first_differs() -> None:
    said = "x/one/0: first differs from base after node taste (answer)"
    check = {"name": "baseline", "passed": False, "message": "worse"}

    shown = str(BatchResult("b", "Failed", "GateFailed", "", 1, (check,), "", "s", {}, lost=(said,)))

    assert shown.splitlines()[1:3] == ["gate FAIL  baseline: worse", said]
