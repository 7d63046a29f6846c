"""``audit list | verify | export``. Not for how a trail is chained and verified (``model.audit``)."""

from __future__ import annotations

import json
import sys
from collections import deque
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchyard.cli import document, stores, tables, terminal
from batchyard.cli.options import Output, TrailFormat
from batchyard.decide.finish import EXIT_FAILED, EXIT_SUCCEEDED
from batchyard.events.audit import one_line
from batchyard.events.cloudevents import cloud_event
from batchyard.model.audit import export_jsonl, verify_chain, verify_exported
from batchyard.model.errors import RecordDamaged
from batchyard.model.events import Event

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from batchyard.cli.options import Origin
    from batchyard.engine.ports import BatchRecord
    from batchyard.model.audit import SealedEntry
    from batchyard.model.events import EventType, Severity
    from batchyard.model.status import AuditStatus
    from batchyard.model.trial import JSON


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which entries to list. Empty ``types`` and ``trial`` are all; ``limit`` 0 is no limit, else the newest ones."""

    types: tuple[EventType, ...]
    trial: str
    severity: Severity
    limit: int

    def has(self, sealed: SealedEntry) -> bool:
        """Return whether this entry is wanted."""
        entry = sealed.entry
        return (
            (not self.types or entry.type in self.types)
            and self.trial in {"", entry.trial_id}
            and entry.severity.rank >= self.severity.rank
        )

    @property
    def all(self) -> bool:
        """Return whether every entry is wanted, but for the limit."""
        return not self.types and not self.trial and self.severity.rank == 0


def list_entries(reference: str, origin: Origin, output: Output, wanted: Wanted) -> int:
    """Print a trail's entries, oldest first."""
    with stores.opened(origin, reference) as batch, terminal.reader_may_leave():
        record = batch.record
        entries = _newest(batch.store, record, wanted)
        if output is Output.JSON:
            sys.stdout.write(f'{{"batch": {json.dumps(record.id)}')
            document.print_list("entries", map(_entry_json, entries))
            sys.stdout.write("}\n")
        else:
            for sealed in entries:
                sys.stdout.write(f"{sealed.seq:>6} {one_line(sealed.entry)}\n")
    return EXIT_SUCCEEDED


def _newest(store: stores.Reader, record: BatchRecord, wanted: Wanted) -> Iterator[SealedEntry]:
    after = max(0, record.audit_entries - wanted.limit) if wanted.limit and wanted.all else 0
    found = filter(wanted.has, store.audit_entries(record.id, after=after))
    return iter(deque(found, maxlen=wanted.limit)) if wanted.limit else found


def _entry_json(sealed: SealedEntry) -> JSON:
    return json.loads(next(export_jsonl([sealed])))


def verify_batch(reference: str, head: str, origin: Origin, output: Output) -> int:
    """Verify a batch's trail against the head that the store keeps, or one kept elsewhere; return the exit code.

    In a cluster the BatchTest's status keeps a head too, written by the operator but kept by others.
    """
    with stores.opened(origin, reference) as batch:
        record = batch.record
        if record.audit_pruned_at is not None:
            fault = f"the trail was deleted after its retention time, at {document.instant(record.audit_pruned_at)}"
        else:
            # Up to what the head was read for: a batch that runs goes on adding entries.
            entries = batch.store.audit_entries(record.id, limit=record.audit_entries)
            fault = _chain_fault(entries, record, head, batch.anchor) or _surplus(batch.store, record)
    told: dict[str, JSON] = {
        "entries": record.audit_entries, "dropped": record.audit_dropped, "head": record.audit_head
    }  # fmt: skip
    dropped = f" ({record.audit_dropped} more were dropped unstored)" if record.audit_dropped else ""
    intact = f"{record.audit_entries} entries{dropped}, head {record.audit_head}"
    if origin.kube is not None:
        told["anchored"] = batch.anchor.entries if batch.anchor else None
        intact += f"; {_anchored(batch.anchor, batch.anchor_hidden)}"
        if batch.anchor_hidden:
            told["anchorHidden"] = batch.anchor_hidden
    return _print_verdict(record.id, intact, fault, told, output)


