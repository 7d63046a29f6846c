"""A fake of a bad network: passes bytes on between a client and a server, and breaks connections as it is told."""

from __future__ import annotations

import select
import socket
import threading
from collections import deque
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class Cut:
    """Breaks a connection once so many bytes went ``up`` to the server, or so many came ``down`` from it."""

    up: int = 1 << 62
    down: int = 1 << 62


WHOLE = Cut()


@dataclass
class BreakingProxy:
    """Gives each new connection the next cut of the script; with none left it breaks nothing."""

    port: int
    server_port: int
    script: deque[Cut] = field(default_factory=deque)
    broken: int = 0

    def carry(self, client: socket.socket) -> None:
        """Pass everything on between this client and the server until one of them, or the cut, ends it."""
        cut = self.script.popleft() if self.script else WHOLE
        with client, socket.create_connection(("127.0.0.1", self.server_port)) as server:
            left = {client: cut.up, server: cut.down}
            other = {client: server, server: client}
            while min(left.values()) > 0:
                for readable in select.select([client, server], [], [], 30)[0]:
                    data = readable.recv(65_536)
                    if not data:
                        return
                    other[readable].sendall(data[: left[readable]])
                    left[readable] -= len(data)
            self.broken += 1


@contextmanager
def breaking_proxy(server_port: int) -> Iterator[BreakingProxy]:
    """Listen while the context lasts; one connection at a time, as a worker has."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        proxy = BreakingProxy(listener.getsockname()[1], server_port)
        over = threading.Event()

        def accept() -> None:
            while True:
                client = listener.accept()[0]
                if over.is_set():
                    client.close()
                    return
                with suppress(OSError):
                    proxy.carry(client)

        thread = threading.Thread(target=accept, name="breaking-proxy")
        thread.start()
        try:
            yield proxy
        finally:
            over.set()
            with socket.create_connection(("127.0.0.1", proxy.port)):
                pass
            thread.join(60)
            assert not thread.is_alive()
