"""Turns what a database reports into ``StoreError``: what, where, what now.

Not for faults of the data's meaning (a stale session, an unknown batch): the store raises those itself.
"""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from batchyard.model.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import URL

# PostgreSQL: serialisation failure, deadlock, lock not available, too many connections, server stopping or starting.
_TRANSIENT_STATES = frozenset({"40001", "40P01", "55P03", "53300", "57P01", "57P02", "57P03"})

_REMEDIES = (
    ("disk is full", "free some space, or choose another place with --store"),
    ("readonly database", "make the file and its folder writable, or choose another place with --store"),
    ("unable to open", "check that the folder exists and that you may write there, or choose another with --store"),
    ("[errno", "check that the folder exists and that you may write there, or choose another with --store"),
    ("disk i/o error", "check the disk and its free space, or choose another place with --store"),
    ("malformed", "the file is damaged: keep a copy, then restore a back-up or start a new one with --store"),
    ("not a database", "the file is no SQLite database: choose another with --store"),
    ("is locked", "another process holds the database for long: end it, or try again"),
    ("authentication failed", "check the user and password in --store"),
    ("connection", "check that the server runs and that --store names it rightly"),
    ("no such table", "the schema is incomplete: run `batchyard db upgrade`"),
    ("append-only", "the audit trail is never changed"),
)


class StoreBusy(StoreError):
    """The database was locked or lost for a moment; nothing was written and trying again may help."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a store is, in a spelling that is safe to show."""

    shown: str
    secrets: tuple[str, ...] = ()

    def hide(self, text: str) -> str:
        """Return the text without any secret of the address."""
        for secret in self.secrets:
            text = text.replace(secret, "***")
        return text


def place_of(url: URL) -> Place:
    """Return the place a URL names: a path for SQLite, else the URL without its passwords."""
    if url.get_backend_name() == "sqlite":
        return Place(url.database or "")
    hidden = {key: "***" for key in url.query if "password" in key}
    secrets = [url.password, *(value for key, value in url.query.items() if key in hidden)]
    shown = url.update_query_dict(hidden).render_as_string(hide_password=True)
    return Place(shown.replace("%2A%2A%2A", "***"), tuple(text for text in secrets if isinstance(text, str) and text))


@contextmanager
def reported(place: Place, action: str) -> Iterator[None]:
    """Raise ``StoreError`` (``StoreBusy`` if it may pass) for a database error within, saying what was being done."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error, OSError, OverflowError) as err:
        raise error_for(place, action, err) from err


def error_for(place: Place, action: str, err: Exception) -> StoreError:
    """Return the error to show for ``err``, met while doing ``action``."""
    cause = err.orig if isinstance(err, DBAPIError) and err.orig is not None else err
    text = place.hide(" ".join(str(cause).split())) or type(cause).__name__
    known = text.lower()
    remedy = next((advice for sign, advice in _REMEDIES if sign in known), "see `batchyard db check`")
    kind = StoreBusy if _is_transient(err, cause, known) else StoreError
    return kind(f"store {place.shown}: cannot {action}: {text}; {remedy}")


def _is_transient(err: Exception, cause: BaseException, text: str) -> bool:
    if isinstance(err, DBAPIError) and err.connection_invalidated:
        return True
    if isinstance(cause, sqlite3.OperationalError):
        return "locked" in text
    return getattr(cause, "sqlstate", None) in _TRANSIENT_STATES
