"""A server on loopback for the fakes that are asked over HTTP. Not for what they answer."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator


class QuietHandler(BaseHTTPRequestHandler):
    """Keeps connections open, and says nothing of its own."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def serving(
    handler: type[QuietHandler], tls: ssl.SSLContext | None = None, *, port: int = 0, host: str = "127.0.0.1"
) -> Iterator[str]:
    """Listen while the context lasts, on a free port unless one is named; yield the URL."""
    with ThreadingHTTPServer((host, port), handler) as listening:
        listening.daemon_threads = True
        if tls is not None:
            listening.socket = tls.wrap_socket(listening.socket, server_side=True)
        scheme, name = ("http", host) if tls is None else ("https", "localhost")
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"{scheme}://{name}:{listening.server_address[1]}"
        finally:
            listening.shutdown()
            thread.join()
