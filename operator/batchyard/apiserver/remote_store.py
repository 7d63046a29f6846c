"""Reads an operator's store from outside the cluster: the reading part of ``BatchStore`` over the operator's read API.

Not for writing, and not for how a request gets there (``operator_proxy``): that is passed in.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Protocol, TypeVar

from batchyard.engine.remote import VERSION, entry_from, owner_from, record_from, result_from, where_from
from batchyard.model.errors import (
    BatchAmbiguous,
    BatchNotFound,
    EnvironmentUnavailable,
    RecordDamaged,
    StoreError,
)

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime

    from batchyard.engine.cluster_ports import ClusterRef
    from batchyard.engine.ports import BatchRecord, Owner
    from batchyard.model.audit import SealedEntry
    from batchyard.model.outcome import Outcome
    from batchyard.model.trial import JSON, AttemptResult

T = TypeVar("T")

_KINDS: Mapping[str, type[StoreError]] = {
    kind.__name__: kind for kind in (BatchNotFound, BatchAmbiguous, RecordDamaged, StoreError)
}
_FIRST_PAGE = 200
_PAGE = 1000


class OperatorUnreachable(EnvironmentUnavailable):
    """The operator cannot be asked: it is not there, not ready, of another version, or asking is not allowed."""


class Get(Protocol):
    """Asks the operator."""

    async def __call__(self, path: str, query: Mapping[str, str], /) -> bytes:
        """Return its answer; a parameter that is empty may be left out. Raises ``EnvironmentUnavailable``."""
        ...


class RemoteStore:
    """Reads batches, results and trails through ``get``, which is run in ``runner``; may be used by one thread.

    ``namespace`` is where names are looked up ("" is everywhere); ``place`` is what messages call all this.
    """

    def __init__(self, get: Get, runner: asyncio.Runner, *, place: str, namespace: str = "") -> None:
        """Nothing is asked yet."""
        self._get = get
        self._runner = runner
        self._place = place
        self._namespace = namespace

    def batch(self, reference: str) -> BatchRecord:
        """Return the batch with this id, or unique id prefix, or the newest of this name in the namespace."""
        return self.batch_and_test(reference)[0]

    def batch_and_test(self, reference: str) -> tuple[BatchRecord, ClusterRef | None]:
        """Return the batch and the BatchTest that it belongs to."""
        try:
            return self._ask("batch", _batch_and_test, reference=reference, namespace=self._namespace)
        except BatchNotFound as err:
            where = f" in namespace {self._namespace}" if self._namespace else ""
            raise BatchNotFound(
                f'{self._place}: no batch{where} has the id or name "{reference}"; see `batchyard list --kube`'
            ) from err

    def batches(self, *, limit: int = 50, damaged: list[RecordDamaged] | None = None) -> Sequence[BatchRecord]:
        """Return the newest batches first, at most ``limit``, without their specs.

        Those of them that the operator cannot read go to ``damaged``; without it, the first is raised.
        """
        found, faults = self._ask("batches", _batches, limit=str(limit), namespace=self._namespace)
        for fault in faults:
            err = RecordDamaged(f"{self._place}: {fault}")
            if damaged is None:
                raise err
            damaged.append(err)
        return found

    def live_owner(self, batch_id: str) -> tuple[Owner, datetime] | None:
        """Return the owner and last heartbeat of the session that was never closed, if there is one."""
        return self._ask("owner", lambda document: owner_from(document["owner"]), batch=batch_id)

    def finished_ordinals(self, batch_id: str) -> Iterator[int]:
        """Yield the ordinal of every trial that has a final result, ascending."""
        for ordinals in self._ask("finished", _ranges, batch=batch_id):
            yield from ordinals

    def attempts_of(self, batch_id: str, ordinal: int) -> Sequence[AttemptResult]:
        """Return every attempt of one trial, first one first."""
        return self._ask("attempts", _attempts, batch=batch_id, ordinal=str(ordinal))

    def results(
        self,
        batch_id: str,
        *,
        final_only: bool = True,
        outcomes: Sequence[Outcome] | None = None,
        limit: int | None = None,
    ) -> Iterator[AttemptResult]:
        """Yield results by ordinal, then attempt, in pages, so that memory stays flat."""
        if outcomes is not None and not outcomes:
            return iter(())
        query = {
            "batch": batch_id,
            "finalOnly": str(int(final_only)),
            "outcomes": ",".join(outcomes or ()),
        }

        def behind(last: AttemptResult) -> dict[str, str]:
            return {"afterOrdinal": str(last.ordinal), "afterAttempt": str(last.attempt)}

        return self._pages("results", query, result_from, behind, limit)

    def audit_entries(self, batch_id: str, *, after: int = 0, limit: int | None = None) -> Iterator[SealedEntry]:
        """Yield the batch's entries with ``seq`` over ``after``, oldest first, in pages."""

        def behind(last: SealedEntry) -> dict[str, str]:
            return {"after": str(last.seq)}

        return self._pages("entries", {"batch": batch_id, "after": str(after)}, entry_from, behind, limit)

    def _pages(
        self,
        name: str,
        query: Mapping[str, str],
        parse: Callable[[Mapping[str, JSON]], T],
        behind: Callable[[T], Mapping[str, str]],
        limit: int | None,
    ) -> Iterator[T]:
        # The first page is small: it is what most are content with.
        size = _FIRST_PAGE
        while limit is None or limit > 0:
            page = self._answer(name, {**query, "limit": str(size if limit is None else min(size, limit))})
            items = self._read(lambda page=page: [parse(one) for one in page[name]])  # type: ignore[misc]
            yield from items
            self._check(page)
            if not (items and page.get("more")):
                return
            query = {**query, **behind(items[-1])}
            limit = None if limit is None else limit - len(items)
            size = _PAGE

    def _ask(self, name: str, parse: Callable[[dict[str, JSON]], T], **query: str) -> T:
        document = self._answer(name, query)
        self._check(document)
        return self._read(lambda: parse(document))

    def _answer(self, name: str, query: Mapping[str, str]) -> dict[str, JSON]:
        body = self._runner.run(self._get(f"/v1/read/{name}", query))
        document = self._read(lambda: json.loads(body))
        if not isinstance(document, dict) or document.get("version") != VERSION:
            raise self._strange()
        return document

    def _check(self, document: Mapping[str, JSON]) -> None:
        fault = document.get("fault")
        if fault is not None:
            kind, message = self._read(lambda: (_KINDS.get(fault["type"], StoreError), fault["message"]))
            raise kind(f"{self._place}: {message}")

    def _read(self, read: Callable[[], T]) -> T:
        try:
            return read()
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as err:
            raise self._strange() from err

    def _strange(self) -> OperatorUnreachable:
        return OperatorUnreachable(
            f"{self._place}: its answer cannot be read; is it a Batchyard of another version than this one?"
        )


def _batch_and_test(document: Mapping[str, JSON]) -> tuple[BatchRecord, ClusterRef | None]:
    return record_from(document["batch"]), where_from(document["batch"])


def _batches(document: Mapping[str, JSON]) -> tuple[list[BatchRecord], list[str]]:
    # An operator of an earlier version tells of no damage: it fails.
    return [record_from(one) for one in document["batches"]], list(document.get("damaged", ()))


def _attempts(document: Mapping[str, JSON]) -> list[AttemptResult]:
    return [result_from(one) for one in document["results"]]


def _ranges(document: Mapping[str, JSON]) -> list[range]:
    return [range(first, last + 1) for first, last in document["ranges"]]
