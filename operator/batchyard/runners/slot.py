"""A page of memory that a worker and its runner share: which node runs since when, what was used, whether to stop.

It costs a worker about a microsecond a node and no system call, and the runner reads it whatever the worker is stuck
in: that is what makes node deadlines, budgets and the soft stop free. Not for anything that must survive the worker.
"""

from __future__ import annotations

import mmap
import os
import struct

from batchyard.model.usage import Usage

SLOT_BYTES = 4096
_STOP_AT = 0
_VERSION = struct.Struct("=I")
_VERSION_AT = 4
_NODE = struct.Struct("=QH")
_NODE_AT = 8
_NAME_AT = _NODE_AT + _NODE.size
_NAME_BYTES = 200
_USAGE_VERSION_AT = 1024
_USAGE = struct.Struct("=dddQ")
_USAGE_AT = 1032
_READS = 1000
_VERSIONS = 2**32
_NOTHING = Usage()


class Slot:
    """One worker's shared page. The worker is the only writer of the node, the runner of the stop flag.

    What was used is written by the worker during an attempt and cleared by the runner before it.
    """

    def __init__(self, fd: int) -> None:
        """Map the page behind ``fd`` (see ``create``); the descriptor may be closed afterwards."""
        self._page = mmap.mmap(fd, SLOT_BYTES)
        self._version = 0

    @staticmethod
    def create() -> int:
        """Return the descriptor of a new, zeroed page."""
        fd = os.memfd_create("batchyard-slot", os.MFD_CLOEXEC)
        os.ftruncate(fd, SLOT_BYTES)
        return fd

    def set_node(self, node: str, since_ns: int) -> None:
        """Say that ``node`` runs since ``since_ns`` (``CLOCK_MONOTONIC``); "" and 0 if none does."""
        name = node.encode(errors="backslashreplace")[:_NAME_BYTES]
        page = self._page
        # An odd version tells a reader that the page is being written.
        self._version += 1
        _VERSION.pack_into(page, _VERSION_AT, self._version)
        _NODE.pack_into(page, _NODE_AT, since_ns, len(name))
        page[_NAME_AT : _NAME_AT + len(name)] = name
        self._version += 1
        _VERSION.pack_into(page, _VERSION_AT, self._version)

    def node(self) -> tuple[str, float] | None:
        """Return the running node and the monotonic second it began, or None between nodes."""
        for _ in range(_READS):
            (before,) = _VERSION.unpack_from(self._page, _VERSION_AT)
            since_ns, length = _NODE.unpack_from(self._page, _NODE_AT)
            name = self._page[_NAME_AT : _NAME_AT + length]
            (after,) = _VERSION.unpack_from(self._page, _VERSION_AT)
            if before == after and not before % 2:
                return (name.decode(errors="replace"), since_ns / 1e9) if since_ns else None
        # The worker was stopped or killed in the middle of a write: whatever is there will not change.
        return None

    def set_usage(self, used: Usage, at_ns: int) -> None:
        """Say what the attempt has used by ``at_ns`` (``CLOCK_MONOTONIC``), and that it moves. One thread at a time."""
        page = self._page
        (version,) = _VERSION.unpack_from(page, _USAGE_VERSION_AT)
        version |= 1  # whoever wrote it last may have been killed in the middle
        _VERSION.pack_into(page, _USAGE_VERSION_AT, version)
        _USAGE.pack_into(page, _USAGE_AT, used.steps, used.tokens, used.cost, at_ns)
        _VERSION.pack_into(page, _USAGE_VERSION_AT, (version + 1) % _VERSIONS)

    def usage(self) -> tuple[Usage, float] | None:
        """Return what was used and the monotonic second of the last sign of life (0.0: none yet); None as ``node``."""
        for _ in range(_READS):
            (before,) = _VERSION.unpack_from(self._page, _USAGE_VERSION_AT)
            steps, tokens, cost, at_ns = _USAGE.unpack_from(self._page, _USAGE_AT)
            (after,) = _VERSION.unpack_from(self._page, _USAGE_VERSION_AT)
            if before == after and not before % 2:
                return Usage(steps, tokens, cost), at_ns / 1e9
        return None

    def clear_usage(self) -> None:
        """Forget what the last attempt used; called by the runner while the worker is idle."""
        self.set_usage(_NOTHING, 0)

    def ask_to_stop(self, asked: bool) -> None:
        """Raise or lower the stop flag."""
        self._page[_STOP_AT] = 1 if asked else 0

    @property
    def stop_asked(self) -> bool:
        """Return whether the runner asked the running trial to stop at its next node boundary."""
        return self._page[_STOP_AT] == 1

    def close(self) -> None:
        """Unmap the page."""
        self._page.close()
