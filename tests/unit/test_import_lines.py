"""OpenAI Evals and LangSmith datasets as cases, and how a file is told to be of one format."""

from __future__ import annotations

import json

import pytest

from batchyard.importing.formats import Format
from batchyard.model.errors import SpecInvalid
from import_bench import archive, evaluation, expected, found_in, inputs, lines, losses

QUESTION = {"role": "user", "content": "2 + 2?"}


# -- OpenAI Evals ----------------------------------------------------------------------------------------------------


def test_a_sample_is_a_case_with_its_messages() -> None:
    found = found_in(lines({"input": [QUESTION], "ideal": "4"}), name="sums.jsonl")

    assert found.format is Format.OPENAI_EVALS
    assert inputs(found) == {"sums-1": {"messages": [QUESTION]}}
    assert expected(found) == {"sums-1": {"output": "4"}}
    assert evaluation(found) == {
        "passThreshold": 1,
        "evaluators": [{"name": "contains", "config": {"field": "output"}}],
    }


def test_a_prompt_that_is_text_goes_into_the_named_field() -> None:
    found = found_in(lines({"input": "2 + 2?", "ideal": ["4"]}), input_field="question", output_field="answer")

    assert inputs(found) == {"tests-1": {"question": "2 + 2?"}}
    assert expected(found) == {"tests-1": {"answer": "4"}}


def test_of_several_ideals_one_is_enough() -> None:
    found = found_in(lines({"input": "2 + 2?", "ideal": ["4", "four"]}))

    assert expected(found) == {"tests-1": {"checks": [{"check": "contains", "field": "output", "any": ["4", "four"]}]}}


def test_what_a_sample_has_beside_is_a_loss_each() -> None:
    found = found_in(
        lines({"input": "a", "ideal": "b", "args": {}}, {"input": "a", "args": {}}), form=Format.OPENAI_EVALS
    )

    assert losses(found) == [
        "line 1, line 2 (2): field `args` of a sample",
        "line 2 (1): a sample without an `ideal` of text",
    ]


def test_an_item_of_the_evals_api_is_a_case_that_expects_nothing() -> None:
    found = found_in(lines({"item": {"id": "Sum", "question": "2 + 2?"}}))

    assert inputs(found) == {"sum": {"id": "Sum", "question": "2 + 2?"}}
    assert [loss.remedy for loss in found.losses] == ["add `expected` to the cases, and evaluators"]


# -- LangSmith -------------------------------------------------------------------------------------------------------

EXAMPLE = {
    "id": "3f2c9a10-0000-4000-8000-000000000000",
    "dataset_id": "d",
    "created_at": "2026-01-01T00:00:00Z",
    "inputs": {"question": "2 + 2?"},
    "outputs": {"answer": "4"},
    "metadata": {"dataset_split": ["test"]},
}


@pytest.mark.parametrize("text", [json.dumps([EXAMPLE]), lines(EXAMPLE), json.dumps({"examples": [EXAMPLE]})])
def test_an_example_is_a_case_called_by_its_id(text: str) -> None:
    found = found_in(text, name="sums.json")

    assert found.format is Format.LANGSMITH
    assert inputs(found) == {"sums-3f2c9a10": {"question": "2 + 2?"}}
    assert expected(found) == {"sums-3f2c9a10": {"answer": "4"}}
    assert evaluation(found) == {"passThreshold": 1, "evaluators": [{"name": "exactMatch"}]}


def test_one_split_can_be_taken_alone() -> None:
    other = {**EXAMPLE, "id": "b", "metadata": {}, "split": "train"}

    found = found_in(lines(EXAMPLE, other), split="train")

    assert list(inputs(found)) == ["tests-b"]
    assert found.losses == ()


def test_a_split_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(SpecInvalid, match=r"has no split 'dev'; splits in it: test"):
        found_in(lines(EXAMPLE), split="dev")


def test_metadata_splits_and_attachments_are_losses() -> None:
    found = found_in(lines({**EXAMPLE, "metadata": {"dataset_split": ["test"], "level": 2}, "attachments": {"a": 1}}))

    assert losses(found) == [
        "line 1 (1): field `attachments` of an example",
        "line 1 (1): metadata `level`",
        "line 1 (1): that it is of split `test`",
    ]


