"""``db upgrade | current | check``. Not for what they do (``store.schema``, ``store.integrity``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchyard.cli import document, stores, tables, terminal
from batchyard.cli.file_check import collected_files, file_findings
from batchyard.cli.options import Output
from batchyard.clock import SystemClock
from batchyard.decide.finish import EXIT_FAILED, EXIT_SUCCEEDED
from batchyard.store import schema
from batchyard.store.findings import Finding, FindingSeverity, Remedy
from batchyard.store.integrity import check_integrity
from batchyard.store.opening import open_store
from batchyard.store.repair import back_up
from batchyard.store.repair import repair as repair_store

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from pathlib import Path

    from batchyard.model.trial import JSON
    from batchyard.store.sql import SqlStore

_STYLES = {FindingSeverity.CRITICAL: "bold red", FindingSeverity.WARNING: "yellow", FindingSeverity.INFO: ""}


def upgrade_store(named_store: str, output: Output) -> int:
    """Create the store or bring it up to date."""
    before = stores.schema_version(named_store)
    open_store(stores.target(named_store)).close()
    return _print_version(named_store, output, before, schema.head())


def show_version(named_store: str, output: Output) -> int:
    """Print which version the store's schema has."""
    version = stores.schema_version(named_store)
    return _print_version(named_store, output, version, version)


def _print_version(named_store: str, output: Output, before: str | None, after: str | None) -> int:
    where, newest = stores.shown(named_store), schema.head()
    if output is Output.JSON:
        document.print_json({"store": where, "before": before, "current": after, "newest": newest})
        return EXIT_SUCCEEDED
    if after is None:
        text = "there is no store yet; it is made by `batchyard db upgrade` or the first run"
    elif before != after:
        text = f"schema version {after} (was {before or 'not there'})"
    elif after == newest:
        text = f"schema version {after}, the newest"
    else:
        text = f"schema version {after}; this batchyard works with {newest}: see `batchyard db upgrade`"
    tables.line(terminal.out(), f"{where}: {text}")
    return EXIT_SUCCEEDED


def check_store(named_store: str, output: Output, *, repair: bool) -> int:
    """Print every finding and, with ``repair``, what was mended and what could not be.

    The exit code is 1 if something critical is left, or could not be mended.
    """
    now = SystemClock().now()
    with stores.there(named_store, upgrade=repair) as store:
        findings = _found(store, named_store, now) if store is not None else []
        mended = _mend(store, named_store, findings, now) if store is not None and repair else Mended()
        left = _found(store, named_store, now) if store is not None and mended.done else findings
    critical = sum(finding.severity is FindingSeverity.CRITICAL for finding in left)
    if output is Output.JSON:
        _print_json(stores.shown(named_store), findings, mended, left, repair=repair)
    else:
        _print_findings(stores.shown(named_store), findings, mended, left)
    return EXIT_FAILED if critical or mended.failed else EXIT_SUCCEEDED


@dataclass(frozen=True, slots=True)
class Mended:
    """What a repair did, (batch id, what), what it could not, (batch id, why), and the copy of the store as it was."""

    done: Sequence[tuple[str, str]] = ()
    failed: Sequence[tuple[str, str]] = ()
    copy: Path | None = None


def _found(store: SqlStore, named_store: str, now: datetime) -> list[Finding]:
    return [*check_integrity(store, now), *file_findings(store, named_store)]


def _mend(store: SqlStore, named_store: str, findings: Sequence[Finding], now: datetime) -> Mended:
    of_files = [finding for finding in findings if finding.remedy is Remedy.COLLECT_FILES]
    collected = collected_files(named_store) if of_files else []
    rows = [finding for finding in findings if finding not in of_files]
    if not any(finding.can_be_mended for finding in rows):
        return Mended(collected)
    copy = back_up(store, now)
    done, failed = repair_store(store, rows, now)
    return Mended([*done, *collected], failed, copy)


def _print_json(
    where: str, findings: Sequence[Finding], mended: Mended, left: Sequence[Finding], *, repair: bool
) -> None:
    told: dict[str, JSON] = {"store": where, "findings": [_finding_json(one) for one in findings]}
    if repair:
        told["repaired"] = [{"batch": batch_id, "what": what} for batch_id, what in mended.done]
        told["notRepaired"] = [{"batch": batch_id, "why": why} for batch_id, why in mended.failed]
        told["backup"] = None if mended.copy is None else str(mended.copy)
        told["left"] = [_finding_json(one) for one in left]
    document.print_json(told)


def _finding_json(finding: Finding) -> dict[str, JSON]:
    return {
        "severity": finding.severity.value,
        "kind": finding.kind,
        "batch": finding.batch_id,
        "message": finding.message,
        "remedy": finding.remedy.value,
    }


def _print_findings(where: str, findings: Sequence[Finding], mended: Mended, left: Sequence[Finding]) -> None:
    console = terminal.out()
    for finding in findings:
        about = f"{finding.batch_id}: " if finding.batch_id else ""
        text = f"{finding.severity:<8} {finding.kind}  {about}{finding.message}"
        tables.line(console, text, style=_STYLES[finding.severity])
    for batch_id, what in mended.done:
        tables.line(console, f"mended   {batch_id}: {what}", style="green")
    for batch_id, why in mended.failed:
        tables.line(console, f"failed   {batch_id}: {why}", style="bold red")
    if mended.copy is not None:
        tables.line(console, f"the store as it was: {mended.copy}")
    tables.line(console, f"{where}: {_in_sum(findings, mended, left)}")


def _in_sum(findings: Sequence[Finding], mended: Mended, left: Sequence[Finding]) -> str:
    if not findings:
        return "nothing wrong was found"
    critical = sum(finding.severity is FindingSeverity.CRITICAL for finding in left)
    if mended.done:
        return f"{len(findings)} findings; {len(left)} are left, {critical} of them critical"
    mendable = sum(finding.can_be_mended for finding in findings)
    hint = f"; --repair mends {mendable}" if mendable else ""
    return f"{len(findings)} findings, {critical} of them critical{hint}"
