"""Whatever a file has in it, what is written is read back by our own reader as the same cases."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from batchyard.model.cases import parse_cases
from batchyard.model.names import is_dns_label
from import_bench import found_in, lines

PLAIN = st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3))
FIELDS = st.dictionaries(st.text(min_size=1), VALUES, max_size=3)
EXAMPLE = st.fixed_dictionaries({"inputs": FIELDS, "outputs": st.none() | FIELDS, "name": st.text(max_size=80)})
KINDS = st.sampled_from(["equals", "contains", "icontains-any", "regex", "is-json", "not-starts-with", "python"])
ASSERTION = st.fixed_dictionaries({"type": KINDS, "value": VALUES}, optional={"weight": st.integers(0, 3)})
TEST = st.fixed_dictionaries(
    {"vars": FIELDS, "assert": st.lists(ASSERTION, max_size=3), "description": st.text(max_size=80)}
)


@settings(max_examples=30)
@given(st.lists(EXAMPLE, min_size=1, max_size=5) | st.lists(TEST, min_size=1, max_size=5))
def test_what_was_written_is_read_back_as_the_same_cases(rows: list[dict[str, Any]]) -> None:
    # The last one can be carried over, so that there is a case whatever else is drawn.
    plain = {"inputs": {"a": 1}, "outputs": None} if "inputs" in rows[0] else {"vars": {"a": 1}, "assert": []}
    found = found_in(lines(*rows, plain), name="rows.jsonl")

    read = parse_cases(found.json_lines(), "jsonl", "rows.jsonl")

    assert (read.cases, read.faults) == (found.cases, ())
    names = [case.name for case in read.cases]
    assert len(set(names)) == len(names)
    assert all(map(is_dns_label, names))
    json.dumps(found.evaluation and found.evaluation.to_json())
