"""Whose an object in the cluster is, by its name alone."""

from __future__ import annotations

from batchyard.kube.owners import Owners


def test_what_is_named_after_a_place_is_its_batchs() -> None:
    owners = Owners()
    owners.add("team", "docs-search-1a2b3c-1", "batch")

    for name in (
        "docs-search-1a2b3c-1",
        "docs-search-1a2b3c-1-x7k2p",
        "docs-search-1a2b3c-1-head-svc",
        "docs-search-1a2b3c-1-worker-a-b",
    ):
        assert owners.batch_of("team", name) == "batch"


def test_a_name_that_only_begins_alike_or_is_in_another_namespace_is_nobodys() -> None:
    owners = Owners()
    owners.add("team", "docs-search-1a2b3c-1", "batch")

    for name in ("docs-search-1a2b3c-12", "docs-search-1a2b3c", "docs", "", "-"):
        assert owners.batch_of("team", name) is None
    assert owners.batch_of("other", "docs-search-1a2b3c-1") is None


def test_what_kueue_makes_for_a_place_is_its_batchs() -> None:
    owners = Owners()
    owners.add("team", "docs-search-1a2b3c-1", "batch")
    owners.add("team", "job-docs-search-1a2b3c-1", "another")

    assert owners.batch_of("team", "raycluster-docs-search-1a2b3c-1-9f8e7") == "batch"
    assert owners.batch_of("team", "job-docs-search-1a2b3c-1-9f8e7") == "another"
    assert owners.batch_of("team", "pod-docs-search-1a2b3c-1-9f8e7") is None


def test_the_longest_name_that_fits_wins() -> None:
    owners = Owners()
    owners.add("team", "a", "short")
    owners.add("team", "a-b", "long")

    assert (owners.batch_of("team", "a-b-c"), owners.batch_of("team", "a-c")) == ("long", "short")


def test_of_very_many_the_newest_are_known() -> None:
    owners = Owners()
    for number in range(10_005):
        owners.add("team", f"place-{number}", f"batch-{number}")
        owners.add("team", "place-0", "batch-0")

    assert owners.batch_of("team", "place-0") == "batch-0"
    assert owners.batch_of("team", "place-1") is None
    assert owners.batch_of("team", "place-10004") == "batch-10004"