def test_examples_without_outputs_are_not_failed_by_the_evaluator_of_the_others() -> None:
    found = found_in(lines(EXAMPLE, {**EXAMPLE, "id": "b", "outputs": None}), split="test")

    assert evaluation(found)["evaluators"] == [
        {"name": "callable", "config": {"function": "batchyard.judge.checks:met"}}
    ]
    assert expected(found) == {
        "tests-3f2c9a10": {"checks": [{"check": "equals", "field": "answer", "any": ["4"]}]},
        "tests-b": None,
    }
    assert losses(found) == ["line 2 (1): an example without `outputs`: nothing is expected"]


def test_where_no_example_has_outputs_no_evaluator_is_suggested() -> None:
    found = found_in(lines({**EXAMPLE, "outputs": None}), split="test")

    assert evaluation(found)["evaluators"] == []


@pytest.mark.parametrize(
    "message",
    [
        {"type": "human", "data": {"content": "2 + 2?", "additional_kwargs": {}}},
        {
            "lc": 1,
            "type": "constructor",
            "id": ["langchain", "schema", "HumanMessage"],
            "kwargs": {"content": "2 + 2?"},
        },
        {"type": "human", "content": [{"type": "text", "text": "2 + 2?"}], "id": None},
    ],
)
def test_messages_as_langchain_writes_them_are_those_that_langgraph_takes(message: dict[str, object]) -> None:
    found = found_in(lines({"inputs": {"messages": [message]}, "outputs": {"answer": "4"}}))

    assert inputs(found) == {"tests-1": {"messages": [QUESTION]}}
    assert found.losses == ()


def test_an_answer_that_is_one_message_is_one_as_langgraph_takes_it() -> None:
    message = {"lc": 1, "type": "constructor", "id": ["langchain", "AIMessage"], "kwargs": {"content": "4"}}

    found = found_in(lines({"inputs": {"question": "2 + 2?"}, "outputs": {"output": message}}))

    assert expected(found) == {"tests-1": {"output": {"role": "assistant", "content": "4"}}}
    assert found.losses == ()


def test_what_langchain_wrote_down_and_is_no_message_is_a_loss() -> None:
    document = {"lc": 1, "type": "constructor", "id": ["langchain", "Document"], "kwargs": {"page_content": "4"}}

    found = found_in(lines({"inputs": {"question": "2 + 2?"}, "outputs": {"output": document}}))

    assert losses(found) == ["line 1 (1): what LangChain wrote down and is no message"]


# -- any -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lines({"input": "a"}), "could be inspect or openai-evals"),
        (lines({"input": "a", "target": "b", "ideal": "b"}), "could be inspect or openai-evals"),
        ('[{"inputs": {}},\n {"inputs": {}]', r"is not JSON: .*line 2 column 15"),
        ("just words", "looks like none of the formats"),
        ("", "looks like none of the formats"),
        (b"\xff\xfe", "is not UTF-8 text"),
        # A name of its own: an archive has the time in it, and the workers of xdist must see the same names.
        pytest.param(archive({"a.json": 1})[:40], "is no log of Inspect", id="half an archive"),
        (lines({"inputs": {}}) + "{not json", "is not JSON"),
        (json.dumps({"tests": []}), "has no case that can be carried over"),
    ],
)
def test_a_file_that_cannot_be_imported_is_refused_with_why(content: str | bytes, message: str) -> None:
    with pytest.raises(SpecInvalid, match=message):
        found_in(content)


def test_a_case_that_our_own_reader_would_refuse_is_left_out_and_said() -> None:
    found = found_in(lines({"inputs": {"a": "\0"}}, {"inputs": {"a": 2**70}}, EXAMPLE))

    assert list(inputs(found)) == ["tests-3f2c9a10"]
    assert [text for text in losses(found) if "cannot be one of ours" in text] == [
        "line 1 (1): a case that cannot be one of ours: has a NUL character in it",
        "line 2 (1): a case that cannot be one of ours: has more than 64 bits",
    ]
