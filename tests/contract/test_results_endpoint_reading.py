"""``RemoteStore`` over the real read API on a real SQLite store: it answers as the store itself does."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from itertools import product
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batchyard.apiserver.remote_store import OperatorUnreachable, RemoteStore
from batchyard.clock import SystemClock
from batchyard.kube import read_api
from batchyard.kube.limits import Limits
from batchyard.kube.server import App, Router
from batchyard.model.audit import verify_chain
from batchyard.model.errors import BatchAmbiguous, BatchNotFound, RecordDamaged, StoreError
from batchyard.model.outcome import Outcome
from batchyard.store.opening import open_cluster_store
from batchyard.store.pages import StoreReader
from batchyard.testing.store_builders import OWNER, T0, a_batch, a_result, a_running_batch, an_entry
from endpoint_bench import Served, served

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from batchyard.store.cluster import SqlClusterStore

TOKEN = "r" * 64
LIMITS = Limits(page_bytes=20_000)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlClusterStore]:
    with closing(open_cluster_store(str(tmp_path / "store.db"))) as opened:
        yield opened


def make_app(store: SqlClusterStore, limits: Limits = LIMITS) -> App:
    routes = read_api.routes(StoreReader(store), TOKEN, limits)
    return App(Router(routes, limits=limits, clock=SystemClock(), meter=None), limits)


@pytest.fixture
def endpoint(store: SqlClusterStore) -> Iterator[Served]:
    with served(lambda: make_app(store)) as running:
        running.headers = {"X-Batchyard-Authorization": f"Bearer {TOKEN}"}
        yield running


@pytest.fixture
def remote(endpoint: Served) -> Iterator[RemoteStore]:
    with asyncio.Runner() as runner:
        yield RemoteStore(asked(endpoint), runner, place="the operator")


def asked(endpoint: Served) -> Any:
    """A fake of the API server's proxy: hands on what is asked, and lets parameters without a value fall away."""

    async def get(path: str, query: Mapping[str, str]) -> bytes:
        answer = endpoint.ask(f"{path}?{urlencode({name: value for name, value in query.items() if value})}")
        if answer.status != 200:
            raise OperatorUnreachable(answer.body.decode())
        return answer.body

    return get


def filled(store: SqlClusterStore, trials: int = 450, entries: int = 1300) -> None:
    """Put a batch into the store whose trials had up to three attempts and every outcome."""
    session = a_running_batch(store)
    results = []
    for ordinal in range(trials):
        outcome = list(Outcome)[ordinal % len(Outcome)]
        results += [(a_result(ordinal, attempt, Outcome.ERRORED), False) for attempt in range(1, ordinal % 3 + 1)]
        results.append((a_result(ordinal, 3, outcome), ordinal % 10 != 9))
    store.commit(session, results=results, entries=[an_entry(number) for number in range(entries)], dropped=7)


# -- equal to the store itself ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("reference", ["ab1", "ab", "nightly"])
def test_a_batch_is_found_as_the_store_finds_it(store: SqlClusterStore, remote: RemoteStore, reference: str) -> None:
    store.create_batch(replace(a_batch("ab1", "nightly"), status={"trials": {"total": 1}}, completed_at=T0))
    store.create_batch(a_batch("x2", "other", minutes=1))

    assert remote.batch(reference) == store.batch(reference)


def test_the_newest_batches_are_listed_as_the_store_lists_them(store: SqlClusterStore, remote: RemoteStore) -> None:
    for number in range(5):
        store.create_batch(replace(a_batch(f"b{number}", minutes=number), status={"n": number}))

    assert remote.batches(limit=3) == store.batches(limit=3)
    assert remote.batches() == store.batches()


@pytest.mark.parametrize("reference", ["zz", "", "%", "a/../b", "ab11", "grün", "x&namespace=y"])
def test_an_unknown_reference_is_the_same_error(store: SqlClusterStore, remote: RemoteStore, reference: str) -> None:
    store.create_batch(a_batch("ab1"))

    with pytest.raises(BatchNotFound, match="the operator: no batch"):
        remote.batch(reference)


