"""Whatever a file says, it is a batch or a list of faults; nothing else ever comes out."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from hypothesis import given
from hypothesis import strategies as st

from batchyard.model.cases import parse_cases
from batchyard.model.errors import Fault, SpecInvalid
from batchyard.model.matrix import expand_combinations
from batchyard.model.parse import parse_batch_test
from batchyard.model.spec import MAX_COMBINATIONS

if TYPE_CHECKING:
    from batchyard.model.cases import CaseFileKind
    from batchyard.model.spec import BatchTest
    from batchyard.model.trial import JSON

WHOLE: JSON = yaml.safe_load((Path(__file__).parent.parent / "data" / "valid" / "whole.yaml").read_text())

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
)


def places(value: JSON) -> list[tuple[JSON, str | int]]:
    """Every mapping or list below ``value`` with one of its keys."""
    keys = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    return [(value, key) for key in keys] + [place for key in keys for place in places(value[key])]


@st.composite
def spoilt(draw: st.DrawFn) -> JSON:
    document = copy.deepcopy(WHOLE)
    for _ in range(draw(st.integers(1, 4))):
        holder, key = draw(st.sampled_from(places(document)))
        match draw(st.sampled_from(["replace", "remove", "add"])):
            case "replace":
                holder[key] = draw(VALUES)
            case "remove":
                del holder[key]
            case _ if isinstance(holder, dict):
                holder[draw(st.text(max_size=8))] = draw(VALUES)
            case _:
                holder.append(draw(VALUES | st.just(holder[key])))
    return document


def well_formed(faults: tuple[Fault, ...]) -> bool:
    paths = [fault.path for fault in faults]
    return len(set(paths)) == len(paths) and all(
        fault.path and fault.message and fault.remedy and len(fault.value) <= 60 and str(fault).encode()
        for fault in faults
    )


def parsed(text: str) -> BatchTest | SpecInvalid:
    try:
        return parse_batch_test(text, "some text")
    except SpecInvalid as invalid:
        return invalid


@given(spoilt())
def test_a_spoilt_file_is_a_batch_that_can_be_expanded_or_a_list_of_faults(document: JSON) -> None:
    found = parsed(json.dumps(document))

    if isinstance(found, SpecInvalid):
        assert found.faults
        assert well_formed(found.faults)
    else:
        names = [combination.name for combination in expand_combinations(found.spec.variants)]
        assert 1 <= len(set(names)) == len(names) <= MAX_COMBINATIONS


@given(st.text() | st.text(alphabet="{}[]:,-&*#!|>'\"? \n\tab1~<", max_size=60))
def test_any_text_at_all_is_refused_in_good_order(text: str) -> None:
    found = parsed(text)

    assert isinstance(found, SpecInvalid)
    assert found.faults
    assert well_formed(found.faults)


@given(st.text(alphabet='{}[]:,"-. \n\r\\abname01', max_size=80), st.sampled_from(["jsonl", "yaml", "csv"]))
def test_any_case_file_gives_cases_or_faults(text: str, kind: CaseFileKind) -> None:
    found = parse_cases(text, kind, "noise.txt")

    assert found.cases or found.faults
    assert len(found.cases) == len(found.places)
    assert all(fault.path.startswith("noise.txt") and fault.message and fault.remedy for fault in found.faults)
