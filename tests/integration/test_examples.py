"""The examples on agents, embeddings and rollback: what wins there and why, as their READMEs tell it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from rag_embeddings.retrievers import notices, retriever
from rescue import main

from batch_bench import BatchBench, Ran
from batchyard.engine.sources import load
from batchyard.model.outcome import Outcome, Reason, Verdict
from bundle_bench import bundled, in_cluster

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchyard.compose import LocalEngine

EXAMPLES = Path(__file__).parents[2] / "examples"


def example(name: str, engine: LocalEngine, folder: Path) -> Iterator[Ran]:
    bench = BatchBench(engine, folder)
    yield bench.run(load(EXAMPLES / name / "batchtest.yaml"))
    bench.store.close()


@pytest.fixture(scope="module")
def tool_agent(engine: LocalEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    yield from example("tool_agent", engine, tmp_path_factory.mktemp("tool_agent"))


@pytest.fixture(scope="module")
def rag_embeddings(engine: LocalEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    yield from example("rag_embeddings", engine, tmp_path_factory.mktemp("rag_embeddings"))


@pytest.fixture(scope="module")
def rollback(engine: LocalEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    yield from example("rollback", engine, tmp_path_factory.mktemp("rollback"))


def wrong(ran: Ran) -> dict[str, set[str]]:
    """The cases that each combination got wrong."""
    found: dict[str, set[str]] = {result.combination: set() for result in ran.finals}
    for result in ran.finals:
        if result.outcome is not Outcome.PASSED:
            found[result.combination].add(result.case)
    return found


@pytest.mark.parametrize("name", ["tool_agent", "rag_embeddings", "rollback"])
def test_the_readme_shows_the_rates_that_come_out(name: str, request: pytest.FixtureRequest) -> None:
    ran: Ran = request.getfixturevalue(name)
    readme = (EXAMPLES / name / "README.md").read_text(encoding="utf-8")

    assert ran.finished.verdict is Verdict.SUCCEEDED
    assert ran.outcomes[Outcome.NEEDS_INPUT] == 0
    for combination in {result.combination for result in ran.finals}:
        outcomes = [result.outcome for result in ran.finals if result.combination == combination]
        passed = outcomes.count(Outcome.PASSED)
        (row,) = [line.split() for line in readme.splitlines() if line.startswith(f"{combination} ") and "%" in line]
        assert f"{passed}/{len(outcomes)}" in row
        assert f"{100 * passed / len(outcomes):.1f}%" in row


@pytest.mark.parametrize("name", ["tool_agent", "rag_embeddings", "rollback"])
def test_an_example_fits_into_a_bundle(name: str) -> None:
    file = EXAMPLES / name / "batchtest.yaml"

    assert in_cluster(bundled(file)).plan == load(file).plan


# -- an agent with tools ---------------------------------------------------------------------------------------------


def test_the_calculator_and_the_longer_prompt_each_mend_other_cases(tool_agent: Ran) -> None:
    sums, promises = {"with-cents", "two-things", "many-small-things"}, {"too-many", "none-left"}

    assert wrong(tool_agent) == {
        "short-catalogue": sums | promises,
        "short-calculator": promises,
        "careful-catalogue": sums,
        "careful-calculator": set(),
    }


def test_the_person_s_answers_reach_the_tool_that_asks(tool_agent: Ran) -> None:
    asked = tool_agent.of("careful-calculator", "refund-refused")

    assert asked.output["answer"] == "Order C-03 is refused: no receipt."
    assert [boundary.status for boundary in asked.boundaries if boundary.node == "tools"] == [
        "interrupted",
        "completed",
    ]


def test_the_agent_is_told_of_a_tool_s_error(tool_agent: Ran) -> None:
    conversation = tool_agent.of("careful-calculator", "not-sold").output["messages"]

    assert [message["status"] for message in conversation if message["type"] == "tool"] == ["error"]


# -- embeddings ------------------------------------------------------------------------------------------------------


def test_embeddings_find_what_is_meant_and_bm25_what_is_said(rag_embeddings: Ran) -> None:
    by = wrong(rag_embeddings)

    assert len(by["embeddings"]) < len(by["hybrid"]) < len(by["bm25"])
    for case in ("disabled", "lunch", "camera", "cycling"):
        assert case in by["bm25"] - by["embeddings"]
    said = {"until-when-open", "membership-card", "wifi-password", "colour-pages", "old-maps", "guide-dogs"}
    assert not said & by["bm25"]


def test_the_embedding_model_knows_that_two_words_mean_one_thing() -> None:
    best = retriever("embeddings").search("elevator")[0]

    assert "elevator" not in " ".join(notice.text for notice in notices())
    assert notices()[best.place].id in {"access", "fire"}
    assert retriever("bm25").search("elevator") == []


# -- rollback --------------------------------------------------------------------------------------------------------


def test_rounding_each_payment_loses_cents_that_reconciling_finds(rollback: Ran) -> None:
    assert wrong(rollback) == {"each": {"many-small-payments", "two-halves"}, "carry": set()}
    failed = rollback.of("each", "many-small-payments")
    assert failed.reason == Reason.NODE_RAISED
    assert [boundary.node for boundary in failed.boundaries] == ["load", "convert", "reconcile"]


def test_a_failed_import_is_forked_and_taken_back_without_running_again_what_went_well(
    capsys: pytest.CaptureFixture[str],
) -> None:
    main()

    printed = capsys.readouterr().out
    assert printed in (EXAMPLES / "rollback" / "README.md").read_text(encoding="utf-8")
    assert [line.partition(";")[0] for line in printed.splitlines()] == [
        "import: ran load, convert, reconcile",
        "import-carrying: ran convert, reconcile, post",
        "import: ran reconcile, post",
    ]