def test_an_ambiguous_reference_is_the_same_error(store: SqlClusterStore, remote: RemoteStore) -> None:
    store.create_batch(a_batch("ab1"))
    store.create_batch(a_batch("ab2"))

    with pytest.raises(BatchAmbiguous, match="ab1, ab2"):
        remote.batch("ab")


def test_results_are_those_of_the_store_whatever_is_asked_for(store: SqlClusterStore, remote: RemoteStore) -> None:
    filled(store)
    wishes = [None, [Outcome.FAILED], [Outcome.TIMED_OUT, Outcome.PASSED], list(Outcome), []]

    for final_only, outcomes, limit in product([True, False], wishes, [None, 0, 1, 200, 201, 400]):
        asked_for: dict[str, Any] = {"final_only": final_only, "outcomes": outcomes, "limit": limit}
        assert list(remote.results("b1", **asked_for)) == list(store.results("b1", **asked_for)), asked_for


def test_entries_are_those_of_the_store_and_verify(store: SqlClusterStore, remote: RemoteStore) -> None:
    filled(store)

    for after, limit in product([0, 1, 999, 1000, 1299, 1300, 5000], [None, 0, 1, 200, 1001]):
        there = list(remote.audit_entries("b1", after=after, limit=limit))
        assert there == list(store.audit_entries("b1", after=after, limit=limit)), (after, limit)
    assert verify_chain(remote.audit_entries("b1"), store.batch("b1").audit_head) == ""


def test_what_else_is_asked_of_a_batch_is_as_the_store_says(store: SqlClusterStore, remote: RemoteStore) -> None:
    filled(store, trials=40)
    session = store.open_session("b1", OWNER, T0)

    assert list(remote.finished_ordinals("b1")) == list(store.finished_ordinals("b1"))
    assert remote.live_owner("b1") == store.live_owner("b1") == (OWNER, T0)
    store.close_session(session, "done", T0 + timedelta(seconds=1))
    assert remote.live_owner("b1") is None
    made = [result for result in store.results("b1", final_only=False) if result.ordinal == 5]
    assert remote.attempts_of("b1", 5) == made


def test_of_a_batch_that_does_not_exist_there_is_nothing(remote: RemoteStore) -> None:
    assert list(remote.results("nope")) == []
    assert list(remote.audit_entries("nope")) == []
    assert list(remote.finished_ordinals("nope")) == []
    assert remote.attempts_of("nope", 3) == []
    assert remote.live_owner("nope") is None


_text = st.text(st.characters(), max_size=20)
_finite = st.floats(allow_nan=False, allow_infinity=False)
_number = st.floats(allow_nan=False) | st.integers(-(2**63), 2**63)
_json = st.recursive(
    st.none() | st.booleans() | _number | _text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    output=_json,
    message=_text,
    score=st.none() | _finite,
    metrics=st.dictionaries(_text, _finite, max_size=3),
    details=st.dictionaries(_text, _json, max_size=3),
)
def test_any_result_and_entry_come_back_as_the_store_gives_them(
    store: SqlClusterStore, remote: RemoteStore, **made: Any
) -> None:
    batch_id = f"b{len(store.batches(limit=1000))}"
    session = a_running_batch(store, batch_id)
    fields = {name: made[name] for name in ("output", "message", "score", "metrics")}
    entry = replace(an_entry(0, batch_id), message=made["message"], details=made["details"])
    store.commit(session, results=[(replace(a_result(), **fields), True)], entries=[entry])

    # By their spelling: NaN equals nothing, not even itself.
    assert repr(list(remote.results(batch_id))) == repr(list(store.results(batch_id)))
    assert repr(list(remote.audit_entries(batch_id))) == repr(list(store.audit_entries(batch_id)))


# -- what is spoiled or wrong ----------------------------------------------------------------------------------------


