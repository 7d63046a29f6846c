"""promptfoo's tests as cases: variables, scenarios, files, assertions, and what is said to be lost."""

from __future__ import annotations

import pytest

from batchyard.importing.formats import Format
from batchyard.model.errors import SpecInvalid
from import_bench import evaluation, expected, found_in, inputs, lines, losses


def test_a_test_is_a_case_that_is_called_as_it_is_described() -> None:
    found = found_in("""
tests:
  - {description: "A warm Greeting!", vars: {name: Ada}}
  - {vars: {name: Alan}}
""")

    assert inputs(found) == {"a-warm-greeting": {"name": "Ada"}, "tests-2": {"name": "Alan"}}


def test_two_tests_of_one_description_get_names_of_their_own() -> None:
    found = found_in("tests: [{description: same, vars: {a: 1}}, {description: same, vars: {a: 2}}]")

    assert list(inputs(found)) == ["same", "same-2"]


def test_what_is_said_for_all_tests_stands_under_what_each_says() -> None:
    found = found_in("""
defaultTest: {vars: {tone: plain, name: nobody}, assert: [{type: contains, value: Hello}]}
tests:
  - {vars: {name: Ada}, assert: [{type: equals, value: Hello Ada}]}
  - {vars: {name: Alan, tone: warm}, assert: [{type: equals, value: Hello Alan}]}
""")

    assert list(inputs(found).values()) == [{"tone": "plain", "name": "Ada"}, {"tone": "warm", "name": "Alan"}]
    assert list(expected(found).values()) == [{"output": "Hello Ada"}, {"output": "Hello Alan"}]
    assert evaluation(found) == {
        "passThreshold": 1,
        "evaluators": [
            {"name": "contains", "config": {"field": "output", "any": ["Hello"]}},
            {"name": "exactMatch", "config": {"field": "output"}},
        ],
    }


def test_a_test_may_refuse_what_all_others_are_asked() -> None:
    found = found_in("""
defaultTest: {assert: [{type: contains, value: Hello}]}
tests: [{vars: {a: 1}}, {vars: {a: 2}, options: {disableDefaultAsserts: true}}]
""")

    assert list(expected(found).values()) == [
        {"checks": [{"check": "contains", "field": "output", "any": ["Hello"]}]},
        None,
    ]


def test_a_variable_that_is_a_list_makes_a_case_of_each() -> None:
    found = found_in("tests: [{description: hi, vars: {name: [Ada, Alan], tone: [warm]}}]")

    assert inputs(found) == {"hi": {"name": "Ada", "tone": "warm"}, "hi-2": {"name": "Alan", "tone": "warm"}}


def test_a_list_stays_one_where_that_is_asked_for() -> None:
    found = found_in("tests: [{vars: {names: [Ada, Alan]}, options: {disableVarExpansion: true}}]")

    assert inputs(found) == {"tests-1": {"names": ["Ada", "Alan"]}}


def test_a_scenario_is_each_set_with_each_test() -> None:
    found = found_in("""
scenarios:
  - config: [{vars: {to: German, hello: Hallo}}, {vars: {to: French, hello: Bonjour}}]
    tests: [{description: "hello in {{to}}", vars: {text: Hello}, assert: [{type: equals, value: "{{hello}}"}]}]
""")

    assert expected(found) == {"hello-in-german": {"output": "Hallo"}, "hello-in-french": {"output": "Bonjour"}}


def test_files_that_are_named_are_read() -> None:
    found = found_in(
        """
defaultTest: file://default.yaml
tests: [file://more/*.yaml, {vars: file://vars.json}, {vars: {text: file://long.txt}}]
""",
        files={
            "default.yaml": "vars: {tone: plain}",
            "more/one.yaml": "- vars: {n: 1}\n- vars: {n: 2}",
            "vars.json": '{"n": 3}',
            "long.txt": "a long text",
        },
    )

    assert list(inputs(found).values()) == [
        {"tone": "plain", "n": 1},
        {"tone": "plain", "n": 2},
        {"tone": "plain", "n": 3},
        {"tone": "plain", "text": "a long text"},
    ]
    assert found.losses == ()


def test_a_file_that_is_not_there_is_a_loss_with_its_place() -> None:
    found = found_in("tests: [{vars: {a: 1}}, file://gone.yaml]")

    assert losses(found) == ["tests[1] (1): the file gone.yaml: No such file or directory"]


def test_code_and_addresses_are_never_followed() -> None:
    found = found_in("""
tests:
  - {vars: {a: 1}}
  - file://make.py:tests
  - https://docs.google.com/spreadsheets/d/1
  - {vars: {a: file://value.js}}
""")

    assert losses(found) == [
        "tests[1] (1): what `file://make.py:tests` has or makes",
        "tests[2] (1): what `https://docs.google.com/spreadsheets/d/1` has or makes",
        "tests[3].vars.a (1): a variable of a `.js` file",
    ]


