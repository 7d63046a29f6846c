"""What the store's tests run in processes of their own; a spawned process imports it by name."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING

from batchyard.clock import SystemClock
from batchyard.engine.sources import digest_of
from batchyard.store import GroupCommitWriter, open_store, schema
from batchyard.testing.store_builders import OWNER, T0, a_batch, a_result, a_spec, an_entry

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.synchronize import Barrier


def open_at_once(target: str, together: Barrier, answer: Connection) -> None:
    """Open the store at the same moment as others; answer with its version, or with what went wrong."""
    together.wait()
    try:
        with open_store(target) as store:
            answer.send(schema.current(store.engine))
    except Exception as err:  # the test's own process boundary: the parent asserts on what arrives
        answer.send(repr(err))


def write_until_killed(target: str, answer: Connection) -> None:
    """Take batch "b1" over and write one result and one entry after the other; answer with each durable ordinal."""
    with open_store(target) as store:
        done = set(store.finished_ordinals("b1"))
        session = store.open_session("b1", OWNER, T0)
        with GroupCommitWriter(store, session, clock=SystemClock(), max_delay=0.001, max_group=7) as writer:
            for ordinal in count():
                if ordinal in done:
                    continue
                result = (a_result(ordinal, epoch=session.epoch), True)
                written = writer.submit(results=[result], entries=[an_entry(ordinal)])
                written.add_done_callback(lambda _done, ordinal=ordinal: answer.send(ordinal))  # type: ignore[misc]


def write_a_batch(target: str, batch_id: str, size: int, together: Barrier, answer: Connection) -> None:
    """Write a whole batch, one commit a result, at the same time as others; answer "" or what went wrong."""
    try:
        with open_store(target) as store:
            spec = a_spec(cases=size)
            store.create_batch(replace(a_batch(batch_id), total=size, spec=spec, spec_digest=digest_of(spec)))
            session = store.open_session(batch_id, OWNER, T0)
            together.wait()
            for ordinal in range(size):
                store.commit(session, results=[(a_result(ordinal), True)], entries=[an_entry(ordinal, batch_id)])
            store.close_session(session, "done", T0)
        answer.send("")
    except Exception as err:  # the test's own process boundary: the parent asserts on what arrives
        answer.send(repr(err))