def test_a_damaged_row_is_told_after_the_rows_before_it(
    store: SqlClusterStore, remote: RemoteStore, tmp_path: Path
) -> None:
    filled(store, entries=0)
    with closing(sqlite3.connect(tmp_path / "store.db")) as database, database:
        database.execute("UPDATE attempts SET outcome = 'Nonsense' WHERE ordinal = 300")

    found: list[int] = []
    with pytest.raises(RecordDamaged, match="row of trial bm25-first/case-300/0"):
        found.extend(result.ordinal for result in remote.results("b1"))

    assert found == [ordinal for ordinal in store.finished_ordinals("b1") if ordinal < 300]


def test_a_store_that_fails_is_told_as_such(store: SqlClusterStore, remote: RemoteStore, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "store.db")) as database, database:
        database.execute("DROP TABLE audit_entries")

    with pytest.raises(StoreError, match="no such table"):
        list(remote.audit_entries("b1"))


def test_an_answer_of_another_version_is_refused_with_a_sentence() -> None:
    async def newer(_path: str, _query: Mapping[str, str]) -> bytes:
        return json.dumps({"version": 2, "fault": None, "batches": []}).encode()

    with asyncio.Runner() as runner, pytest.raises(OperatorUnreachable, match="another version"):
        RemoteStore(newer, runner, place="the operator").batches()


@pytest.mark.parametrize(
    "answer", [b"", b"{", b"[]", b"null", b'{"version": 1, "fault": null}', b"\xff", b"[" * 10_000]
)
def test_an_answer_that_is_none_is_refused_with_a_sentence(answer: bytes) -> None:
    async def broken(_path: str, _query: Mapping[str, str]) -> bytes:
        return answer

    with asyncio.Runner() as runner:
        remote = RemoteStore(broken, runner, place="the operator")
        for ask in (remote.batches, lambda: remote.batch("x"), lambda: list(remote.results("x"))):
            with pytest.raises(OperatorUnreachable, match="cannot be read"):
                ask()


# -- who may ask, and what -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", ["Authorization", "X-Batchyard-Authorization"])
def test_the_token_is_taken_in_either_header(endpoint: Served, header: str) -> None:
    endpoint.headers = {}

    assert endpoint.ask("/v1/read/batches", headers={header: f"Bearer {TOKEN}"}).status == 200


@pytest.mark.parametrize("given", [None, "", "Bearer", "Bearer ", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer \xe9"])
def test_without_the_right_token_nothing_is_told(endpoint: Served, given: str | None) -> None:
    endpoint.headers = {}

    refused = endpoint.ask("/v1/read/batch?reference=b1", headers={"X-Batchyard-Authorization": given})

    assert refused.status == 401
    assert refused.json == {"error": refused.json["error"]}


def test_a_read_api_without_a_token_cannot_be_made(store: SqlClusterStore) -> None:
    with pytest.raises(ValueError, match="needs a token"):
        read_api.routes(StoreReader(store), "")


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=1001",
        "limit=x",
        "limit=1e2",
        "limit=%FF",
        "unknown=1",
        "limit=1&limit=2",
        "after=-5",
        "limit=-",
    ],
)
def test_a_question_that_makes_no_sense_is_refused(endpoint: Served, query: str) -> None:
    refused = endpoint.ask(f"/v1/read/entries?batch=b1&{query}")

    assert refused.status == 400
    assert refused.json["error"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"])
def test_nothing_can_be_changed(endpoint: Served, method: str) -> None:
    refused = endpoint.ask("/v1/read/batches", method=method)

    assert (refused.status, refused.headers["Allow"]) == (405, "GET")


def test_a_long_answer_is_packed_if_the_client_can_unpack_it(store: SqlClusterStore, endpoint: Served) -> None:
    filled(store)

    plain = endpoint.ask("/v1/read/results?batch=b1")
    packed = endpoint.ask("/v1/read/results?batch=b1", headers={"Accept-Encoding": "gzip"})

    assert packed.headers["Content-Encoding"] == "gzip"
    assert len(packed.body) < len(plain.body) / 5


def test_a_page_ends_by_its_size_too(store: SqlClusterStore, endpoint: Served) -> None:
    filled(store)

    page = endpoint.ask("/v1/read/results?batch=b1&limit=1000")

    assert page.json["more"] is True
    assert len(page.body) < LIMITS.page_bytes + 4000
