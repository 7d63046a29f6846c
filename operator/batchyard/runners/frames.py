"""Length-prefixed JSON frames on a stream socket: how a runner and its worker processes talk.

JSON, not pickle: a worker runs the user's code, and what it sends must never run anything in the runner. A worker may
wait for its runner (``send_frame``, ``receive_frame``). A runner never waits for a worker, which may be stopped in the
middle of a frame: it keeps what has come and what has not gone yet (``FrameStream``).
"""

from __future__ import annotations

import socket
import struct
from collections import deque
from typing import Any

import orjson

MAX_FRAME_BYTES = 64 * 1024 * 1024
_HEADER = struct.Struct("!I")
_CHUNK_BYTES = 1 << 18


class FrameBroken(Exception):
    """The other side sent something that is no frame, or one over the limit."""


class NotAFrame(ValueError):
    """The message is no JSON, or over the limit; nothing of it was sent."""


def send_frame(sock: socket.socket, message: object) -> None:
    """Write one message (any JSON value or dataclass of such), waiting until it has gone.

    Raises ``NotAFrame``, or ``OSError`` if the other side is gone.
    """
    sock.sendall(_packed(message))


def receive_frame(sock: socket.socket) -> Any:
    """Read one message, waiting for all of it; None if the other side closed between two messages.

    Raises ``FrameBroken`` or ``OSError``.
    """
    header = _read_exactly(sock, _HEADER.size, at_start=True)
    if header is None:
        return None
    return _unpacked(_read_exactly(sock, _length(header), at_start=False) or b"")


def as_received(message: object) -> Any:
    """Return what the other side would get, without sending it. Raises ``NotAFrame``."""
    return _unpacked(_packed(message)[_HEADER.size :])


class FrameStream:
    """The runner's end of a socket; nothing here waits."""

    def __init__(self, sock: socket.socket) -> None:
        """Talk on ``sock``, which stays its owner's to close."""
        self._sock = sock
        self._came = bytearray()
        self._to_go: deque[memoryview] = deque()

    @property
    def has_unsent(self) -> bool:
        """Return whether something waits until the socket takes more."""
        return bool(self._to_go)

    @property
    def has_received(self) -> bool:
        """Return whether something came that no message was made of yet."""
        return bool(self._came)

    def send(self, message: object) -> None:
        """Send one message as far as the socket takes it now. Raises ``NotAFrame`` or ``OSError``."""
        self._to_go.append(memoryview(_packed(message)))
        self.send_more()

    def send_more(self) -> None:
        """Send on what waits. Raises ``OSError``."""
        while self._to_go:
            try:
                sent = self._sock.send(self._to_go[0], socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            rest = self._to_go.popleft()[sent:]
            if rest:
                self._to_go.appendleft(rest)

    def receive(self) -> Any:
        """Read what has come and return the message it completes, None if there is none yet.

        A reader that got a message asks again: more may have come. Raises ``EOFError`` once the other side has closed
        and every message was returned, ``FrameBroken`` or ``OSError``.
        """
        message = self._next()
        while message is None:
            try:
                data = self._sock.recv(_CHUNK_BYTES, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return None
            if not data:
                raise EOFError
            self._came += data
            message = self._next()
        return message

    def _next(self) -> Any:
        if len(self._came) < _HEADER.size:
            return None
        end = _HEADER.size + _length(self._came[: _HEADER.size])
        if len(self._came) < end:
            return None
        body = bytes(self._came[_HEADER.size : end])
        del self._came[:end]
        return _unpacked(body)


def _packed(message: object) -> bytes:
    try:
        body = orjson.dumps(message, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS)
    except orjson.JSONEncodeError as err:
        raise NotAFrame(f"it cannot be written as JSON: {err}") from err
    if len(body) > MAX_FRAME_BYTES:
        raise NotAFrame(f"its {len(body)} bytes are over the limit of {MAX_FRAME_BYTES}")
    return _HEADER.pack(len(body)) + body


def _length(header: bytes | bytearray) -> int:
    length: int = _HEADER.unpack(header)[0]
    if length > MAX_FRAME_BYTES:
        raise FrameBroken(f"a frame of {length} bytes is over the limit of {MAX_FRAME_BYTES}")
    return length


def _unpacked(body: bytes) -> Any:
    try:
        return orjson.loads(body)
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
