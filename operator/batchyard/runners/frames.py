"""Length-prefixed JSON frames on a stream socket: how a runner and its worker processes talk.

JSON, not pickle: a worker runs the user's code, and what it sends must never run anything in the runner.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    import socket

MAX_FRAME_BYTES = 64 * 1024 * 1024
_HEADER = struct.Struct("!I")


class FrameBroken(Exception):
    """The other side sent something that is no frame, or one over the limit."""


def send_frame(sock: socket.socket, message: object) -> None:
    """Write one message (any JSON value or dataclass of such). Raises ``OSError`` if the other side is gone."""
    body = orjson.dumps(message, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS)
    sock.sendall(_HEADER.pack(len(body)) + body)


def receive_frame(sock: socket.socket) -> Any:
    """Read one message, waiting for all of it; None if the other side closed between two messages.

    Raises ``FrameBroken`` or ``OSError``.
    """
    header = _read_exactly(sock, _HEADER.size, at_start=True)
    if header is None:
        return None
    (length,) = _HEADER.unpack(header)
    if length > MAX_FRAME_BYTES:
        raise FrameBroken(f"a frame of {length} bytes is over the limit of {MAX_FRAME_BYTES}")
    body = _read_exactly(sock, length, at_start=False)
    try:
        return orjson.loads(body or b"")
    except orjson.JSONDecodeError as err:
        raise FrameBroken(f"a frame is not JSON: {err}") from err


def _read_exactly(sock: socket.socket, count: int, *, at_start: bool) -> bytes | None:
    chunks = bytearray()
    while len(chunks) < count:
        chunk = sock.recv(count - len(chunks))
        if not chunk:
            if at_start and not chunks:
                return None
            raise FrameBroken("the other side closed within a frame")
        chunks += chunk
    return bytes(chunks)
