"""What promptfoo's ``file://`` and ``$ref`` lead to: tests, variables, texts; code and addresses are not followed."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from batchyard.importing.promptfoo_assertions import compact
from batchyard.model.text import parse_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from batchyard.importing.losses import Losses
    from batchyard.importing.source import Folder
    from batchyard.model.trial import JSON

_FILE = "file://"
_DATA = {".yaml", ".yml", ".json", ".jsonl", ".csv"}
_TEXTS = {".txt", ".md", ".json", ".html", ".xml", ".csv", ".yaml", ".yml", ""}
_MOST_STEPS = 20
_COLUMNS = {"__description": "description", "__threshold": "threshold"}


class References:
    """Reads what a configuration refers to, and notes what it does not read."""

    def __init__(self, folder: Folder, losses: Losses) -> None:
        self._folder = folder
        self._losses = losses

    def entries(self, value: JSON, place: str) -> Iterator[tuple[str, Mapping[str, JSON]]]:
        """Yield the mappings in a list, with those of the files that are named in it or in its place."""
        if isinstance(value, dict) and isinstance(value.get("path"), str):
            value = value["path"]
        if isinstance(value, str):
            yield from self._in_files(value, place)
        elif isinstance(value, list):
            for index, item in enumerate(value):
                here = f"{place}[{index}]"
                named = item if isinstance(item, str) else _named(item)
                if named is not None:
                    yield from self._in_files(named, here)
                elif isinstance(item, dict):
                    yield here, item
                else:
                    self._losses.add(here, "an entry that is no mapping", "write it as one")
        elif value is not None:
            self._losses.add(place, "what is neither a list nor a file", "write a list")

    def mapping(self, value: JSON, place: str) -> Mapping[str, JSON]:
        """Return the mapping that stands at ``place`` or in the file that is named there."""
        if isinstance(value, str):
            found = next(self._in_files(value, place), None)
            return found[1] if found else {}
        return value if isinstance(value, dict) else {}

    def variables(self, value: JSON, place: str) -> Mapping[str, JSON]:
        """Return the variables, also where they stand in files."""
        if isinstance(value, dict):
            return value
        merged: dict[str, JSON] = {}
        for name in value if isinstance(value, list) else [value]:
            merged.update(self.mapping(name, place) if isinstance(name, str) else {})
        return merged

    def text(self, value: JSON, place: str) -> JSON:
        """Return the value, or what promptfoo puts in its place if it names a file."""
        if not isinstance(value, str) or not value.startswith(_FILE):
            return value
        suffix = _suffix(value)
        if suffix not in _TEXTS:
            self._losses.add(place, f"a variable of a `{suffix}` file", "write what it holds into the case's input")
            return value
        text = self._read(value.removeprefix(_FILE), place)
        if text is None:
            return value
        return (
            json.dumps(parse_text(text, core=True).value, ensure_ascii=False) if suffix in {".yaml", ".yml"} else text
        )

    def tests_in(self, name: str, text: str, place: str) -> list[JSON]:
        """Return the tests in the text of a file of this name."""
        match PurePosixPath(name).suffix.lower():
            case ".csv":
                return self._table(csv.DictReader(io.StringIO(text, newline="")), place)
            case ".jsonl":
                lines = enumerate(text.split("\n"), 1)
                return [self._parsed(line, f"{place}:{number}") for number, line in lines if line.strip()]
            case _:
                found = self._parsed(text, place)
                return found if isinstance(found, list) else [found]

    def _table(self, table: csv.DictReader[str], place: str) -> list[JSON]:
        for column, count in Counter(table.fieldnames or ()).items():
            if count > 1:
                message = f"all columns `{column}` but the last"
                self._losses.add(place, message, "give each column a name of its own, such as __expected1, __expected2")
        return [_row(row) for row in table]

    def _in_files(self, named: str, place: str) -> Iterator[tuple[str, Mapping[str, JSON]]]:
        path = named.removeprefix(_FILE)
        if "://" in path or _suffix(path) not in _DATA:
            self._losses.add(place, f"what `{named}` has or makes", "have promptfoo write it as YAML, or write it out")
            return
        for name in self._folder.matching(path):
            text = self._read(name, place)
            for index, entry in enumerate(self.tests_in(name, text, name) if text is not None else []):
                if isinstance(entry, dict):
                    yield f"{name}[{index}]", entry
                elif isinstance(entry, str):
                    self._losses.add(f"{name}[{index}]", "a file that is named in another one", "name it in the first")

    def _parsed(self, text: str, place: str) -> JSON:
        parsed = parse_text(text, core=True)
        if parsed.faults:
            self._losses.add(place, f"what cannot be read: {parsed.faults[0].message}", parsed.faults[0].remedy)
        return resolved(parsed.value)

    def _read(self, path: str, place: str) -> str | None:
        try:
            return self._folder.read(path).decode("utf-8-sig")
        except (OSError, UnicodeDecodeError) as err:
            reason = err.strerror or str(err) if isinstance(err, OSError) else "is not UTF-8 text"
            self._losses.add(place, f"the file {path}: {reason}", "check the path")
            return None


def resolved(document: JSON) -> JSON:
    """Return a document with what its ``$ref: '#/...'`` point to in their places."""
    return _resolved(document, document, _MOST_STEPS)


def _resolved(value: JSON, document: JSON, left: int) -> JSON:
    if isinstance(value, list):
        return [_resolved(item, document, left) for item in value]
    if not isinstance(value, dict):
        return value
    reference = value.get("$ref")
    if isinstance(reference, str) and reference.startswith("#/") and left:
        target = document
        for step in reference[2:].split("/"):
            target = target.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(target, dict) else None
        return value if target is None else _resolved(target, document, left - 1)
    return {key: _resolved(item, document, left) for key, item in value.items()}


def _named(item: JSON) -> str | None:
    """Return the file whose entries stand in the place of this one."""
    if isinstance(item, dict):
        for key in ("$values", "$expand", "path"):
            if isinstance(item.get(key), str):
                return str(item[key])
    return None


def _suffix(path: str) -> str:
    return PurePosixPath(path).suffix.lower()


def _row(row: Mapping[str, str | Sequence[str] | None]) -> dict[str, JSON]:
    """Return the test in a row of CSV: columns are variables, but for those that begin with two underscores."""
    test: dict[str, JSON] = {"vars": {}, "assert": []}
    for column, cell in row.items():
        if not isinstance(column, str) or not isinstance(cell, str):
            continue
        if column.startswith("__expected"):
            test["assert"] += [compact(cell)] if cell.strip() else []
        elif column in _COLUMNS:
            test[_COLUMNS[column]] = cell.strip() or None
        elif column.startswith("__"):
            test.setdefault("options", {})[column.removeprefix("__")] = cell
        else:
            test["vars"][column] = cell
    return test
