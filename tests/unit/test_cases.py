"""How case files are read."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from batchyard.model.cases import MAX_FAULTS, case_json, kind_of, name_faults, parse_cases
from batchyard.model.questions import ScriptedAnswer
from batchyard.model.trial import Case

if TYPE_CHECKING:
    from batchyard.model.cases import CaseFileKind


def test_jsonl_gives_a_case_a_line() -> None:
    first = '{"name": "one", "input": {"q": "why"}, "expected": {"a": 1}, "weight": 2, "deadlineSeconds": 5}'
    text = f'{first}\n\n{{"name": "two"}}'

    parsed = parse_cases(text, "jsonl", "cases.jsonl")

    assert parsed.faults == ()
    assert parsed.cases == (Case("one", {"q": "why"}, {"a": 1}, 2.0, 5.0), Case("two", {}))
    assert parsed.places == ("cases.jsonl:1", "cases.jsonl:3")


def test_jsonl_may_hold_characters_that_look_like_line_ends_and_windows_line_ends() -> None:
    text = '{"name": "one", "input": {"q": "a\u2028b\x85c"}}\r\n{"name": "two"}\r\n'

    parsed = parse_cases(text, "jsonl", "cases.jsonl")

    assert [case.name for case in parsed.cases] == ["one", "two"]
    assert parsed.cases[0].input == {"q": "a\u2028b\x85c"}


def test_a_jsonl_fault_names_its_line() -> None:
    parsed = parse_cases('{"name": "one"}\n{"name": }\n{"name": "a", "name": "b"}\n', "jsonl", "cases.jsonl")

    assert [fault.path for fault in parsed.faults] == ["cases.jsonl:2", "cases.jsonl:3.name"]
    assert "column 10" in parsed.faults[0].message


@pytest.mark.parametrize(
    "line", ["[" * 100_000, '{"a": ' + "9" * 5000 + "}", '{"input": {"a": 1e999}}', '{"input": {"a": "\\ud800"}}']
)
def test_a_jsonl_line_that_no_reader_should_be_given_is_a_fault(line: str) -> None:
    parsed = parse_cases(line, "jsonl", "cases.jsonl")

    assert len(parsed.faults) == 1
    assert parsed.faults[0].path.startswith("cases.jsonl:1")


def test_yaml_gives_a_case_an_item() -> None:
    parsed = parse_cases("- {name: one, input: {day: 2024-01-01}}\n- input: {q: how}\n", "yaml", "more.yaml")

    assert parsed.faults == ()
    assert parsed.cases == (Case("one", {"day": "2024-01-01"}), Case("more-2", {"q": "how"}))


def test_json_is_read_as_yaml_is() -> None:
    parsed = parse_cases('[{"name": "one", "input": {"face": "\\ud83d\\ude00"}}]', "yaml", "cases.json")

    assert parsed.cases == (Case("one", {"face": "😀"}),)


def test_csv_columns_become_input_but_for_the_known_ones() -> None:
    text = "name,question,expected,weight,deadlineSeconds\none,why?,because,2,1.5\n"

    parsed = parse_cases(text, "csv", "cases.csv")

    assert parsed.faults == ()
    assert parsed.cases == (Case("one", {"question": "why?"}, "because", 2.0, 1.5),)


def test_csv_columns_with_dots_nest() -> None:
    text = "input.user.name,input.user.age:json,expected.topic,note\nAnn,42,with,x\n"

    parsed = parse_cases(text, "csv", "cases.csv")

    assert parsed.cases == (Case("cases-1", {"user": {"name": "Ann", "age": 42}, "note": "x"}, {"topic": "with"}),)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('{"answers": [{"value": {"ok": true}, "node": "review"}, {"value": null, "question": "sure"}]}', "jsonl"),
        ("- answers: [{value: {ok: true}, node: review}, {value: null, question: sure}]", "yaml"),
        (
            'name,answers:json\ncases-1,"[{""value"":{""ok"":true},""node"":""review""},'
            '{""value"":null,""question"":""sure""}]"\n',
            "csv",
        ),
    ],
)
def test_answers_are_read_and_spelled_in_every_kind_of_file(text: str, kind: CaseFileKind) -> None:
    parsed = parse_cases(text, kind, "cases.any")

    script = (ScriptedAnswer({"ok": True}, node="review"), ScriptedAnswer(None, question="sure"))
    assert (parsed.faults, parsed.cases) == ((), (Case("cases-1", {}, answers=script),))
    assert parse_cases(json.dumps(case_json(parsed.cases[0])), "jsonl", "again").cases == parsed.cases


def test_an_answer_s_faults_are_told_with_their_place() -> None:
    parsed = parse_cases('{"answers": [{"node": ""}, {"value": 1, "nod": "a"}]}', "jsonl", "cases.jsonl")

    assert [fault.path for fault in parsed.faults] == [
        "cases.jsonl:1.answers[0].value", "cases.jsonl:1.answers[0].node", "cases.jsonl:1.answers[1].nod",
    ]  # fmt: skip


def test_csv_text_stays_text_and_an_empty_cell_says_nothing() -> None:
    parsed = parse_cases("name,zip,expected,weight\none,00123,,\n", "csv", "cases.csv")

    assert parsed.cases == (Case("one", {"zip": "00123"}),)


def test_csv_faults_name_the_line_a_row_begins_in() -> None:
    text = 'name,q,weight\none,"two\nlines",1\ntwo,x\nthree,y,much\n'

    parsed = parse_cases(text, "csv", "cases.csv")

    assert [fault.path for fault in parsed.faults] == ["cases.csv:4", "cases.csv:5.weight"]


@pytest.mark.parametrize(
    "header",
    [
        "",
        "name,,q",
        "q,q",
        "expected,expected.topic",
        "a.b,a",
        "input.a,a",
        "name,q..r",
        "name.first,q",
        "a." * 3000 + "a",
    ],
)
def test_a_csv_header_that_cannot_be_understood_is_a_fault(header: str) -> None:
    parsed = parse_cases(f"{header}\n1,2,3\n", "csv", "cases.csv")

    assert parsed.cases == ()
    assert parsed.faults
    assert all(fault.path == "cases.csv:1" for fault in parsed.faults)


def test_a_csv_cell_may_be_as_long_as_any_other_text() -> None:
    text = "x" * 1_000_000

    parsed = parse_cases(f"name,q\none,{text}\n", "csv", "cases.csv")

    assert (parsed.faults, parsed.cases[0].input) == ((), {"q": text})


@pytest.mark.parametrize("place", ["name,q\none,a\0b\n", "name,q\none,\ud800\n", "name,q\0\none,a\n"])
def test_csv_may_say_no_more_than_json_may(place: str) -> None:
    (fault,) = parse_cases(place, "csv", "cases.csv").faults

    assert fault.remedy in {"remove it", "write the whole character"}


def test_an_unclosed_csv_quote_is_a_fault() -> None:
    parsed = parse_cases('name,q\none,"never ends\n', "csv", "cases.csv")

    assert [fault.message for fault in parsed.faults] == ["is not CSV: unexpected end of data"]


def test_a_row_without_a_name_is_called_after_file_and_row() -> None:
    parsed = parse_cases('{"input": {}}\n\n{"name": null}\n', "jsonl", "data/My Cases (v2).jsonl")

    assert [case.name for case in parsed.cases] == ["my-cases-v2-1", "my-cases-v2-2"]


def test_a_name_after_a_long_or_nameless_file_is_still_a_name() -> None:
    long = parse_cases('{"input": {}}', "jsonl", "x" * 100 + ".jsonl")
    nameless = parse_cases('{"input": {}}', "jsonl", "日本.jsonl")

    assert long.faults == nameless.faults == ()
    assert long.cases[0].name == "x" * 61 + "-1"
    assert nameless.cases[0].name == "case-1"


def test_a_file_full_of_faults_is_given_up_after_a_hundred() -> None:
    parsed = parse_cases("nonsense\n" * 100_000, "jsonl", "cases.jsonl")

    assert len(parsed.faults) == MAX_FAULTS + 1
    assert "mend these first" in parsed.faults[-1].remedy


def test_a_line_full_of_faults_tells_a_hundred_of_them() -> None:
    parsed = parse_cases(",".join(["a"] * 300) + "\n", "csv", "cases.csv")

    assert len(parsed.faults) == MAX_FAULTS + 1


def test_a_csv_header_of_any_width_is_read() -> None:
    header = ",".join(f"a{number}" for number in range(50_000))

    parsed = parse_cases(f"{header}\n{'1,' * 49_999}1\n", "csv", "cases.csv")

    assert len(parsed.cases[0].input) == 50_000


def test_a_file_without_cases_is_a_fault() -> None:
    assert [fault.path for fault in parse_cases("name,q\n", "csv", "cases.csv").faults] == ["cases.csv"]


def test_names_used_twice_are_told_with_both_places() -> None:
    faults = list(name_faults([("a", "spec.cases[0]"), ("b", "x.csv:2"), ("a", "x.csv:3")]))

    assert [fault.path for fault in faults] == ["x.csv:3.name"]
    assert "spec.cases[0]" in faults[0].message


def test_a_case_is_spelled_as_it_was_written() -> None:
    row = {"name": "one", "input": {"q": [1, None]}, "expected": False, "weight": 0.5, "deadlineSeconds": 3.0}

    (case,) = parse_cases(json.dumps(row), "jsonl", "cases.jsonl").cases

    assert case_json(case) == row


def test_the_ending_tells_the_kind() -> None:
    kinds = [kind_of(name) for name in ("a.jsonl", "a.YAML", "a.yml", "a.json", "a.csv", "a.txt", "csv")]

    assert kinds == ["jsonl", "yaml", "yaml", "yaml", "csv", None, None]