def test_a_table_of_tests_is_read_with_its_compact_assertions() -> None:
    found = found_in(
        'name,__description,__expected,__expected2\nAda,first,"contains-all:Hello, Ada",not-icontains:bye\n'
        "Alan,second,Hello Alan,\n",
        name="tests.csv",
    )

    assert found.format is Format.PROMPTFOO

    assert inputs(found) == {"first": {"name": "Ada"}, "second": {"name": "Alan"}}
    assert expected(found) == {
        "first": {
            "checks": [
                {"check": "contains", "field": "output", "all": ["Hello", "Ada"]},
                {"check": "contains", "field": "output", "any": ["bye"], "ignoreCase": True, "not": True},
            ]
        },
        "second": {"checks": [{"check": "equals", "field": "output", "any": ["Hello Alan"]}]},
    }


def test_of_columns_with_one_name_all_but_the_last_are_a_loss() -> None:
    found = found_in("name,__expected,__expected\nAda,contains:Hello,contains:Ada\n", name="tests.csv")

    assert losses(found) == ["tests.csv (1): all columns `__expected` but the last"]
    assert expected(found) == {"tests-1": {"output": "Ada"}}


def test_tests_may_stand_one_a_line() -> None:
    found = found_in(lines({"vars": {"a": "1"}}, {"vars": {"a": "2"}}), name="tests.jsonl")

    assert found.format is Format.PROMPTFOO
    assert inputs(found) == {"tests-1": {"a": "1"}, "tests-2": {"a": "2"}}


def test_the_field_of_the_answer_can_be_named() -> None:
    found = found_in("tests: [{assert: [{type: icontains, value: Ada}]}]", output_field="messages.-1.content")

    assert expected(found) == {"tests-1": {"messages.-1.content": "Ada"}}
    assert evaluation(found)["evaluators"] == [
        {"name": "contains", "config": {"field": "messages.-1.content", "ignoreCase": True}}
    ]


@pytest.mark.parametrize(
    ("assertion", "check"),
    [
        ("{type: not-equals, value: no}", {"check": "equals", "any": ["no"], "not": True}),
        ("{type: equals, value: {a: 1}}", {"check": "equals", "any": [{"a": 1}]}),
        ("{type: regex, value: '(?<year>\\d{4})'}", {"check": "matches", "any": ["(?P<year>\\d{4})"]}),
        ("{type: starts-with, value: Dear}", {"check": "startsWith", "any": ["Dear"]}),
        ("{type: is-json}", {"check": "isJson"}),
        ("{type: contains-json, weight: 2}", {"check": "containsJson", "weight": 2.0}),
        ("{type: icontains-any, value: [a, 2]}", {"check": "contains", "any": ["a", "2"], "ignoreCase": True}),
        ("{type: assert-set, assert: [{type: not-is-json}]}", {"check": "isJson", "not": True}),
    ],
)
def test_an_assertion_is_a_check(assertion: str, check: dict[str, object]) -> None:
    found = found_in(f"tests: [{{vars: {{a: 1}}, assert: [{assertion}]}}]")

    assert expected(found) == {"tests-1": {"checks": [{**check, "field": "output"}]}}
    assert found.losses == ()


@pytest.mark.parametrize(
    ("assertion", "loss"),
    [
        ("{type: javascript, value: output.length}", "assertion `javascript`"),
        ("{type: llm-rubric, value: is kind}", "assertion `llm-rubric`"),
        ("{type: cost, threshold: 1}", "assertion `cost`"),
        ("{type: regex, value: '(('}", "assertion `regex`"),
        ("{type: nobody-knows}", "assertion `nobody-knows`"),
        ("{value: x}", "an assertion without a `type`"),
        ("{type: equals, value: file://answer.txt}", "assertion `equals` with its value in a file"),
        ("{type: equals, value: '{{ a | upper }}'}", "a template that is more than {{name}} of a variable"),
        ("{type: assert-set, threshold: 0.5, assert: []}", "an `assert-set` with a threshold"),
    ],
)
def test_an_assertion_that_is_no_check_is_a_loss(assertion: str, loss: str) -> None:
    found = found_in(f"tests: [{{vars: {{a: 1}}, assert: [{assertion}]}}]")

    assert losses(found) == [f"tests[0].assert[0] (1): {loss}"]
    assert found.evaluation is None


