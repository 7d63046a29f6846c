"""A callable is found where the BatchTest says it is, or the user reads why not and what to do."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from batchyard.model.errors import WorkflowInvalid
from batchyard.workflows.factory import load_callable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A source folder whose modules and place on the import path are gone after the test."""
    path, modules = list(sys.path), set(sys.modules)
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def test_a_function_of_a_module_in_the_source_folder_is_found(folder: Path) -> None:
    (folder / "flow_a.py").write_text("import flow_b\ndef build(variants): return flow_b.VALUE\n")
    (folder / "flow_b.py").write_text("VALUE = 'from beside it'\n")

    assert load_callable("flow_a:build", folder)({}) == "from beside it"


def test_a_function_within_a_class_within_a_package_is_found(folder: Path) -> None:
    (folder / "flow_package").mkdir()
    (folder / "flow_package" / "__init__.py").touch()
    (folder / "flow_package" / "graphs.py").write_text(
        "class Search:\n    @staticmethod\n    def build(variants): return 'deep'\n"
    )

    assert load_callable("flow_package.graphs:Search.build", folder)({}) == "deep"


def test_a_module_of_the_import_path_needs_no_source_folder() -> None:
    assert load_callable("operator:add", None)(1, 2) == 3


def test_the_source_folder_is_put_on_the_import_path_once(folder: Path) -> None:
    (folder / "flow_once.py").write_text("def build(variants): ...\n")

    load_callable("flow_once:build", folder)
    load_callable("flow_once:build", folder)

    assert sys.path.count(str(folder.resolve())) == 1


@pytest.mark.parametrize("reference", ["graph", "graph.build", ":build", "graph:", ""])
def test_what_is_no_reference_is_refused(reference: str) -> None:
    with pytest.raises(WorkflowInvalid, match="write it as module:function"):
        load_callable(reference, None)


@pytest.mark.parametrize(
    ("reference", "code", "said"),
    [
        ("flow_missing:build", None, 'no module "flow_missing" in .*; correct the name before the colon'),
        ("flow_x.inner:build", "VALUE = 1\n", 'no module "flow_x.inner" in '),
        ("flow_x:build", "import no_such_package\n", r'needs the module "no_such_package" \(.*flow_x.py:1: import no_'),
        ("flow_x:build", "\n\n1 / 0\n", r"failed with ZeroDivisionError: division by zero \(.*flow_x.py:3: 1 / 0\)"),
        ("flow_x:build", "def build(:\n", r"failed with SyntaxError: .*flow_x.py:1"),
        ("flow_x:build", "raise SystemExit(2)\n", r"failed with SystemExit: 2 \(.*python -c"),
        ("flow_x:biuld", "def build(variants): ...\n", r'flow_x has no "biuld" \(.*flow_x.py\); it has build'),
        ("flow_x:build", "build = 5\n", "is a int, not a function"),
    ],
)
def test_a_reference_that_leads_nowhere_says_why(folder: Path, reference: str, code: str | None, said: str) -> None:
    if code is not None:
        (folder / "flow_x.py").write_text(code)

    with pytest.raises(WorkflowInvalid, match=said):
        load_callable(reference, folder)


def test_a_source_folder_that_is_not_there_is_named(folder: Path) -> None:
    with pytest.raises(WorkflowInvalid, match=r"nowhere is not there; correct workflow\.source\.path"):
        load_callable("flow_x:build", folder / "nowhere")
