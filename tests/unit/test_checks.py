"""The checks that imported cases bring along: what each is met by."""

from __future__ import annotations

from typing import Any

import pytest

from batchyard.judge.checks import met
from batchyard.judge.observation import CannotJudge, Observed


def score(answer: Any, *checks: dict[str, Any]) -> Any:
    expected = {"checks": [{"field": "answer", **check} for check in checks]}
    output = {"answer": answer}
    return met(output, expected, Observed(output, expected, {}, {}, 0.1, "one"))["score"]


@pytest.mark.parametrize(
    ("answer", "check", "reached"),
    [
        ("Hello", {"check": "equals", "any": ["hello", "Hello"]}, 1),
        ("Hello", {"check": "equals", "any": ["hello"]}, 0),
        ("Hello", {"check": "equals", "any": ["hello"], "ignoreCase": True}, 1),
        ('{"a": 1.0}', {"check": "equals", "any": [{"a": 1}]}, 1),
        ("no JSON", {"check": "equals", "any": [{"a": 1}]}, 0),
        (4, {"check": "equals", "any": ["4"]}, 1),
        ("Hello Ada", {"check": "contains", "all": ["Hello", "Ada"]}, 1),
        ("Hello Ada", {"check": "contains", "all": ["Hello", "Alan"]}, 0),
        ("Hello Ada", {"check": "contains", "any": ["Alan"], "not": True}, 1),
        ("Hello", {"check": "startsWith", "any": ["hell"], "ignoreCase": True}, 1),
        ("It is Paris. ", {"check": "endsWith", "any": ["Paris"]}, 0),
        ("It is Paris. ", {"check": "endsWith", "any": ["Paris"], "trimmed": True}, 1),
        ("in 1991", {"check": "matches", "any": [r"\d{4}$"]}, 1),
        ("in 91", {"check": "matches", "any": [r"\d{4}$"]}, 0),
        ("[1]", {"check": "isJson"}, 1),
        ("[1", {"check": "isJson"}, 0),
        ({"a": 1}, {"check": "isJson"}, 1),
        ('see {x and {"a": 1}', {"check": "containsJson"}, 1),
        ("see {x", {"check": "containsJson"}, 0),
    ],
)
def test_a_check_is_met_or_not(answer: Any, check: dict[str, Any], reached: int) -> None:
    assert score(answer, check) == reached


def test_the_score_is_the_share_of_what_is_met_by_weight() -> None:
    right, wrong = {"check": "equals", "any": ["a"], "weight": 3}, {"check": "equals", "any": ["b"]}

    assert score("a", right, wrong) == 0.75


def test_a_case_without_checks_or_without_weight_has_no_score() -> None:
    assert met({}, None, Observed({}, None, {}, {}, 0.1))["score"] is None
    assert score("a", {"check": "equals", "any": ["a"], "weight": 0}) is None


def test_a_check_that_is_not_known_and_a_field_that_is_not_there_cannot_be_judged() -> None:
    with pytest.raises(CannotJudge, match="has a check 'sounds'; known here: equals"):
        score("a", {"check": "sounds"})
    with pytest.raises(CannotJudge, match="no field 'other'"):
        score("a", {"check": "isJson", "field": "other"})
