"""Cases out of the text of a JSONL, YAML or CSV file, with every fault and the line it stands in.

Pure: reading the files is ``engine.sources``. Whether a batch's names are unique is ``name_faults``.
"""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from pydantic import ValidationError

from batchyard.model.errors import Fault
from batchyard.model.faults import model_faults, shortened
from batchyard.model.names import dns_label, with_suffix
from batchyard.model.questions import ScriptedAnswer
from batchyard.model.spec_workload import CaseSpec
from batchyard.model.text import MAX_DEPTH, Parsed, child_path, parse_json, parse_text, plain
from batchyard.model.trial import JSON, Case

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

CaseFileKind: TypeAlias = Literal["jsonl", "yaml", "csv"]

MAX_FAULTS = 100

_KIND_OF_SUFFIX: dict[str, CaseFileKind] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".yaml": "yaml",
    ".yml": "yaml",
    ".json": "yaml",
    ".csv": "csv",
}
_PLAIN_FIELDS = {"name", "weight", "deadlineSeconds", "group"}
_JSON_MARK = ":json"


class ParsedCases(NamedTuple):
    """The cases of one file in order, what is wrong with it, and where each case stands."""

    cases: tuple[Case, ...]
    faults: tuple[Fault, ...]
    places: tuple[str, ...]


def kind_of(name: str) -> CaseFileKind | None:
    """Return how a file of this name is read, None if its ending is not known."""
    return _KIND_OF_SUFFIX.get(PurePosixPath(name).suffix.lower())


def case_of(spec: CaseSpec) -> Case:
    """Return a validated case as the engine's own."""
    answers = tuple(ScriptedAnswer(given.value, given.node or "", given.question or "") for given in spec.answers)
    return Case(spec.name, spec.input, spec.expected, spec.weight, spec.deadline_seconds, answers, spec.group)


def case_json(case: Case) -> dict[str, JSON]:
    """Return a case as a file spells it, without what is left at its default."""
    spelled: dict[str, JSON] = {"name": case.name, "input": case.input}
    if case.expected is not None:
        spelled["expected"] = case.expected
    if case.weight != 1:
        spelled["weight"] = case.weight
    if case.deadline_seconds is not None:
        spelled["deadlineSeconds"] = case.deadline_seconds
    if case.group:
        spelled["group"] = case.group
    if case.answers:
        spelled["answers"] = [_answer_json(answer) for answer in case.answers]
    return spelled


def _answer_json(answer: ScriptedAnswer) -> dict[str, JSON]:
    return {"value": answer.value} | {field: text for field in ("node", "question") if (text := getattr(answer, field))}


def parse_cases(text: str, kind: CaseFileKind, source: str, *, most: int | None = None) -> ParsedCases:
    """Return the cases in a text, in order; ``source`` is the file's name, used in messages and for names.

    A row without a name is called ``<stem>-<row>``, counted from 1. After 100 faults or ``most`` cases the rest is not
    read.
    """
    readers = {"jsonl": _jsonl_rows, "yaml": _yaml_rows, "csv": _csv_rows}
    cases: list[Case] = []
    places: list[str] = []
    faults: list[Fault] = []
    stem = dns_label(PurePosixPath(source).stem) or "case"
    for number, (place, row) in enumerate(readers[kind](text, source), 1):
        if row.faults:
            faults += row.faults
        else:
            case = _case(row.value, place, with_suffix(stem, str(number)), faults)
            if case:
                cases.append(case)
                places.append(place)
        if len(cases) == most:
            break
        if len(faults) >= MAX_FAULTS:
            faults[MAX_FAULTS:] = [Fault(source, "", "has further faults perhaps", "mend these first")]
            break
    if not cases and not faults:
        faults.append(Fault(source, "", "has no case in it", "write one or remove the file from casesFrom"))
    return ParsedCases(tuple(cases), tuple(faults), tuple(places))


def name_faults(named: Iterable[tuple[str, str]]) -> Iterator[Fault]:
    """Yield a fault for each name that an earlier case has; ``named`` is of names and the places of their cases."""
    seen: dict[str, str] = {}
    for name, place in named:
        if name in seen:
            message = f"is already the name of the case at {seen[name]}"
            yield Fault(f"{place}.name", shortened(name), message, "rename one")
        seen.setdefault(name, place)


class _Row(NamedTuple):
    place: str
    parsed: Parsed


