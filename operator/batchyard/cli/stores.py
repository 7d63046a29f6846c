"""Opening the store that a command names: to write, which makes it, or to read, which makes nothing.

Not for what is in it.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from batchyard import config
from batchyard.model.errors import BatchNotFound, StoreError
from batchyard.model.status import BatchStatus
from batchyard.store import schema
from batchyard.store.connect import make_engine, parse_target
from batchyard.store.faults import place_of
from batchyard.store.opening import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchyard.engine.ports import BatchRecord
    from batchyard.store.sql import SqlStore


def target(named: str) -> str:
    """Return the store to use when ``named`` was given on the command line, perhaps as nothing."""
    return named or config.default_store()


def shown(named: str) -> str:
    """Return the store in a spelling that is safe to show: without a password."""
    return place_of(parse_target(target(named))).shown


def schema_version(named: str) -> str | None:
    """Return the version of the store's schema, None if there is no store yet; makes and changes nothing."""
    engine = make_engine(parse_target(target(named)))
    try:
        return schema.current(engine)
    finally:
        engine.dispose()


@contextmanager
def to_read(named: str) -> Iterator[SqlStore | None]:
    """Give the store, brought up to date if it is an older one, or None if there is none yet."""
    if schema_version(named) is None:
        yield None
        return
    with open_store(target(named)) as store:
        yield store


@contextmanager
def with_batch(named: str, reference: str) -> Iterator[tuple[SqlStore, BatchRecord]]:
    """Give the store and one batch in it. Raises ``BatchNotFound`` or ``BatchAmbiguous``."""
    with to_read(named) as store:
        if store is None:
            where = shown(named)
            raise BatchNotFound(
                f'there is no store at {where} yet, so no batch "{reference}"; name another with --store'
            )
        yield store, store.batch(reference)


def status_of(record: BatchRecord) -> BatchStatus:
    """Return the batch's status as it was written last; an empty one if it has not begun."""
    if record.status is None:
        return BatchStatus(phase=record.phase)
    try:
        return BatchStatus.from_json(record.status)
    except ValueError as err:
        raise StoreError(f"store: the status of batch {record.id} was changed or damaged: {err}") from err