def _anchored(anchor: AuditStatus | None, hidden: str) -> str:
    if hidden:
        return f"not held against the BatchTest's status: {hidden}"
    if anchor is None or not anchor.entries:
        return "no BatchTest's status anchors it"
    return f"the BatchTest's status anchors it at entry {anchor.entries}"


def _chain_fault(entries: Iterator[SealedEntry], record: BatchRecord, head: str, anchor: AuditStatus | None) -> str:
    found, last = "", 0

    def watched() -> Iterator[SealedEntry]:
        nonlocal found, last
        for sealed in entries:
            last = sealed.seq
            if anchor is not None and sealed.seq == anchor.entries:
                found = sealed.hash
            yield sealed

    try:
        fault = verify_chain(watched(), head or record.audit_head)
    except RecordDamaged as err:
        return str(err)
    if not fault and last != record.audit_entries:
        fault = f"the batch counts {record.audit_entries} entries, but the trail ends at entry {last}"
    if fault or anchor is None or not anchor.entries:
        return fault
    # The status follows the trail at its own pace, so it names an entry, hardly ever the newest.
    if not found:
        return f"the BatchTest's status knows {anchor.entries} entries: entries are missing at the end"
    if found != anchor.head:
        return f"entry {anchor.entries} is not the one that the BatchTest's status has the hash of: it was rewritten"
    return ""


def _surplus(store: stores.Reader, record: BatchRecord) -> str:
    """Return what is wrong if there is an entry behind the newest one, which no head seals."""
    try:
        beyond = next(store.audit_entries(record.id, after=record.audit_entries, limit=1), None)
    except RecordDamaged as err:
        return str(err)
    # An entry and its count are written together: one that a running batch added meanwhile is counted by now.
    if beyond is None or beyond.seq <= store.batch(record.id).audit_entries:
        return ""
    return (
        f"entry {beyond.seq} stands behind entry {record.audit_entries}, the newest that the batch counts: it is forged"
    )


def verify_file(file: Path, head: str, output: Output) -> int:
    """Verify an export; return the exit code. Raises ``OSError`` if it cannot be read."""
    # A byte that is not UTF-8 was changed: let it be found as such, with the number of its line.
    with file.open(encoding="utf-8", errors="backslashreplace", newline="\n") as lines:
        fault = verify_exported(lines, head or None)
    about = (
        "the export is whole"
        if head
        else "the export is whole in itself; --head would hold it against a hash kept elsewhere"
    )
    return _print_verdict(str(file), about, fault, {}, output)


def _print_verdict(what: str, intact: str, fault: str, told: dict[str, JSON], output: Output) -> int:
    if output is Output.JSON:
        document.print_json({"trail": what, "intact": not fault, "fault": fault, **told})
    else:
        text = f"{what}: BROKEN: {fault}" if fault else f"{what}: intact: {intact}"
        tables.line(terminal.out(), text, style="bold red" if fault else "green")
    return EXIT_FAILED if fault else EXIT_SUCCEEDED


def export_entries(reference: str, origin: Origin, form: TrailFormat) -> int:
    """Write a trail to standard output, an entry a line, as it is read."""
    with ExitStack() as stack:
        batch = stack.enter_context(stores.opened(origin, reference))
        record = batch.record
        stack.enter_context(terminal.reader_may_leave())
        entries = batch.store.audit_entries(record.id, limit=record.audit_entries)
        lines = export_jsonl(entries) if form is TrailFormat.JSONL else _cloud_events(entries, record)
        for line in lines:
            sys.stdout.write(f"{line}\n")
    return EXIT_SUCCEEDED


def _cloud_events(entries: Iterator[SealedEntry], record: BatchRecord) -> Iterator[str]:
    for sealed in entries:
        entry = sealed.entry
        event = Event(
            type=entry.type,
            at=entry.at,
            batch_id=entry.batch_id,
            message=entry.message,
            epoch=entry.epoch,
            trial_id=entry.trial_id,
            attempt=entry.attempt,
            details=entry.details,
            source=entry.source,
        )
        yield json.dumps(cloud_event(event, f"/batchyard/{record.name}"), separators=(",", ":"))
