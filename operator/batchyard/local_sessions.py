"""This process as the owner of a session, and what this machine knows of others. Not for what becomes of them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from batchyard import config
from batchyard.engine.lifecycle import SessionLifecycleManager
from batchyard.engine.ports import Owner
from batchyard.linux import is_running, process_space, started_at
from batchyard.local_files import LocalLeftovers

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from batchyard.clock import Clock
    from batchyard.engine.ports import BatchStore


def this_process(*, space: Callable[[], int] = process_space) -> Owner:
    """Return this process as the owner of sessions.

    A pid says which process only within one ``space``, so that one is part of the host's name.
    """
    number = space()
    host = f"{config.host_name()}/{number}" if number else config.host_name()
    return Owner(host, os.getpid(), started_at(os.getpid()))


def session_lifecycle(
    store: BatchStore, files: Path, clock: Clock, *, presumed_dead_seconds: float | None = None
) -> SessionLifecycleManager:
    """Return what looks after the sessions of a store whose batches' files are in ``files``."""
    return SessionLifecycleManager(
        store, LocalLeftovers(files), clock,
        this=this_process(), is_running=is_running, presumed_dead_seconds=presumed_dead_seconds,
    )  # fmt: skip