def test_the_schema_of_json_is_lost_and_that_it_is_json_is_not() -> None:
    found = found_in("tests: [{assert: [{type: is-json, value: {type: object}}]}]")

    assert losses(found) == ["tests[0].assert[0] (1): the JSON schema of `is-json`"]
    assert expected(found) == {"tests-1": {"checks": [{"check": "isJson", "field": "output"}]}}


def test_a_latency_that_all_ask_for_is_an_evaluator_and_any_other_a_loss() -> None:
    limited = "{vars: {a: 1}, assert: [{type: latency, threshold: 1500}]}"

    alike = found_in(f"tests: [{limited}, {limited}]")
    apart = found_in(f"tests: [{limited}, {{vars: {{a: 2}}}}]")

    assert evaluation(alike)["evaluators"] == [{"name": "latency", "config": {"targetSeconds": 1.5, "maxSeconds": 1.5}}]
    assert losses(apart) == ["tests[0] (1): a latency that not all cases ask for"]


def test_a_threshold_that_all_have_is_the_batch_s_and_any_other_a_loss() -> None:
    half = "{threshold: 0.5, assert: [{type: is-json}]}"

    alike = found_in(f"tests: [{half}, {half}]")
    apart = found_in(f"tests: [{half}, {{assert: [{{type: is-json}}]}}]")

    assert evaluation(alike)["passThreshold"] == 0.5
    assert evaluation(apart)["passThreshold"] == 1
    assert losses(apart) == ["tests[0] (1): a threshold that not all cases have"]


@pytest.mark.parametrize("cell", ["80%", "nan", "inf"])
def test_a_threshold_that_is_no_number_is_a_loss(cell: str) -> None:
    found = found_in(f"name,__expected,__threshold\nAda,contains:Hello,{cell}\n", name="tests.csv")

    assert losses(found) == ["tests[0] (1): a threshold that is no number"]
    assert evaluation(found)["passThreshold"] == 1


def test_the_threshold_of_a_table_is_read() -> None:
    rows = "Ada,contains:Hello, 0.5 \nAlan,contains:Hello,0.50\n"
    found = found_in(f"name,__expected,__threshold\n{rows}", name="tests.csv")

    assert (evaluation(found)["passThreshold"], losses(found)) == (0.5, [])


def test_templates_of_assertions_are_put_in_their_places() -> None:
    found = found_in("""
assertionTemplates: {polite: {type: contains, value: please}}
tests: [{assert: [{$ref: "#/assertionTemplates/polite"}]}]
""")

    assert expected(found) == {"tests-1": {"output": "please"}}


def test_the_same_loss_is_said_once_with_its_count_and_first_places() -> None:
    test = "{vars: {a: 1}, assert: [{type: llm-rubric, value: kind}]}"

    found = found_in(f"tests: [{', '.join([test] * 5)}]")

    assert losses(found) == ["tests[0].assert[0], tests[1].assert[0], tests[2].assert[0] (5): assertion `llm-rubric`"]


def test_what_belongs_into_the_batchtest_is_said_with_the_line_to_write() -> None:
    found = found_in("prompts: [a]\nproviders: [b]\nevaluateOptions: {repeat: 3}\ntests: [{vars: {a: 1}}]")

    assert [(loss.places, loss.remedy) for loss in found.losses] == [
        (("prompts",), "the workflow has its own; make each a choice of spec.variants"),
        (("providers",), "the workflow has its own; make each a choice of spec.variants"),
        (("evaluateOptions.repeat",), "write spec.repeats: 3"),
    ]


def test_plain_words_are_read_as_promptfoo_reads_them() -> None:
    found = found_in("tests: [{vars: {a: no, b: 12:30, c: 1_000, d: true, e: 1e3, f: -2, g: 0.5, h: on, i: 010}}]")

    assert inputs(found) == {
        "tests-1": {
            "a": "no", "b": "12:30", "c": "1_000", "d": True, "e": 1000.0, "f": -2, "g": 0.5, "h": "on", "i": "010",
        }
    }  # fmt: skip


def test_a_variable_that_names_itself_comes_to_an_end() -> None:
    found = found_in("tests: [{vars: {a: 'x {{a}}'}}]")

    assert losses(found) == ["tests[0] (1): a template in a variable that is more than {{name}} of another"]


def test_a_file_that_would_make_cases_without_end_is_refused() -> None:
    many = list(range(400))

    with pytest.raises(SpecInvalid, match="more than 100,000 cases"):
        found_in(f"tests: [{{vars: {{a: {many}, b: {many}}}}}]")


def test_a_reference_that_leads_to_itself_comes_to_an_end() -> None:
    found = found_in("loop: {$ref: '#/loop'}\ntests: [{vars: {a: 1}}]")

    assert len(found.cases) == 1
