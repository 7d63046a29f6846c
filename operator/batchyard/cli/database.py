"""``db upgrade | current | check``. Not for what they do (``store.schema``, ``store.integrity``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchyard.cli import document, stores, tables, terminal
from batchyard.cli.options import Output
from batchyard.decide.finish import EXIT_FAILED, EXIT_SUCCEEDED
from batchyard.store import schema
from batchyard.store.integrity import Finding, FindingSeverity, check_integrity
from batchyard.store.opening import open_store

if TYPE_CHECKING:
    from collections.abc import Sequence

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


def check_store(named_store: str, output: Output) -> int:
    """Print every finding; the exit code is 1 if one is critical."""
    with stores.to_read(named_store) as store:
        findings = check_integrity(store) if store is not None else []
    critical = sum(finding.severity is FindingSeverity.CRITICAL for finding in findings)
    if output is Output.JSON:
        document.print_json({"store": stores.shown(named_store), "findings": [_finding_json(one) for one in findings]})
    else:
        _print_findings(stores.shown(named_store), findings, critical)
    return EXIT_FAILED if critical else EXIT_SUCCEEDED


def _finding_json(finding: Finding) -> dict[str, str]:
    return {
        "severity": finding.severity.value,
        "kind": finding.kind,
        "batch": finding.batch_id,
        "message": finding.message,
    }


def _print_findings(where: str, findings: Sequence[Finding], critical: int) -> None:
    console = terminal.out()
    for finding in findings:
        about = f"{finding.batch_id}: " if finding.batch_id else ""
        text = f"{finding.severity:<8} {finding.kind}  {about}{finding.message}"
        tables.line(console, text, style=_STYLES[finding.severity])
    found = f"{len(findings)} findings, {critical} of them critical" if findings else "nothing wrong was found"
    tables.line(console, f"{where}: {found}")
