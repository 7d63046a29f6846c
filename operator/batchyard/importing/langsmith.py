"""LangSmith datasets: exports as JSON or JSON lines, one example with ``inputs`` and ``outputs`` an entry."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from batchyard.importing.checks import Check, CheckKind
from batchyard.importing.evaluation import CHECKS_FUNCTION
from batchyard.importing.messages import chat
from batchyard.importing.source import Evaluation, Found, Proposal, Source, Wanted, json_lines, refused

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batchyard.importing.losses import Losses
    from batchyard.model.trial import JSON

_SPLIT = "dataset_split"
# What LangSmith writes down about an example, and no part of what is tested.
_BOOKKEEPING = {"id", "name", "created_at", "modified_at", "dataset_id", "dataset_name", "source_run_id", "runs"}
_READ = {"inputs", "outputs", "metadata", "split", "splits", *_BOOKKEEPING}


def read(source: Source, wanted: Wanted, losses: Losses) -> Found:
    """Return a case for each example, those of one split if one is wanted."""
    proposals: list[Proposal] = []
    seen: set[str] = set()
    for place, row in _rows(source):
        splits = _splits(row)
        seen.update(splits)
        if wanted.split and wanted.split not in splits:
            continue
        proposal = _example(place, row, source.stem, wanted, losses)
        if proposal is not None:
            _tell_of_the_rest(place, row, wanted, losses)
            proposals.append(proposal)
    if wanted.split and wanted.split not in seen:
        known = ", ".join(sorted(seen)) or "none"
        raise refused(source.name, "", f"has no split {wanted.split!r}", f"splits in it: {known}")
    return _judged(proposals)


def _rows(source: Source) -> list[tuple[str, Mapping[str, JSON]]]:
    try:
        document = json.loads(source.text)
    except (ValueError, RecursionError):
        return json_lines(source)
    entries, prefix = document, ""
    if isinstance(document, dict):
        if not isinstance(document.get("examples"), list):
            return [("line 1", document)]
        entries, prefix = document["examples"], "examples"
    if not isinstance(entries, list):
        raise refused(source.name, "", "is no list of examples", "write [{inputs: {...}, outputs: {...}}]")
    rows = [(f"{prefix}[{index}]", entry) for index, entry in enumerate(entries)]
    wrong = [place for place, entry in rows if not isinstance(entry, dict)]
    if wrong:
        raise refused(source.name, wrong[0], "is no example", "write {inputs: {...}, outputs: {...}}")
    return rows


def _splits(row: Mapping[str, JSON]) -> Sequence[str]:
    metadata = row.get("metadata")
    given = row.get("split") or row.get("splits") or (isinstance(metadata, dict) and metadata.get(_SPLIT)) or []
    return [str(one) for one in given] if isinstance(given, list) else [str(given)]


def _example(place: str, row: Mapping[str, JSON], stem: str, wanted: Wanted, losses: Losses) -> Proposal | None:
    if row.get("inputs") is None:
        losses.add(place, "an example without `inputs`", "give it some")
        return None
    given = row["inputs"] if isinstance(row["inputs"], dict) else {wanted.input_field: row["inputs"]}
    outputs = row.get("outputs")
    expected = outputs if isinstance(outputs, dict) or outputs is None else {wanted.output_field: outputs}
    return Proposal(
        _label(row, stem), place, _with_messages(given, place, losses), _with_messages(expected, place, losses)
    )


def _label(row: Mapping[str, JSON], stem: str) -> str:
    """Return the example's name, or the beginning of its id, which an export in another order has as well."""
    name, key = row.get("name"), row.get("id")
    if isinstance(name, str) and name:
        return name
    return f"{stem}-{key[:8]}" if isinstance(key, str) and key else ""


def _with_messages(fields: JSON, place: str, losses: Losses) -> JSON:
    if not isinstance(fields, dict):
        return fields
    return {key: _with_message(value, place, losses) for key, value in fields.items()}


def _with_message(value: JSON, place: str, losses: Losses) -> JSON:
    """Return messages as LangGraph takes them, also one that is in no list; other values are as they were."""
    found = chat(value if isinstance(value, list) else [value], place, losses)
    if found is None:
        if isinstance(value, dict) and value.get("lc") == 1:
            losses.add(place, "what LangChain wrote down and is no message", "write what the workflow has in its place")
        return value
    return found if isinstance(value, list) else found[0]


def _tell_of_the_rest(place: str, row: Mapping[str, JSON], wanted: Wanted, losses: Losses) -> None:
    for key, value in row.items():
        if value and key not in _READ:
            losses.add(place, f"field `{key}` of an example", "add it to the input of the cases if it is needed")
    metadata = row.get("metadata")
    for key in metadata if isinstance(metadata, dict) else ():
        if key != _SPLIT:
            losses.add(place, f"metadata `{key}`", "add it to the input of the cases if the workflow reads it")
    if not wanted.split:
        for split in _splits(row):
            losses.add(place, f"that it is of split `{split}`", f"import one split into a file with --split {split}")
    if row.get("outputs") is None:
        losses.add(place, "an example without `outputs`: nothing is expected", "add `expected` to the case")


def _judged(proposals: Sequence[Proposal]) -> Found:
    """Return that all expected fields must be equal; where not all cases expect some, each brings its own checks."""
    note = (
        "each field of `outputs` must be in the final state and equal; LangSmith's evaluators are code and not in the "
        "export: for answers in free text write a `callable`"
    )
    expecting = [isinstance(one.expected, dict) and bool(one.expected) for one in proposals]
    if not any(expecting):
        return Found(proposals, Evaluation())
    if all(expecting):
        return Found(proposals, Evaluation(({"name": "exactMatch"},), 1, note))
    # The evaluator would fail those that expect nothing.
    evaluator = {"name": "callable", "config": {"function": CHECKS_FUNCTION}}
    with_checks = [_checked(one) if has else one for one, has in zip(proposals, expecting, strict=True)]
    return Found(with_checks, Evaluation((evaluator,), 1, f"a case without `outputs` has no score; {note}"))


def _checked(proposal: Proposal) -> Proposal:
    checks = [Check(CheckKind.EQUALS, (value,)).to_json(field) for field, value in proposal.expected.items()]
    return replace(proposal, expected={"checks": checks})
