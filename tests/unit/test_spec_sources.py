"""How a BatchTest and its case files are loaded from disk, and kept without them."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from batchyard.engine.sources import MAX_SPEC_BYTES, STDIN, LoadedBatch, load
from batchyard.model.errors import SpecInvalid

MINIMAL = (Path(__file__).parent.parent / "data" / "valid" / "minimal.yaml").read_text()


def a_file(folder: Path, more: str = "", text: str = MINIMAL) -> Path:
    path = folder / "batch.yaml"
    path.write_text(text + more)
    return path


def faults_of(path: Path) -> list[str]:
    with pytest.raises(SpecInvalid) as caught:
        load(path)
    return [fault.path for fault in caught.value.faults]


def test_a_file_becomes_a_plan(tmp_path: Path) -> None:
    loaded = load(a_file(tmp_path))

    assert [trial.id for trial in loaded.plan] == [
        "bm25-first/one/0",
        "bm25-best/one/0",
        "tfidf-first/one/0",
        "tfidf-best/one/0",
    ]
    assert loaded.base == tmp_path.resolve()


def test_a_source_folder_that_cannot_be_looked_at_is_one_fault_of_the_file(tmp_path: Path) -> None:
    file = a_file(tmp_path, "  parallelism: 0\n")
    file.write_text(file.read_text().replace("path: .", f"path: {'x' * 300}"))

    assert faults_of(file) == ["spec.workflow.source.path", "spec.parallelism"]


def test_case_files_are_appended_in_order_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.jsonl").write_text('{"name": "two"}\n')
    (tmp_path / "b.csv").write_text("question\nhow\n")

    loaded = load(a_file(tmp_path, "  casesFrom: [{path: data/a.jsonl}, {path: b.csv}]\n"))

    assert [case.name for case in loaded.plan.cases] == ["one", "two", "b-1"]


def test_a_file_may_have_all_its_cases_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("- {name: two}\n")
    text = MINIMAL.replace("  cases:\n    - {name: one, input: {question: why}}\n", "  casesFrom: [{path: a.yaml}]\n")

    assert [case.name for case in load(a_file(tmp_path, text=text)).plan.cases] == ["two"]


def test_repeats_and_initial_state_are_in_the_plan(tmp_path: Path) -> None:
    loaded = load(a_file(tmp_path, "  repeats: 3\n  initialState: {seen: []}\n"))

    assert len(loaded.plan) == 12
    assert loaded.plan.input_for(loaded.plan.cases[0]) == {"seen": [], "question": "why"}


def test_a_kept_batch_needs_no_file_to_go_on(tmp_path: Path) -> None:
    cases = tmp_path / "a.jsonl"
    cases.write_text('{"name": "two", "input": {"deep": {"list": [1, 2]}}, "expected": 3, "weight": 2}\n')
    file = a_file(tmp_path, "  casesFrom: [{path: a.jsonl}]\n")
    loaded = load(file)
    kept = json.dumps(loaded.to_json())
    cases.unlink()
    file.unlink()

    again = LoadedBatch.from_json(json.loads(kept), tmp_path.resolve())

    assert again == loaded


def test_a_kept_batch_may_hold_more_cases_than_a_file_may_have_inline(tmp_path: Path) -> None:
    rows = [json.dumps({"input": {"text": "lorem ipsum" * 20}}) for _ in range(12_000)]
    (tmp_path / "many.jsonl").write_text("\n".join(rows))
    loaded = load(a_file(tmp_path, "  casesFrom: [{path: many.jsonl}]\n"))

    again = LoadedBatch.from_json(loaded.to_json(), loaded.base)

    assert len(again.plan.cases) == 12_001
    assert again.digest == loaded.digest


def test_the_digest_follows_what_is_run_and_nothing_else(tmp_path: Path) -> None:
    cases = tmp_path / "a.jsonl"
    cases.write_text('{"name": "two"}\n')
    more = "  casesFrom: [{path: a.jsonl}]\n"
    before = load(a_file(tmp_path, more)).digest

    cosmetic = load(a_file(tmp_path, more + "  cancel: true\n  ttlSecondsAfterFinished: 5\n  # a comment\n")).digest
    other_spec = load(a_file(tmp_path, more + "  repeats: 2\n")).digest
    cases.write_text('{"name": "two", "weight": 2}\n')
    other_cases = load(a_file(tmp_path, more)).digest

    assert cosmetic == before
    assert len({before, other_spec, other_cases}) == 3


def test_standard_input_is_relative_to_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    loaded = load(STDIN, io.BytesIO(MINIMAL.encode()))

    assert loaded.base == tmp_path.resolve()
    assert loaded.batch.metadata.name == "demo"


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "batch.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + MINIMAL.encode())

    assert load(path).batch.metadata.name == "demo"


def test_a_missing_file_is_a_fault(tmp_path: Path) -> None:
    assert faults_of(tmp_path / "nowhere.yaml") == ["file"]


def test_a_folder_is_a_fault(tmp_path: Path) -> None:
    assert faults_of(tmp_path) == ["file"]


def test_a_path_through_a_file_is_a_fault(tmp_path: Path) -> None:
    assert faults_of(a_file(tmp_path) / "batch.yaml") == ["file"]


@pytest.mark.parametrize("content", [b"", b"  \n\t\n", b"\xff\xfea\x00", b"# " + b"x" * MAX_SPEC_BYTES])
def test_what_is_no_small_text_is_a_fault(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "batch.yaml"
    path.write_bytes(content)

    assert faults_of(path) == ["file"]


def test_too_many_trials_are_refused_with_the_numbers(tmp_path: Path) -> None:
    (tmp_path / "many.jsonl").write_text('{"input": {}}\n' * 30_000)

    with pytest.raises(SpecInvalid) as caught:
        load(a_file(tmp_path, "  casesFrom: [{path: many.jsonl}]\n"))

    (fault,) = caught.value.faults
    assert "4 combinations x 30,001 cases x 1 repeats are 120,004 trials, more than 100,000" in fault.message


def test_weights_are_looked_at_over_all_files(tmp_path: Path) -> None:
    weightless = MINIMAL.replace("{question: why}", "{question: why}, weight: 0")
    (tmp_path / "a.jsonl").write_text('{"name": "two", "weight": 0}\n')
    (tmp_path / "b.jsonl").write_text('{"name": "two", "weight": 1}\n')

    refused = faults_of(a_file(tmp_path, "  casesFrom: [{path: a.jsonl}]\n", weightless))
    accepted = load(a_file(tmp_path, "  casesFrom: [{path: b.jsonl}]\n", weightless))

    assert refused == ["spec.casesFrom"]
    assert len(accepted.plan.cases) == 2
