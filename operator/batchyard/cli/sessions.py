"""``db sessions``: who runs which batch, and the end of sessions whose process died. Not for going on (``run``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from batchyard.cli import document, stores, tables, terminal, words
from batchyard.cli.options import Output
from batchyard.clock import SystemClock
from batchyard.decide.finish import EXIT_SUCCEEDED
from batchyard.decide.sessions import Liveness
from batchyard.local_files import files_folder
from batchyard.local_sessions import session_lifecycle

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from batchyard.engine.lifecycle import Reaped
    from batchyard.engine.ports import BatchStore, OpenSession
    from batchyard.model.trial import JSON

_STYLES = {Liveness.ALIVE: "green", Liveness.SILENT: "yellow", Liveness.ABANDONED: "red"}


def end_abandoned(store: BatchStore, target: str, *, quiet: bool) -> None:
    """End the sessions whose process died on this machine, and say so."""
    for reaped in session_lifecycle(store, files_folder(target), SystemClock()).reap():
        if not quiet:
            terminal.say(f"note: {_told(reaped)}")


def show_sessions(named_store: str, output: Output, *, end: bool, silent_for: float | None) -> int:
    """Print every open session; with ``end``, end the abandoned ones first and print what was ended."""
    clock, target = SystemClock(), stores.target(named_store)
    with stores.there(named_store, upgrade=end) as store:
        if store is None:
            return _print(stores.shown(named_store), [], [], output, clock.now())
        manager = session_lifecycle(store, files_folder(target), clock, presumed_dead_seconds=silent_for)
        reaped = manager.reap() if end else []
        return _print(stores.shown(named_store), manager.sessions(), reaped, output, clock.now())


def _print(
    where: str,
    found: Sequence[tuple[OpenSession, Liveness]],
    reaped: Sequence[Reaped],
    output: Output,
    now: datetime,
) -> int:
    with terminal.reader_may_leave():
        if output is Output.JSON:
            sessions = [{**_json(session), "state": state.value} for session, state in found]
            ended = [{**_json(one.session), "finished": one.finished, "folders": one.folders} for one in reaped]
            document.print_json({"store": where, "sessions": sessions, "ended": ended})
            return EXIT_SUCCEEDED
        console = terminal.out()
        for one in reaped:
            tables.line(console, f"ended: {_told(one)}")
        if found:
            _print_table(found, now)
        else:
            tables.line(console, f"{where}: no session is open")
    return EXIT_SUCCEEDED


def _print_table(found: Sequence[tuple[OpenSession, Liveness]], now: datetime) -> None:
    table = tables.new_table()
    for name in ("batch", "session", "process", "host", "opened", "last heard of", "state"):
        table.add_column(name, overflow="fold")
    for session, state in found:
        table.add_row(
            Text(terminal.printable(session.batch_id)),
            Text(f"{session.epoch}"),
            Text(f"{session.owner.pid}"),
            Text(terminal.printable(session.owner.host)),
            Text(f"{session.opened_at:%Y-%m-%d %H:%M:%S}Z"),
            Text(f"{words.seconds((now - session.heard_at).total_seconds())} ago"),
            Text(state.value, style=_STYLES[state]),
        )
    terminal.out().print(table)


def _told(reaped: Reaped) -> str:
    session = reaped.session
    return (
        f"batch {session.batch_id} was left by process {session.owner.pid} on {session.owner.host}, which died; "
        f"{reaped.finished} of {reaped.total} trials are finished; `batchyard resume {session.batch_id}` goes on"
    )


def _json(session: OpenSession) -> dict[str, JSON]:
    return {
        "batch": session.batch_id,
        "session": session.epoch,
        "host": session.owner.host,
        "pid": session.owner.pid,
        "openedAt": session.opened_at.isoformat(),
        "lastHeardAt": session.heard_at.isoformat(),
    }
