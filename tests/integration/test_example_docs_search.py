"""The example's own claims: its retrieval finds, its readers differ, its cases are sound, its table repeats."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from pydoc_data.topics import topics
from typing import TYPE_CHECKING

import pytest

from batchyard.model.matrix import expand_combinations
from batchyard.model.parse import parse_batch_test
from docs_search import readers
from docs_search.corpus import Passage, passages, stem, terms, words
from docs_search.graph import build
from docs_search.retrievers import RETRIEVERS, Bm25, Hit, Hybrid, Tfidf, reciprocal_rank_fusion, retriever

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batchyard.model.trial import JSON

EXAMPLE = Path(__file__).parents[2] / "examples" / "docs_search"

# Measured with the pages of Python 3.11, 3.12 and 3.13; each floor is a little under the lowest of the three.
FLOORS = {
    ("tfidf", "first"): 0.52,
    ("tfidf", "vote"): 0.51,
    ("tfidf", "sentence"): 0.69,
    ("bm25", "first"): 0.78,
    ("bm25", "vote"): 0.71,
    ("bm25", "sentence"): 0.75,
    ("hybrid", "first"): 0.68,
    ("hybrid", "vote"): 0.64,
    ("hybrid", "sentence"): 0.73,
}


@cache
def cases() -> list[dict[str, JSON]]:
    return [json.loads(line) for line in (EXAMPLE / "cases.jsonl").read_text(encoding="utf-8").splitlines()]


def final_states(variants: Mapping[str, str]) -> list[dict[str, JSON]]:
    graph = build(variants).compile()
    return [dict(graph.invoke(case["input"])) for case in cases()]


def success_rate(states: Sequence[Mapping[str, JSON]]) -> float:
    right = sum(bool(s["topic"] == c["expected"]["topic"]) for s, c in zip(states, cases(), strict=True))
    return right / len(states)


# -- the corpus --------------------------------------------------------------------------------------------------


def test_every_page_is_indexed_but_the_second_name_of_the_if_statement() -> None:
    indexed = {passage.topic for passage in passages()}

    assert set(topics) - indexed == {"else"}


def test_a_paragraph_that_two_pages_share_belongs_to_the_shorter_one() -> None:
    phrase = "guarantees that if"

    found = {passage.topic for passage in passages() if phrase in passage.text}

    assert phrase in topics["compound"]
    assert found == {"with"}


@pytest.mark.parametrize("form", ["raise", "raises", "raised", "raising"])
def test_the_forms_of_a_word_meet_in_one_term(form: str) -> None:
    assert stem(form) == "rais"


def test_stop_words_are_no_terms_but_keywords_are() -> None:
    assert terms("What does the with statement do?") == ["with", "statement"]


# -- retrieval ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tfidf", "bm25", "hybrid"])
@pytest.mark.parametrize(
    ("phrase", "topic"),
    [
        ("lambda expressions are used to create anonymous functions", "lambda"),
        ("unlimited in length case is significant", "identifiers"),
        ("matrix multiplication no builtin python types implement this operator", "binary"),
    ],
)
def test_the_words_of_a_passage_find_it_first(name: str, phrase: str, topic: str) -> None:
    best = retriever(name).search(terms(phrase), 5)[0]

    assert passages()[best.passage].topic == topic


def test_bm25_puts_the_passage_with_the_rare_word_first() -> None:
    index = Bm25([["name", "name", "value"], ["name", "value"], ["name", "walrus"]])

    hits = index.search(["name", "walrus"], 3)

    assert hits[0].passage == 2


def test_bm25_has_less_and_less_use_for_a_repeated_word() -> None:
    index = Bm25([["a", "x", "x", "x"], ["a", "a", "x", "x"], ["a", "a", "a", "x"], ["x", "x", "x", "x"]], b=0.0)

    one, two, three = (hit.score for hit in reversed(index.search(["a"], 4)))

    assert two - one > three - two > 0


def test_bm25_prefers_the_shorter_of_two_passages_with_the_word() -> None:
    index = Bm25([["loop", "else", "other", "words"], ["loop", "else"], ["more"]])

    hits = index.search(["loop"], 3)

    assert [hit.passage for hit in hits] == [1, 0]


def test_tfidf_gives_a_passage_of_just_the_asked_words_a_cosine_of_one() -> None:
    index = Tfidf([["yield", "value"], ["yield", "other"], ["more"]])

    hits = index.search(["value", "yield"], 3)

    assert hits[0].passage == 0
    assert hits[0].score == pytest.approx(1.0)
    assert 0 < hits[1].score < 1


def test_a_word_that_every_passage_has_says_nothing_in_tfidf() -> None:
    index = Tfidf([["python", "pass"], ["python", "raise"]])

    hits = index.search(["python", "raise"], 2)

    assert hits[0].passage == 1
    assert hits[0].score == pytest.approx(1.0)
    assert all(hit.score == 0 for hit in hits[1:])


@pytest.mark.parametrize("name", RETRIEVERS)
def test_words_that_no_page_has_find_nothing(name: str) -> None:
    assert retriever(name).search(["zygomorphic"], 5) == []


def test_equal_scores_keep_the_order_of_the_passages() -> None:
    index = Bm25([["same"], ["same"], ["same"]])

    assert [hit.passage for hit in index.search(["same"], 3)] == [0, 1, 2]


def test_fusion_adds_one_over_sixty_plus_rank() -> None:
    fused = reciprocal_rank_fusion([[7, 8], [8, 9]], limit=3)

    assert fused == [Hit(8, 1 / 62 + 1 / 61), Hit(7, 1 / 61), Hit(9, 1 / 62)]


def test_the_hybrid_puts_first_what_both_rank_well_over_what_one_ranks_best() -> None:
    class Fixed:
        def __init__(self, *ranking: int) -> None:
            self.ranking = ranking

        def search(self, query: Sequence[str], limit: int) -> list[Hit]:
            return [Hit(passage, 1.0) for passage in self.ranking][:limit]

    hybrid = Hybrid([Fixed(1, 2, 3), Fixed(4, 2, 5)])

    assert hybrid.search(["any"], 1) == [Hit(2, 2 / 62)]


# -- readers -----------------------------------------------------------------------------------------------------


def test_the_three_readers_settle_on_three_passages() -> None:
    shown = [
        Passage("del", "", "The name goes."),
        Passage("class", "", "A class body runs."),
        Passage("class", "", "Its names stay."),
        Passage("lambda", "", "An anonymous function has no name. Other words follow."),
    ]
    query = terms("anonymous function name")

    chosen = {name: shown[read(query, shown).chosen].topic for name, read in readers.READERS.items()}

    # Ballots: del 1, class 1/2 + 1/3, lambda 1/4.
    assert chosen == {"first": "del", "vote": "del", "sentence": "lambda"}


def test_a_topic_with_enough_good_passages_outvotes_the_first_one() -> None:
    shown = [Passage("del", "", "a"), *[Passage("class", "", text) for text in ("b", "c", "d")]]

    reading = readers.vote(["any"], shown)

    assert reading.chosen == 1


def test_only_the_reader_that_reads_all_pays_for_all() -> None:
    shown = [Passage("if", "", "two words"), Passage("for", "", "three more words")]

    paid = {name: read(["words"], shown).words_read for name, read in readers.READERS.items()}

    assert paid == {"first": 2, "vote": 2, "sentence": 5}


def test_the_answer_is_the_sentence_that_covers_most_of_the_question() -> None:
    passage = Passage(
        "pass", "", "It is null. It is useful as a placeholder when a statement is required. Nothing else."
    )

    assert readers.best_sentence(terms("placeholder for a required statement"), passage).startswith("It is useful")


# -- the cases ---------------------------------------------------------------------------------------------------


def test_every_expected_topic_is_a_page() -> None:
    indexed = {passage.topic for passage in passages()}

    assert [case["name"] for case in cases() if case["expected"]["topic"] not in indexed] == []


def test_every_piece_of_evidence_is_on_the_expected_page_and_on_no_other() -> None:
    pages: dict[str, list[str]] = {}
    for passage in passages():
        pages.setdefault(passage.topic, []).extend(words(passage.text))
    texts = {topic: " ".join(found) for topic, found in pages.items()}

    wrong = {
        case["name"]: found
        for case in cases()
        if (found := [topic for topic, text in texts.items() if " ".join(words(case["expected"]["evidence"])) in text])
        != [case["expected"]["topic"]]
    }

    assert wrong == {}


def test_there_are_many_cases_over_most_pages() -> None:
    names = [case["name"] for case in cases()]

    assert len(names) == len(set(names)) >= 48
    assert len({case["expected"]["topic"] for case in cases()}) >= 60


def test_the_questions_do_not_give_the_title_away() -> None:
    states = final_states({"retriever": "titles", "reader": "first"})

    assert success_rate(states) < 0.2


# -- the workflow ------------------------------------------------------------------------------------------------


def test_the_workflow_has_its_five_nodes_in_this_order() -> None:
    graph = build({"retriever": "bm25", "reader": "first"}).compile()

    ran = [node for update in graph.stream(cases()[0]["input"], stream_mode="updates") for node in update]

    assert ran == ["normalise", "retrieve", "select", "read", "cite"]


@pytest.mark.parametrize(("retriever_name", "reader_name"), FLOORS)
def test_a_combination_answers_its_share_and_the_same_way_twice(retriever_name: str, reader_name: str) -> None:
    variants = {"retriever": retriever_name, "reader": reader_name}

    states, again = final_states(variants), final_states(variants)

    assert success_rate(states) >= FLOORS[retriever_name, reader_name]
    assert json.dumps(states) == json.dumps(again)


def test_the_combinations_really_differ() -> None:
    weak = success_rate(final_states({"retriever": "tfidf", "reader": "first"}))
    middle = success_rate(final_states({"retriever": "hybrid", "reader": "first"}))
    strong = success_rate(final_states({"retriever": "bm25", "reader": "first"}))

    assert weak + 0.05 < middle < strong - 0.05


def test_every_answer_cites_its_page_and_counts_its_work() -> None:
    states = final_states({"retriever": "hybrid", "reader": "sentence"})

    assert all(" ".join(state["answer"].split()) in " ".join(topics[state["topic"]].split()) for state in states)
    assert all(0 < state["confidence"] <= 1 for state in states)
    assert all(set(state["metrics"]) == {"candidates", "wordsRead", "answerWords"} for state in states)


def test_a_question_without_any_known_word_is_answered_with_nothing() -> None:
    graph = build({"retriever": "bm25", "reader": "vote"}).compile()

    state = graph.invoke({"question": "What about zygomorphic?"})

    assert (state["topic"], state["answer"], state["confidence"]) == ("", "", 0.0)


@pytest.mark.parametrize(
    ("variants", "message"),
    [
        ({"retriever": "dense", "reader": "first"}, r"retriever: 'dense' is not among the variants \(titles, tfidf"),
        ({"retriever": "bm25"}, r"reader: '' is not among the variants \(first, vote, sentence\)"),
    ],
)
def test_an_unknown_variant_is_refused_with_the_known_ones(variants: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(variants)


# -- the file ----------------------------------------------------------------------------------------------------


def test_the_file_names_the_combinations_that_the_floors_are_for() -> None:
    file = EXAMPLE / "batchtest.yaml"

    test = parse_batch_test(file.read_text(encoding="utf-8"), str(file))

    combinations = expand_combinations(test.spec.variants)
    assert {(c.variants["retriever"], c.variants["reader"]) for c in combinations} == set(FLOORS)
    assert "baseline" in {c.name for c in combinations}
