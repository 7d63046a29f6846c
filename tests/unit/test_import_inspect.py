"""Inspect's logs as cases: samples, epochs, scorers, and what is said to be lost."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from batchyard.importing.formats import Format
from batchyard.model.errors import SpecInvalid
from import_bench import archive, evaluation, expected, found_in, inputs, lines, losses, zstandard_archive

if TYPE_CHECKING:
    from collections.abc import Callable


def a_log(*samples: dict[str, Any], scorer: str = "includes", **options: Any) -> dict[str, Any]:
    return {
        "version": 2,
        "status": "success",
        "eval": {
            "task": "sums",
            "scorers": [{"name": scorer, "options": options}],
            "dataset": {"samples": len({one["id"] for one in samples})},
        },
        "samples": list(samples),
    }


def a_sample(**fields: Any) -> dict[str, Any]:
    return {"id": "sum", "epoch": 1, "input": "2 + 2?", "target": "4", "scores": {"includes": {"value": "C"}}, **fields}


def test_a_sample_of_a_log_is_a_case_that_its_scorer_judges() -> None:
    found = found_in(json.dumps(a_log(a_sample(output={"completion": "4"}))), name="log.json")

    assert found.format is Format.INSPECT
    assert inputs(found) == {"sum": {"input": "2 + 2?"}}
    assert expected(found) == {"sum": {"output": "4"}}
    assert evaluation(found)["evaluators"] == [{"name": "contains", "config": {"field": "output", "ignoreCase": True}}]
    assert found.losses == ()


@pytest.mark.parametrize("pack", [archive, zstandard_archive], ids=["deflate", "zstandard"])
def test_a_packed_log_is_the_same_as_a_plain_one(pack: Callable[[dict[str, Any]], bytes]) -> None:
    log = a_log(a_sample(), a_sample(id="other"))
    header = {key: value for key, value in log.items() if key != "samples"}
    members = {f"samples/{one['id']}_epoch_1.json": one for one in log["samples"]}

    packed = found_in(pack({"header.json": header, "summaries.json": [], **members}), name="log.eval")

    assert list(inputs(packed)) == ["other", "sum"]
    assert packed.evaluation == found_in(json.dumps(log)).evaluation


def test_samples_of_an_archive_are_in_the_order_of_their_numbers_whenever_they_ended() -> None:
    ended = [(10, 1), (2, 2), (11, 1), (1, 1), (2, 1)]
    members = {f"samples/{name}_epoch_{epoch}.json": a_sample(id=name, epoch=epoch) for name, epoch in ended}

    found = found_in(archive({"header.json": {"eval": {}}, **members}), name="log.eval")

    assert list(inputs(found)) == ["1", "2", "10", "11"]


@pytest.mark.parametrize("cut", [b"", b"no Zstandard at all"], ids=["nothing", "something else"])
def test_a_log_whose_samples_are_damaged_is_refused(cut: bytes) -> None:
    packed = zstandard_archive({"header.json": {"eval": {}}, "samples/a_epoch_1.json": a_sample(target="4" * 500)})
    magic = packed.rindex(bytes.fromhex("28b52ffd"))
    damaged = packed[:magic] + cut.ljust(20, b"\0") + packed[magic + 20 :]

    with pytest.raises(SpecInvalid, match=r"samples/a_epoch_1\.json: is damaged: "):
        found_in(damaged, name="log.eval")


def test_a_dataset_of_samples_is_read_as_well() -> None:
    found = found_in(lines({"input": "2 + 2?", "target": "4"}), name="sums.jsonl")

    assert found.format is Format.INSPECT
    assert expected(found) == {"sums-1": {"output": "4"}}


def test_the_epochs_of_a_sample_are_one_case_and_a_line_to_write() -> None:
    found = found_in(json.dumps(a_log(a_sample(), a_sample(epoch=2))))

    assert list(inputs(found)) == ["sum"]
    assert [loss.remedy for loss in found.losses] == ["write spec.repeats: 2"]


@pytest.mark.parametrize(
    ("scorer", "options", "check"),
    [
        ("match", {}, {"check": "endsWith", "any": ["4"], "ignoreCase": True, "trimmed": True}),
        ("match", {"location": "begin"}, {"check": "startsWith", "any": ["4"], "ignoreCase": True, "trimmed": True}),
        ("exact", {}, {"check": "equals", "any": ["4"], "ignoreCase": True, "trimmed": True}),
    ],
)
def test_a_scorer_is_a_check(scorer: str, options: dict[str, Any], check: dict[str, Any]) -> None:
    found = found_in(json.dumps(a_log(a_sample(), scorer=scorer, **options)))

    assert expected(found) == {"sum": {"checks": [{**check, "field": "output"}]}}


def test_a_scorer_that_asks_a_model_is_a_loss_and_the_target_is_not() -> None:
    found = found_in(json.dumps(a_log(a_sample(), scorer="model_graded_fact")))

    assert losses(found) == ["samples[0] (1): scorer `model_graded_fact`"]
    assert expected(found) == {"sum": {"output": "4"}}


def test_choices_are_given_and_files_and_metadata_are_losses() -> None:
    sample = a_sample(choices=["3", "4"], files={"a.txt": "a"}, sandbox={"type": "docker"}, metadata={"level": 1})

    found = found_in(json.dumps(a_log(sample)))

    assert inputs(found) == {"sum": {"input": "2 + 2?", "choices": ["3", "4"]}}
    assert [loss.message for loss in found.losses] == [
        "`files` of a sample",
        "`sandbox` of a sample",
        "metadata `level`",
    ]


def test_an_input_that_a_log_keeps_apart_is_put_in_its_place() -> None:
    message = {"role": "user", "content": "attachment://a1", "source": "input"}

    found = found_in(json.dumps(a_log(a_sample(input=[message], attachments={"a1": "a long text"}))))

    assert inputs(found) == {"sum": {"messages": [{"role": "user", "content": "a long text"}]}}


def test_samples_that_the_log_has_not_are_counted() -> None:
    log = a_log(a_sample())
    log["eval"]["dataset"]["samples"] = 3

    found = found_in(json.dumps(log))

    assert losses(found) == ["samples (1): 2 of 3 samples that are not in the log"]


def test_a_log_in_chunks_is_said_to_need_another_form() -> None:
    packed = archive({"header.json": {"eval": {}}, "samples/a_epoch_1/sample.json": {"id": "a"}})

    with pytest.raises(SpecInvalid, match="a sample in chunks"):
        found_in(packed)


def test_of_an_archive_with_a_damaged_sample_it_is_said_which() -> None:
    packed = bytearray(archive({"header.json": {"eval": {}}, "samples/1_epoch_1.json": {"id": 1, "input": "two"}}))
    begin = packed.index(b"samples/1_epoch_1.json") + len("samples/1_epoch_1.json")
    packed[begin + 2] ^= 0xFF

    with pytest.raises(SpecInvalid, match=r"samples/1_epoch_1\.json: is damaged: "):
        found_in(bytes(packed), name="log.eval")
