"""What the operator's read API says, as JSON, spelled once for both ends. Lossless: what goes in comes out equal.

Not for paths and pages (``kube.read_api``, ``apiserver.remote_store``), nor for what workers send (``model.wire``).
"""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import datetime
from typing import TYPE_CHECKING

from batchyard.engine.cluster_ports import ClusterRef
from batchyard.engine.ports import BatchRecord, Owner
from batchyard.model.audit import AuditEntry, SealedEntry
from batchyard.model.events import EventType, Severity
from batchyard.model.outcome import Outcome, Phase
from batchyard.model.trial import AttemptResult, EvaluatorScore, NodeBoundary

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchyard.model.trial import JSON

VERSION = 1
"""Stands in every answer. A field that is added does not raise it; one that means something else does."""

READ_HEADER = "X-Batchyard-Authorization"
"""Carries the read token past an API server, which keeps ``Authorization`` for itself."""

READ_SECRET = "batchyard-read"  # noqa: S105 - the name of a Secret
"""The Secret in the operator's namespace: ``token``, and ``service`` if that is not ``READ_SERVICE``."""

READ_SERVICE = "http:batchyard:results"
"""The operator's Service as the API server's proxy spells it: ``scheme:name:port``."""

_RECORD_TIMES = ("accepted_at", "deadline_at", "started_at", "completed_at", "audit_pruned_at")
_RESULT_TIMES = ("started_at", "ended_at")


def record_json(record: BatchRecord, where: ClusterRef | None) -> dict[str, JSON]:
    """Return a batch as JSON."""
    # Both can be large, and asdict would copy them.
    fields = asdict(replace(record, spec=None, status=None)) | {"spec": record.spec, "status": record.status}
    return {**_times_out(fields, _RECORD_TIMES), "where": None if where is None else asdict(where)}


def record_from(document: Mapping[str, JSON]) -> BatchRecord:
    """Return the batch that ``record_json`` wrote. Raises ``ValueError``, ``KeyError`` or ``TypeError``."""
    fields = _times_in({name: document[name] for name in BatchRecord.__slots__}, _RECORD_TIMES)
    return BatchRecord(**fields | {"phase": Phase(fields["phase"])})


def where_from(document: Mapping[str, JSON]) -> ClusterRef | None:
    """Return the BatchTest that a batch belongs to; raises as ``record_from``."""
    where = document["where"]
    return None if where is None else ClusterRef(where["namespace"], where["name"], where["uid"])


def result_json(result: AttemptResult) -> dict[str, JSON]:
    """Return an attempt as JSON."""
    return _times_out({name: getattr(result, name) for name in AttemptResult.__slots__}, _RESULT_TIMES) | {
        "metrics": dict(result.metrics),
        "scores": [asdict(score) for score in result.scores],
        "boundaries": [asdict(boundary) for boundary in result.boundaries],
    }


def result_from(document: Mapping[str, JSON]) -> AttemptResult:
    """Return the attempt that ``result_json`` wrote; raises as ``record_from``."""
    fields = _times_in({name: document[name] for name in AttemptResult.__slots__}, _RESULT_TIMES)
    return AttemptResult(
        **fields
        | {
            "outcome": Outcome(fields["outcome"]),
            "scores": tuple(EvaluatorScore(**score) for score in fields["scores"]),
            "boundaries": tuple(NodeBoundary(**boundary) for boundary in fields["boundaries"]),
        }
    )


def entry_json(sealed: SealedEntry) -> dict[str, JSON]:
    """Return a sealed entry as JSON."""
    entry = {name: getattr(sealed.entry, name) for name in AuditEntry.__slots__}
    return {
        "seq": sealed.seq,
        "entry": _times_out(entry, ("at",)) | {"details": dict(sealed.entry.details)},
        "previous": sealed.previous,
        "hash": sealed.hash,
    }


def entry_from(document: Mapping[str, JSON]) -> SealedEntry:
    """Return the sealed entry that ``entry_json`` wrote, unverified; raises as ``record_from``."""
    fields = _times_in({name: document["entry"][name] for name in AuditEntry.__slots__}, ("at",))
    return SealedEntry(
        seq=document["seq"],
        entry=AuditEntry(**fields | {"type": EventType(fields["type"]), "severity": Severity(fields["severity"])}),
        previous=document["previous"],
        hash=document["hash"],
    )


def owner_json(owner: tuple[Owner, datetime] | None) -> JSON:
    """Return who runs a batch, and when that was last heard, as JSON."""
    return None if owner is None else {**asdict(owner[0]), "heartbeat_at": owner[1].isoformat()}


def owner_from(document: JSON) -> tuple[Owner, datetime] | None:
    """Return what ``owner_json`` wrote; raises as ``record_from``."""
    if document is None:
        return None
    owner = Owner(host=document["host"], pid=document["pid"], started=document["started"])
    return owner, datetime.fromisoformat(document["heartbeat_at"])


def _times_out(fields: dict[str, JSON], names: tuple[str, ...]) -> dict[str, JSON]:
    return fields | {name: None if fields[name] is None else fields[name].isoformat() for name in names}


def _times_in(fields: dict[str, JSON], names: tuple[str, ...]) -> dict[str, JSON]:
    return fields | {name: None if fields[name] is None else datetime.fromisoformat(fields[name]) for name in names}