def _case(row: JSON, place: str, default_name: str, faults: list[Fault]) -> Case | None:
    if not isinstance(row, dict):
        faults.append(Fault(place, shortened(row), "must be a mapping", "write {input: ..., expected: ...}"))
        return None
    named = row if row.get("name") is not None else {**row, "name": default_name}
    try:
        return case_of(CaseSpec.model_validate_json(json.dumps(named), by_alias=True, by_name=False))
    except ValidationError as err:
        faults += model_faults(err, CaseSpec, place)
        return None


def _jsonl_rows(text: str, source: str) -> Iterator[_Row]:
    # Not splitlines(): it also parts at characters that may stand unescaped within a JSON text.
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            place = f"{source}:{number}"
            yield _Row(place, parse_json(line, place))


def _yaml_rows(text: str, source: str) -> Iterator[_Row]:
    parsed = parse_text(text, source)
    if parsed.faults:
        yield _Row(source, parsed)
    elif not isinstance(parsed.value, list):
        yield _Row(source, Parsed(None, (Fault(source, "", "must be a list of cases", "begin each case with '- '"),)))
    else:
        for index, value in enumerate(parsed.value):
            yield _Row(child_path(source, index), Parsed(value))


def _csv_rows(text: str, source: str) -> Iterator[_Row]:
    # A cell may be as long as any other text: the file is bounded. It is the limit of all readers of the process.
    csv.field_size_limit(sys.maxsize)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = next(reader, [])
        header_faults = tuple(_header_faults(header, f"{source}:1"))
        if header_faults:
            yield _Row(source, Parsed(None, header_faults))
            return
        line = reader.line_num + 1
        for cells in reader:
            if cells:
                yield _csv_row(header, cells, f"{source}:{line}")
            line = reader.line_num + 1
    except csv.Error as err:
        place = f"{source}:{reader.line_num}"
        yield _Row(place, Parsed(None, (Fault(place, "", f"is not CSV: {err}", "check the quotes"),)))


def _header_faults(header: Sequence[str], place: str) -> Iterator[Fault]:
    for column in header:
        yield from plain(column, place).faults
    columns = [column.strip().removesuffix(_JSON_MARK) for column in header]
    if not columns:
        yield Fault(place, "", "has no header", "name the columns in the first line")
    targets = [tuple(_target(column)) for column in columns]
    known, seen = set(targets), set[tuple[str, ...]]()
    for number, (column, target) in enumerate(zip(columns, targets, strict=True), 1):
        if not all(column.split(".")):
            yield Fault(place, shortened(column), f"is no name for column {number}", "name it")
        elif len(target) > MAX_DEPTH:
            yield Fault(place, shortened(column), f"has more than {MAX_DEPTH} parts", "nest less")
        elif target[0] in _PLAIN_FIELDS and len(target) > 1:
            yield Fault(place, shortened(column), f"{target[0]} has no parts", f"write {target[0]} or another name")
        elif target in seen:
            yield Fault(place, shortened(column), "is the name of two columns", "rename one")
        elif any(target[:length] in known for length in range(1, len(target))):
            yield Fault(place, shortened(column), "is within another column's value", "keep one of the two")
        seen.add(target)


def _csv_row(header: Sequence[str], cells: Sequence[str], place: str) -> _Row:
    if len(cells) != len(header):
        message = f"has {len(cells)} cells, but the header names {len(header)} columns"
        return _Row(place, Parsed(None, (Fault(place, "", message, "quote cells with commas in them"),)))
    row: dict[str, JSON] = {}
    faults: list[Fault] = []
    for name, cell in zip(header, cells, strict=True):
        column = name.strip()
        # An empty cell says nothing: CSV cannot tell it from an absent one.
        if cell:
            parsed = _cell(column, cell, f"{place}.{column}")
            faults += parsed.faults
            _put(row, _target(column.removesuffix(_JSON_MARK)), parsed.value)
    return _Row(place, Parsed(row, tuple(faults)))


def _cell(column: str, cell: str, place: str) -> Parsed:
    if column.endswith(_JSON_MARK):
        return parse_json(cell, place)
    if column in {"weight", "deadlineSeconds"}:
        number = parse_json(cell, place)
        return number if isinstance(number.value, (int, float)) and not number.faults else plain(cell, place)
    return plain(cell, place)


def _target(column: str) -> list[str]:
    steps = column.split(".")
    return (
        steps
        if steps[0] in {*_PLAIN_FIELDS, "answers", "expected", "input"} and column != "input"
        else ["input", *steps]
    )


def _put(row: dict[str, JSON], steps: Sequence[str], value: JSON) -> None:
    for step in steps[:-1]:
        row = row.setdefault(step, {})
    row[steps[-1]] = value
