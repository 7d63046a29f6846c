"""The table of the original design's parts, where each lives here, and the tests that prove it.

``python tools/original_design.py check FOLDER`` says after a run of all tests whether every row is proved: the last
step of ``make test``. ``docs/original-design.md`` is written by ``make golden``.
"""

from __future__ import annotations

import ast
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).resolve().parent.parent
ROWS = ROOT / "tests" / "original_design.yaml"
_HEAD = """\
# The original design, part by part
<!-- Made from tests/original_design.yaml and the markers of the tests by `make golden`. -->

Batchyard re-implements and finishes a design called Workflow Test Bench. Each row is one of its systems, one of the
holes that its own review named, or one of its bugs; where it lives here; and the tests that prove it. `make test` ends
with this table: it fails unless every test named here ran and passed in that run.
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One row. ``tests`` are ids of test functions, ``path::name``."""

    id: str
    what: str
    here: str
    tests: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the table under a heading."""

    title: str
    rows: tuple[Row, ...]


def sections() -> list[Section]:
    """Return the table, with the tests that carry each row's marker."""
    tests: dict[str, list[str]] = {}
    for row, test in sorted(_marked()):
        tests.setdefault(row, []).append(test)
    return [
        Section(
            section["title"],
            tuple(Row(row["id"], row["what"], row["here"], tuple(tests.get(row["id"], ()))) for row in section["rows"]),
        )
        for section in yaml.safe_load(ROWS.read_text(encoding="utf-8"))
    ]


def markdown() -> str:
    """Return the page of the documentation."""
    parts = [_HEAD]
    for section in sections():
        parts.append(f"\n## {section.title}\n| item | here | proved by |\n| --- | --- | --- |\n")
        parts += [f"| {row.what} | {row.here} | {'<br>'.join(map(_link, row.tests))} |\n" for row in section.rows]
    return "".join(parts)


def faults(passed: Mapping[str, bool]) -> list[str]:
    """Return what is wrong with the table after a run: rows without a test, tests that did not run or pass."""
    found = []
    for row in (row for section in sections() for row in section.rows):
        if not row.tests:
            found.append(f"{row.id}: no test carries its marker")
        for test in row.tests:
            if not passed.get(test, False):
                found.append(f"{row.id}: {test} {'failed' if test in passed else 'did not run'}")
    return found


def _marked() -> Iterator[tuple[str, str]]:
    """Yield (row, test) for every marker of a test function, or of a class of tests."""
    for file in sorted((ROOT / "tests").rglob("test_*.py")):
        text = file.read_text(encoding="utf-8")
        if "mark.proves" not in text:
            continue
        name = file.relative_to(ROOT).as_posix()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                for row in _rows_of(node.decorator_list):
                    yield row, f"{name}::{node.name}"


def _rows_of(decorators: list[ast.expr]) -> Iterator[str]:
    for decorator in decorators:
        match decorator:
            case ast.Call(func=ast.Attribute(attr="proves"), args=arguments):
                yield from (str(argument.value) for argument in arguments if isinstance(argument, ast.Constant))


def _link(test: str) -> str:
    path, _, name = test.partition("::")
    return f"`{name}` ({path.removeprefix('tests/')})"


def main() -> str | None:
    """Check the table against the records of a run; return what is wrong."""
    match sys.argv[1:]:
        case ["check", folder]:
            files = sorted(Path(folder).glob("*.json"))
        case _:
            return "usage: original_design.py check FOLDER"
    passed: dict[str, bool] = {}
    for file in files:
        for test, good in json.loads(file.read_text(encoding="utf-8")).items():
            passed[test] = passed.get(test, True) and good
    wrong = faults(passed)
    if wrong:
        return "the original design is not proved:\n" + "\n".join(wrong)
    rows = sum(len(section.rows) for section in sections())
    sys.stdout.write(f"the original design: {rows} rows, proved by {len(passed)} tests\n")
    return None


if __name__ == "__main__":
    sys.exit(main())
