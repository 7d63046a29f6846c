"""This process as the owner of a session, and what this machine knows of other sessions. Not for what becomes of them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from batchyard import config
from batchyard.decide.sessions import Liveness, liveness
from batchyard.engine.lifecycle import SILENT_SECONDS, SessionLifecycleManager
from batchyard.engine.ports import Owner
from batchyard.linux import started_at
from batchyard.local_files import LocalLeftovers, files_folder

if TYPE_CHECKING:
    from datetime import datetime

    from batchyard.clock import Clock
    from batchyard.engine.ports import BatchStore


def this_process() -> Owner:
    """Return this process as the owner of sessions."""
    return Owner(config.host_name(), os.getpid(), started_at(os.getpid()))


def liveness_here(
    owner: Owner, heard: datetime, now: datetime, *, presumed_dead_seconds: float | None = None
) -> Liveness:
    """Return what this machine knows of a session's process; see ``decide.sessions.liveness``."""
    here = config.host_name()
    return liveness(
        owner, heard, now, here=here, started=started_at(owner.pid) if owner.host == here else "",
        silent_seconds=SILENT_SECONDS, presumed_dead_seconds=presumed_dead_seconds,
    )  # fmt: skip


def session_lifecycle(
    store: BatchStore, target: str, clock: Clock, *, presumed_dead_seconds: float | None = None
) -> SessionLifecycleManager:
    """Return what looks after the sessions of the store that was opened at ``target``."""
    return SessionLifecycleManager(
        store, LocalLeftovers(files_folder(target)), clock,
        this=this_process(), started_at=started_at, presumed_dead_seconds=presumed_dead_seconds,
    )  # fmt: skip
