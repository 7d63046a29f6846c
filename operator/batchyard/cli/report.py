"""``report``, and ``run --report``: reads a batch, writes a file. Not for what stands in it (``reports``)."""

from __future__ import annotations

import os
import sys
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from batchyard.cli import stores, terminal
from batchyard.cli.report_command import ReportFormat
from batchyard.cli.whole_files import can_be_written, write_whole
from batchyard.decide.finish import EXIT_SUCCEEDED
from batchyard.model.errors import BatchyardError
from batchyard.reports.source import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import IO

    from batchyard.cli.options import Origin

_STDOUT = Path("-")
_SUFFIXES = {
    ".html": ReportFormat.HTML,
    ".htm": ReportFormat.HTML,
    ".md": ReportFormat.MARKDOWN,
    ".xml": ReportFormat.JUNIT,
    ".csv": ReportFormat.CSV,
    ".parquet": ReportFormat.PARQUET,
}
_FILES = {ReportFormat.HTML, ReportFormat.PARQUET}


def format_of(file: Path) -> ReportFormat:
    """Return what a file of this name is to be made of. Raises ``typer.BadParameter``."""
    found = _SUFFIXES.get(file.suffix.lower())
    if found is None:
        raise typer.BadParameter(
            f'"{file}" does not say what to write; its suffix must be among {", ".join(_SUFFIXES)}'
        )
    _can_be_made(found)
    return found


def _can_be_made(wanted: ReportFormat) -> None:
    if wanted is ReportFormat.PARQUET:
        from batchyard.reports.parquet import installed

        if not installed():
            raise typer.BadParameter("Parquet needs pyarrow: pip install 'batchyard[parquet]'")


def write_report(
    reference: str, origin: Origin, wanted: ReportFormat | None, out: Path | None, *, show: bool = False
) -> int:
    """Write one report of a batch and say where, and ``show`` it in a browser; return the exit code."""
    if wanted is None:
        wanted = ReportFormat.HTML if out in {None, _STDOUT} else format_of(out or _STDOUT)
    _can_be_made(wanted)
    if show and (wanted is not ReportFormat.HTML or out == _STDOUT):
        raise typer.BadParameter("--open shows a file of HTML: leave out --format, and give --out a name with .html")
    with stores.opened(origin, reference) as batch:
        record = batch.record
        source = source_of(batch, origin.options)
        if out is None:
            out = Path(f"{record.id}.{wanted.value}") if wanted in _FILES else _STDOUT
        if out == _STDOUT:
            _to_stdout(source, wanted)
        else:
            _to_file(source, wanted, out)
            terminal.say(f"report of {record.id} written to {out}")
            if show and not _shown(out):
                terminal.say(f"no browser can be started from here; open {out} in one")
    return EXIT_SUCCEEDED


def _shown(file: Path) -> bool:
    import webbrowser

    return webbrowser.open(file.resolve().as_uri())


def check_files(files: Sequence[Path]) -> None:
    """Find out before a batch runs whether its reports can be written. Raises as ``format_of``, and ``NotWritten``."""
    for file in files:
        format_of(file)
        can_be_written(file)


def write_files(batch: stores.Opened, files: Sequence[Path], *, quiet: bool) -> None:
    """Write one report of a batch to each file, by its suffix. One that cannot be written is told and costs no more."""
    source = source_of(batch, "")
    for file in files:
        try:
            _to_file(source, format_of(file), file)
        except BatchyardError as err:
            # The batch is over and its verdict is out: only the report is missing.
            terminal.say(f"error: the batch is finished, a report of it is missing: {err}")
            continue
        if not quiet:
            terminal.say(f"report written to {file}")


def source_of(batch: stores.Opened, options: str) -> Source:
    """Return what reports of a batch are made from."""
    store, record = batch.store, batch.record
    return Source(
        record,
        stores.status_of(record),
        lambda: store.results(record.id),
        lambda: store.audit_entries(record.id),
        options,
        cache(batch.regressions),
    )


def _writer(wanted: ReportFormat) -> Callable[[Source, IO[str]], None]:
    match wanted:
        case ReportFormat.MARKDOWN:
            from batchyard.reports.markdown import write_markdown

            return write_markdown
        case ReportFormat.JUNIT:
            from batchyard.reports.junit import write_junit

            return write_junit
        case ReportFormat.CSV:
            from batchyard.reports.rows import write_csv

            return write_csv
        case _:
            from batchyard.reports.html import write_html

            return write_html


def _to_stdout(source: Source, wanted: ReportFormat) -> None:
    if wanted is ReportFormat.PARQUET:
        raise typer.BadParameter("Parquet needs a file: name it with --out")
    write = _writer(wanted)
    with terminal.reader_may_leave(), os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8", newline="") as out:
        write(source, out)


def _to_file(source: Source, wanted: ReportFormat, file: Path) -> None:
    write_whole({file: partial(_write, source, wanted)})


def _write(source: Source, wanted: ReportFormat, file: Path) -> None:
    if wanted is ReportFormat.PARQUET:
        from batchyard.reports.parquet import write_parquet

        write_parquet(source, file)
    else:
        with file.open("w", encoding="utf-8", newline="") as out:
            _writer(wanted)(source, out)
