"""A port for a server that starts later, or again: nobody who asks for any free port is given it meanwhile."""

from __future__ import annotations

import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def reserved_port() -> Iterator[int]:
    """Reserve a port of 127.0.0.1; who knows its number may listen on it, if with ``SO_REUSEADDR``."""
    with socket.socket() as holder:
        # Bound, but not listening: Linux lets another such socket bind and listen, and gives the port to no one else.
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield int(holder.getsockname()[1])
