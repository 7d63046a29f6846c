"""The table of the original design's parts, where each lives here, and the tests that prove it.

``python tools/original_design.py check FOLDER`` prints the table after a run of all tests, each row proven or not: the
last step of ``make test``. ``docs/original-design.md`` is written by ``make golden``.
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
with these rows, each `proven` or `not proven`: a row is proven only if every test named here ran and passed in that
run, and `make test` fails if one is not.
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


def faults(row: Row, passed: Mapping[str, bool]) -> list[str]:
    """Return why the row is not proven after a run: it has no test, or one that did not run or did not pass."""
    if not row.tests:
        return ["no test carries its marker"]
    wrong = (test for test in row.tests if not passed.get(test, False))
    return [f"{_short(test)} {'did not pass' if test in passed else 'did not run'}" for test in wrong]


def lines(passed: Mapping[str, bool]) -> Iterator[str]:
    """Yield the table as a run ends with it: a line for each row, with its first test, or with all that is wrong."""
    for section in sections():
        yield f"{section.title}:"
        for row in section.rows:
            wrong = faults(row, passed)
            more = f" and {len(row.tests) - 1} more" if len(row.tests) > 1 else ""
            told = "; ".join(wrong) or f"{_short(row.tests[0])}{more}"
            yield f"  {'not proven' if wrong else 'proven    '}  {row.id:<21} {told}"


def _marked() -> Iterator[tuple[str, str]]:
    """Yield (row, test) for every marker of a test function, or of a class of tests."""
    for file in sorted((ROOT / "tests").rglob("test_*.py")):
        text = file.read_text(encoding="utf-8")
        if "mark.proves" not in text:
            continue
        name = file.relative_to(ROOT).as_posix()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                for row, by in _rows_of(node.decorator_list):
                    yield row, f"{name}::{node.name}{by}"


def _rows_of(decorators: list[ast.expr]) -> Iterator[tuple[str, str]]:
    """Yield each row that is named, with the inherited test that proves it ("" for whatever is decorated)."""
    for decorator in decorators:
        match decorator:
            case ast.Call(func=ast.Attribute(attr="proves"), args=arguments, keywords=keywords):
                by = "".join(f"::{ast.literal_eval(keyword.value)}" for keyword in keywords)
                yield from ((ast.literal_eval(argument), by) for argument in arguments)


def _short(test: str) -> str:
    return test.removeprefix("tests/")


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
    sys.stdout.write("".join(f"{line}\n" for line in lines(passed)))
    rows = [row for section in sections() for row in section.rows]
    wrong = sum(bool(faults(row, passed)) for row in rows)
    sys.stdout.write(f"the original design: {len(rows) - wrong} of {len(rows)} rows proven by the tests of this run\n")
    return f"{wrong} rows of the original design are not proven" if wrong else None


if __name__ == "__main__":
    sys.exit(main())
