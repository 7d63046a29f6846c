"""Each built-in evaluator, asked directly: what is right, what is wrong, and what cannot be told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from batchyard.judge import CannotJudge, DuplicateEvaluator, Observed, Registry, UnknownEvaluator, built_in
from judge_builders import an_observation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchyard.model.trial import JSON


def evaluate(name: str, observed: Observed, /, **config: JSON) -> float | None:
    return built_in().get(name)(config, None).evaluate(observed).score


# -- exactMatch --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("output", "expected", "config", "score"),
    [
        ({"topic": "with"}, {"topic": "with"}, {"field": "topic"}, 1.0),
        ({"topic": "with"}, "with", {"field": "topic"}, 1.0),
        ({"topic": "try"}, "with", {"field": "topic"}, 0.0),
        ({"topic": "With"}, "with", {"field": "topic"}, 0.0),
        ({"topic": "STRASSE"}, "straße", {"field": "topic", "ignoreCase": True}, 1.0),
        ({"a": {"b": [{"c": 1}]}}, {"a": {"b": [{"c": 1}]}}, {"field": "a.b.0.c"}, 1.0),
        ({"topics": ["a", "b"]}, "b", {"field": "topics.-1"}, 1.0),
        ({"a.b": 1, "a": {"b": 2}}, 1, {"field": "a.b"}, 1.0),
        ({"topic": "with", "trace": [1, 2]}, {"topic": "with"}, {}, 1.0),
        ({"topic": "with", "n": 2}, {"topic": "with", "n": 3}, {}, 0.0),
        ({"topic": {"name": "with", "more": 1}}, {"topic": {"name": "with"}}, {}, 0.0),
        ({"n": 1.0}, 1, {"field": "n"}, 1.0),
        ({"ok": True}, 1, {"field": "ok"}, 0.0),
        ({"none": None}, {"none": None}, {"field": "none"}, 1.0),
        ({"tags": ["A", "b"]}, {"tags": ["a", "B"]}, {"ignoreCase": True}, 1.0),
        ({"tags": ["a", "b"]}, {"tags": ["a"]}, {}, 0.0),
    ],
)
def test_exact_match_compares_a_field_or_everything_expected(
    output: Mapping[str, JSON], expected: JSON, config: Mapping[str, JSON], score: float
) -> None:
    observed = an_observation(output, expected=expected)

    assert evaluate("exactMatch", observed, **config) == score


@pytest.mark.parametrize(
    ("output", "expected", "config", "message"),
    [
        ({"topic": "with"}, None, {"field": "topic"}, "add `expected`"),
        ({"answer": "with"}, "with", {"field": "topic"}, "output has no field 'topic'.*there is: answer"),
        ({}, "with", {"field": "topic"}, "there is nothing"),
        ({"a": [1]}, 1, {"field": "a.3"}, "a list of 1"),
        ({"a": [1]}, 1, {"field": "a.first"}, "a list of 1"),
        ({"a": "text"}, 1, {"field": "a.b"}, "there is text"),
        ({"topic": "with"}, {"subject": "with"}, {"field": "topic"}, "case 'case-1' has no field 'topic'"),
        ({"topic": "with"}, "with", {}, "is text, but the output is a mapping.*config.field"),
        ({"topic": "with"}, {"topic": "with", "page": 3}, {}, "output has no field 'page'"),
    ],
)
def test_exact_match_of_something_missing_is_no_score_but_a_message(
    output: Mapping[str, JSON], expected: JSON, config: Mapping[str, JSON], message: str
) -> None:
    observed = an_observation(output, expected=expected)

    with pytest.raises(CannotJudge, match=message):
        evaluate("exactMatch", observed, **config)


def test_many_field_names_are_cut_in_the_message() -> None:
    observed = an_observation({f"f{number}": 0 for number in range(20)}, expected=1)

    with pytest.raises(CannotJudge, match=r", \.\.\.$"):
        evaluate("exactMatch", observed, field="topic")


# -- contains ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "score"),
    [
        ({"field": "answer", "all": ["with", "block"]}, 1.0),
        ({"field": "answer", "all": ["with", "try"]}, 0.0),
        ({"field": "answer", "any": ["try", "block"]}, 1.0),
        ({"field": "answer", "any": ["try", "for"]}, 0.0),
        ({"field": "answer", "all": ["with"], "any": ["for", "try"]}, 0.0),
        ({"field": "answer", "all": ["WITH"]}, 0.0),
        ({"field": "answer", "all": ["WITH"], "ignoreCase": True}, 1.0),
        ({"field": "tags", "all": ["statement"]}, 1.0),
        ({"field": "tags", "all": ["state"]}, 0.0),
        ({"field": "tags", "all": ["7"]}, 1.0),
        ({"field": "tags", "any": ["STATEMENT"], "ignoreCase": True}, 1.0),
        ({"field": "nothing", "all": ["with"]}, 0.0),
        ({"field": "messages.-1.content", "all": ["deep"]}, 1.0),
        ({"all": ["deep"]}, 1.0),
        ({"all": ["absent"]}, 0.0),
    ],
)
def test_contains_searches_text_lists_or_the_whole_state(config: Mapping[str, JSON], score: float) -> None:
    observed = an_observation(
        {
            "answer": "a with block",
            "tags": ["statement", 7],
            "nothing": None,
            "messages": [{"content": "first"}, {"content": "deep down"}],
        }
    )

    assert evaluate("contains", observed, **config) == score


@pytest.mark.parametrize(
    ("expected", "score"),
    [("with", 1.0), (["with", "block"], 1.0), (["with", "try"], 0.0), ({"answer": "block"}, 1.0), (42, 1.0)],
)
def test_contains_without_texts_looks_for_what_the_case_expects(expected: JSON, score: float) -> None:
    observed = an_observation({"answer": "a with block, 42 lines"}, expected=expected)

    assert evaluate("contains", observed, field="answer") == score


@pytest.mark.parametrize(
    ("expected", "config", "message"),
    [
        (None, {"field": "answer"}, "add `expected`"),
        ("x", {"field": "topic"}, "output has no field 'topic'"),
        ("x", {"field": "count"}, "is a number, neither text nor list"),
        ({"answer": {"deep": 1}}, {"field": "answer"}, "is a mapping, not a text"),
        ({"answer": "x"}, {}, "is a mapping, not a text"),
        ([], {"field": "answer"}, "is a list, not a text or a list of texts"),
        (True, {"field": "answer"}, "is true or false, not a text"),
    ],
)
def test_contains_with_nothing_to_search_or_find_is_no_score_but_a_message(
    expected: JSON, config: Mapping[str, JSON], message: str
) -> None:
    observed = an_observation({"answer": "x", "count": 3}, expected=expected)

    with pytest.raises(CannotJudge, match=message):
        evaluate("contains", observed, **config)


# -- jsonPath ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "expected", "score"),
    [
        ({"path": "$.answers[0].topic", "equals": "with"}, None, 1.0),
        ({"path": "$.answers[0].topic", "equals": "try"}, None, 0.0),
        ({"path": "$.answers[?@.rank > 1].topic", "equals": "try"}, None, 1.0),
        ({"path": "$.answers[?@.rank > 9].topic", "equals": "try"}, None, 0.0),
        ({"path": "$.none", "equals": None}, None, 1.0),
        ({"path": "$.answers[0].topic", "equals": None}, None, 0.0),
        ({"path": "$.answers[0].topic"}, "with", 1.0),
        ({"path": "$.answers[0].topic"}, {"answers": [{"topic": "try"}]}, 0.0),
        ({"path": "$.answers[0].topic"}, {"elsewhere": "try"}, 1.0),
        ({"path": "$.answers[0].topic"}, None, 1.0),
        ({"path": "$.false"}, None, 1.0),
        ({"path": "$.missing"}, None, 0.0),
    ],
)
def test_json_path_compares_the_first_value_found(config: Mapping[str, JSON], expected: JSON, score: float) -> None:
    output = {"answers": [{"topic": "with", "rank": 1}, {"topic": "try", "rank": 2}], "none": None, "false": False}

    assert evaluate("jsonPath", an_observation(output, expected=expected), **config) == score


def test_json_path_to_one_place_that_is_not_there_is_no_score_but_a_message() -> None:
    with pytest.raises(CannotJudge, match=r"nothing at \$\.topic"):
        evaluate("jsonPath", an_observation({"answer": 1}), path="$.topic", equals="with")


@pytest.mark.parametrize("path", ["$[?__import__('os')]", "$[?eval('1')]", "$.x; import os", "$[(@.length-1)]"])
@pytest.mark.proves("bug-24")
def test_a_json_path_that_is_python_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="is not a JSONPath"):
        evaluate("jsonPath", an_observation({"x": [1, 2]}), path=path)


@pytest.mark.parametrize("path", ["$.x.__class__", "$[?@.x.__class__.__mro__]"])
@pytest.mark.proves("bug-24")
def test_a_python_attribute_in_a_json_path_is_a_mere_name(path: str) -> None:
    assert evaluate("jsonPath", an_observation({"x": [1, 2]}), path=path) == 0.0


# -- numericTolerance --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("found", "score"), [(100.01, 1.0), (99.99, 1.0), (100.0101, 0.0)])
def test_a_number_just_as_far_off_as_is_allowed_is_near(found: float, score: float) -> None:
    observed = an_observation({"total": found}, expected={"total": 100})

    assert evaluate("numericTolerance", observed, field="total", absolute=0.01) == score
    assert evaluate("numericTolerance", observed, field="total", relative=0.0001) == score


@pytest.mark.parametrize(
    ("found", "config", "score"),
    [
        (100, {}, 1.0),
        (100.5, {}, 0.0),
        (100.5, {"absolute": 0.5}, 1.0),
        (100.6, {"absolute": 0.5}, 0.0),
        (101, {"relative": 0.01}, 1.0),
        (98, {"relative": 0.01}, 0.0),
        (98, {"relative": 0.01, "absolute": 2}, 1.0),
    ],
)
def test_numeric_tolerance_takes_the_wider_of_two_tolerances(
    found: float, config: Mapping[str, JSON], score: float
) -> None:
    observed = an_observation({"total": found}, expected={"total": 100})

    assert evaluate("numericTolerance", observed, field="total", **config) == score


@pytest.mark.parametrize(
    ("found", "expected", "message"),
    [
        ("100", 100, "field 'total' of the output is text, not a number"),
        (True, 1, "is true or false, not a number"),
        (float("nan"), 1, "is nan, not a finite number"),
        (10**400, 1, "too large"),
        (1, None, "add `expected`"),
        (1, {"other": 1}, "has no field 'total'"),
        (1, [1], "is a list, not a number"),
    ],
)
def test_numeric_tolerance_of_no_number_is_no_score_but_a_message(found: JSON, expected: JSON, message: str) -> None:
    observed = an_observation({"total": found}, expected=expected)

    with pytest.raises(CannotJudge, match=message):
        evaluate("numericTolerance", observed, field="total", absolute=1)


# -- latency -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "score"), [(0.0, 1.0), (2.0, 1.0), (3.0, 0.75), (4.0, 0.5), (6.0, 0.0), (60.0, 0.0)]
)
def test_latency_falls_in_a_straight_line_from_target_to_maximum(seconds: float, score: float) -> None:
    observed = an_observation(seconds=seconds)

    assert evaluate("latency", observed, targetSeconds=2, maxSeconds=6) == score


def test_latency_with_target_and_maximum_alike_is_a_step() -> None:
    config: dict[str, JSON] = {"targetSeconds": 2, "maxSeconds": 2}

    scores = [evaluate("latency", an_observation(seconds=seconds), **config) for seconds in (2.0, 2.1)]

    assert scores == [1.0, 0.0]


# -- metric ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "config", "score"),
    [
        (5, {"min": 5}, 1.0),
        (4, {"min": 5}, 0.0),
        (5, {"max": 5}, 1.0),
        (6, {"max": 5}, 0.0),
        (3, {"min": 2, "max": 4}, 1.0),
        (5, {"target": 10}, 0.5),
        (12, {"target": 10}, 1.0),
        (-1, {"target": 10}, 0.0),
        (6, {"min": 2, "target": 10}, 0.5),
        (1, {"min": 2, "target": 10}, 0.0),
        (100, {"target": 100, "direction": "lower"}, 1.0),
        (150, {"target": 100, "direction": "lower"}, 0.5),
        (250, {"target": 100, "direction": "lower"}, 0.0),
        (150, {"target": 100, "max": 300, "direction": "lower"}, 0.75),
        (50, {"target": 0, "direction": "lower"}, 0.0),
        (-5, {"target": 0}, 0.0),
        (0, {"target": 0}, 1.0),
    ],
)
def test_metric_scores_bounds_and_the_way_to_a_target(value: float, config: Mapping[str, JSON], score: float) -> None:
    observed = an_observation(metrics={"tokens": value})

    assert evaluate("metric", observed, name="tokens", **config) == score


def test_a_missing_metric_is_not_zero() -> None:
    observed = an_observation(metrics={"seconds": 1.0})

    with pytest.raises(CannotJudge, match="no metric 'tokens'; it has: seconds"):
        evaluate("metric", observed, name="tokens", max=5)


def test_a_metric_with_nothing_to_hold_it_against_is_refused() -> None:
    with pytest.raises(ValueError, match="names no value to hold the metric against"):
        evaluate("metric", an_observation(metrics={"tokens": 1}), name="tokens")


def test_a_metric_that_is_not_finite_is_no_score_but_a_message() -> None:
    observed = an_observation(metrics={"tokens": float("inf")})

    with pytest.raises(CannotJudge, match="not a finite number"):
        evaluate("metric", observed, name="tokens", min=5)


# -- the registry ------------------------------------------------------------------------------------------------


def test_the_registry_lists_every_evaluator_of_the_contract_in_order() -> None:
    names = built_in().list()

    assert names == ("callable", "contains", "exactMatch", "jsonPath", "latency", "metric", "numericTolerance")


def test_an_unknown_evaluator_is_answered_with_those_installed() -> None:
    with pytest.raises(UnknownEvaluator, match="unknown evaluator 'exact'; installed: callable, contains, exactMatch"):
        built_in().get("exact")


def test_a_name_is_registered_only_once() -> None:
    registry = Registry()
    registry.register("mine", lambda config, resolve: pytest.fail("not made"))

    with pytest.raises(DuplicateEvaluator, match="'mine' is registered already"):
        registry.register("mine", lambda config, resolve: pytest.fail("not made"))
