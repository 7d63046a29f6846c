"""A finished batch in a store, and what somebody with a database shell may have done to it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from batchyard.engine.ports import BatchUpdate
from batchyard.engine.sources import digest_of
from batchyard.events.audit import OUTCOME_OF
from batchyard.model.events import EventType
from batchyard.model.outcome import Outcome, Phase
from batchyard.store.rows import to_micros
from batchyard.testing.store_builders import OWNER, T0, a_batch, a_result, a_spec, an_entry

if TYPE_CHECKING:
    from batchyard.engine.ports import Session
    from batchyard.model.audit import AuditEntry
    from batchyard.model.trial import AttemptResult
    from batchyard.store import SqlStore

DONE = BatchUpdate(Phase.SUCCEEDED, completed_at=T0, status={"trials": {"total": 2, "passed": 1, "timedOut": 1}})
ENDS = {0: EventType.BATCH_STARTED, 4: EventType.BATCH_FINISHED}
MICROS = to_micros(T0)
TO_POST = (
    "INSERT INTO outbox (batch_id, seq, created_at, tries, next_at, parked, last_error) "
    "VALUES ('b1', {seq}, {created}, 3, 0, {parked}, 'no')"
)

IS_A_BATCHTESTS = "INSERT INTO cluster_batches (batch_id, namespace, name, uid) VALUES ('b1', 'team', 'docs', 'u1')"
FORGED = (
    "INSERT INTO audit_entries "
    "(batch_id, seq, at, type, severity, message, epoch, trial_id, attempt, source, details, previous, hash) "
    "SELECT batch_id, 6, at, type, severity, message, epoch, trial_id, attempt, source, details, hash, 'x' "
    "FROM audit_entries WHERE seq = 5 AND batch_id = 'b1'"
)
"""An entry behind the newest of a finished batch."""


def a_finished_batch(store: SqlStore, batch_id: str = "b1", *, days: int = 30) -> Session:
    spec = a_spec(days=days, cases=2)
    store.create_batch(replace(a_batch(batch_id), total=2, spec=spec, spec_digest=digest_of(spec)))
    session = store.open_session(batch_id, OWNER, T0)
    results = [(a_result(0), True), (a_result(1, 1, Outcome.ERRORED), False), (a_result(1, 2, Outcome.TIMED_OUT), True)]
    begun, done = (replace(an_entry(n, batch_id), type=kind, trial_id="") for n, kind in ENDS.items())
    done = replace(done, details={"verdict": "Succeeded"})
    entries = [begun, *(_told(n, batch_id, result) for n, (result, _) in enumerate(results, 1)), done]
    store.commit(session, results=results, entries=entries, batch=DONE)
    store.close_session(session, "done", T0)
    return session


def _told(number: int, batch_id: str, result: AttemptResult) -> AuditEntry:
    kind = next(kind for kind, outcome in OUTCOME_OF.items() if outcome is result.outcome)
    entry = replace(an_entry(number, batch_id), type=kind, details={"score": result.score})
    return replace(entry, trial_id=result.trial_id, attempt=result.attempt)


def corrupt(store: SqlStore, *statements: str) -> None:
    """Change rows behind the store's back, as somebody with a database shell and no scruples would."""
    with store.engine.connect() as connection:
        if connection.dialect.name == "sqlite":
            raw = connection.connection.cursor()
            raw.execute("PRAGMA foreign_keys=OFF")
            for (name,) in raw.execute("SELECT name FROM sqlite_master WHERE type='trigger'").fetchall():
                raw.execute(f"DROP TRIGGER {name}")
            for statement in statements:
                raw.execute(statement)
            raw.execute("PRAGMA foreign_keys=ON")
            raw.close()
            return
        # Switches triggers off, those that hold foreign keys among them.
        for statement in (
            "SET session_replication_role = replica",
            *statements,
            "SET session_replication_role = origin",
        ):
            connection.exec_driver_sql(statement)
        connection.commit()
