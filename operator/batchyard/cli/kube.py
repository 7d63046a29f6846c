"""Reading from a cluster instead of a store: who to ask, and what remains to be shown if the operator is away.

Not for what is printed, nor for how the API server is asked (``apiserver``).
"""

from __future__ import annotations

import asyncio
import re
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from batchyard.apiserver.connecting import connect
from batchyard.apiserver.operator_proxy import ClusterReader, NotPermitted
from batchyard.apiserver.remote_store import OperatorUnreachable, RemoteStore
from batchyard.cli.stores import Opened, StatusOnly
from batchyard.engine.ports import BatchRecord
from batchyard.model.errors import BatchNotFound, EnvironmentUnavailable, StoreError
from batchyard.model.status import BatchStatus

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from batchyard.cli.options import KubeOrigin
    from batchyard.engine.cluster_ports import ClusterRef
    from batchyard.model.errors import RecordDamaged
    from batchyard.model.trial import JSON

_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")


@contextmanager
def opened(origin: KubeOrigin, reference: str) -> Iterator[Opened]:
    """Give one batch as the operator knows it, found by the name of its BatchTest, or by its id or the beginning of it.

    Raises ``StatusOnly`` if there is the BatchTest but no more can be had, ``BatchNotFound`` or ``BatchAmbiguous`` if
    there is neither, and an ``EnvironmentUnavailable`` if nobody can be asked.
    """
    with _cluster(origin) as cluster:
        seen, trouble = cluster.batch_test(reference)
        try:
            record, where = cluster.store.batch_and_test(reference)
        except (OperatorUnreachable, NotPermitted, BatchNotFound) as err:
            if seen is not None:
                raise StatusOnly(_why(err), _record_of(seen)) from err
            if trouble is not None and not isinstance(err, BatchNotFound):
                raise trouble from err
            raise
        if seen is not None and not _is_of(where, seen):
            raise StatusOnly("the operator has not accepted this BatchTest yet", _record_of(seen))
        anchor = None if seen is None else _status_of(seen).audit
        attempts, results = partial(cluster.store.attempts_of, record.id), partial(cluster.store.results, record.id)
        hidden = "" if trouble is None else str(trouble)
        yield Opened(cluster.store, record, attempts, results, anchor, anchor_hidden=hidden)


def newest(origin: KubeOrigin, limit: int, damaged: list[RecordDamaged]) -> tuple[str, Sequence[BatchRecord]]:
    """Return what the place is called and the newest batches of the namespace, newest first."""
    with _cluster(origin) as cluster:
        return cluster.place, cluster.store.batches(limit=limit, damaged=damaged)


class _Cluster:
    def __init__(self, reader: ClusterReader, runner: asyncio.Runner, namespace: str, operator_namespace: str) -> None:
        self._reader = reader
        self._runner = runner
        self._namespace = namespace
        self.place = f"namespace {namespace}"
        self.store = RemoteStore(
            reader.ask, runner, place=f"operator in namespace {operator_namespace}", namespace=namespace
        )

    def batch_test(self, name: str) -> tuple[Mapping[str, JSON] | None, NotPermitted | None]:
        """Return the BatchTest of this name, or why it may not be seen; neither if there is none."""
        if not _NAME.fullmatch(name):
            return None, None
        try:
            return self._runner.run(self._reader.batch_test(self._namespace, name)), None
        except NotPermitted as err:
            # The operator may still be asked: what a batch came to is not a secret to whoever has its token.
            return None, err


@contextmanager
def _cluster(origin: KubeOrigin) -> Iterator[_Cluster]:
    with asyncio.Runner() as runner:
        api = runner.run(connect(origin.context or None))
        try:
            reader = ClusterReader(api, origin.operator_namespace)
            yield _Cluster(reader, runner, origin.namespace or api.current_namespace, origin.operator_namespace)
        finally:
            runner.run(api.aclose())


def _why(err: EnvironmentUnavailable | BatchNotFound) -> str:
    if isinstance(err, BatchNotFound):
        return "the operator has not accepted this BatchTest, or does not have it any more"
    return str(err)


def _is_of(where: ClusterRef | None, seen: Mapping[str, JSON]) -> bool:
    # A BatchTest that was refused and then changed has a batch for each generation, all of one uid.
    return where is not None and where.uid.partition("#")[0] == seen["metadata"]["uid"]


def _status_of(seen: Mapping[str, JSON]) -> BatchStatus:
    try:
        return BatchStatus.from_json(seen.get("status") or {})
    except ValueError as err:
        name = seen["metadata"]["name"]
        raise StoreError(f"BatchTest {name}: its status cannot be read: {err}") from err


def _record_of(seen: Mapping[str, JSON]) -> BatchRecord:
    """Return the batch as far as its BatchTest tells of it."""
    metadata, status = seen["metadata"], _status_of(seen)
    created = datetime.fromisoformat(metadata["creationTimestamp"]).astimezone(UTC)
    return BatchRecord(
        id=metadata["name"],
        name=metadata["name"],
        spec=None,
        spec_digest="",
        base="",
        total=status.trials.total,
        accepted_at=status.start_time or created,
        deadline_at=status.deadline_time or status.start_time or created,
        phase=status.phase,
        reason=status.reason,
        message=status.message,
        started_at=status.start_time,
        completed_at=status.completion_time,
        status=status.to_json(),
        audit_head=status.audit.head,
        audit_entries=status.audit.entries,
        audit_dropped=status.audit.dropped,
    )
