"""Frames: whole messages or nothing, and a reader and a writer that never wait for the other side."""

from __future__ import annotations

import socket
import struct
import threading
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchyard.runners import frames
from batchyard.runners.frames import FrameBroken, FrameStream, NotAFrame, as_received, receive_frame, send_frame

if TYPE_CHECKING:
    from collections.abc import Iterator

Pair = tuple[socket.socket, socket.socket]

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
    max_leaves=20,
)


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def header(length: int) -> bytes:
    return struct.pack("!I", length)


@given(JSON_VALUES)
def test_what_is_sent_is_what_is_received(value: Any) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        send_frame(ours, value)

        assert receive_frame(theirs) == value
        assert as_received(value) == value


def test_messages_come_one_by_one_in_order(pair: Pair) -> None:
    for number in range(5):
        send_frame(pair[0], {"number": number})
    pair[0].close()

    received = [receive_frame(pair[1]) for _ in range(5)]

    assert received == [{"number": number} for number in range(5)]
    assert receive_frame(pair[1]) is None


def test_a_message_that_breaks_off_is_broken_not_absent(pair: Pair) -> None:
    pair[0].sendall(header(10) + b"{}")
    pair[0].close()

    with pytest.raises(FrameBroken, match="closed within"):
        receive_frame(pair[1])


def test_a_header_that_breaks_off_is_broken_too(pair: Pair) -> None:
    pair[0].sendall(b"\0\0")
    pair[0].close()

    with pytest.raises(FrameBroken, match="closed within"):
        receive_frame(pair[1])


@pytest.mark.parametrize("body", [b"no JSON", b"\xff\xfe", b"", b"{} {}"])
def test_what_is_no_json_is_broken(pair: Pair, body: bytes) -> None:
    pair[0].sendall(header(len(body)) + body)

    with pytest.raises(FrameBroken, match="not JSON"):
        receive_frame(pair[1])


def test_a_length_over_the_limit_is_refused_before_anything_is_read(pair: Pair) -> None:
    pair[0].sendall(header(frames.MAX_FRAME_BYTES + 1))

    with pytest.raises(FrameBroken, match="over the limit"):
        receive_frame(pair[1])
    with pytest.raises(FrameBroken, match="over the limit"):
        stream_with(header(2**32 - 1)).receive()


@pytest.mark.parametrize("message", [object(), {"text": "\ud800"}, 2**70, {"deep": {1: {2: b"bytes"}}}])
def test_what_json_cannot_say_is_not_sent_at_all(pair: Pair, message: object) -> None:
    with pytest.raises(NotAFrame, match="JSON"):
        send_frame(pair[0], message)

    pair[0].close()
    assert receive_frame(pair[1]) is None


def test_a_message_over_the_limit_is_not_sent_at_all(pair: Pair) -> None:
    with pytest.raises(NotAFrame, match="over the limit"):
        send_frame(pair[0], "x" * frames.MAX_FRAME_BYTES)

    pair[0].close()
    assert receive_frame(pair[1]) is None


def stream_with(data: bytes, *, closed: bool = False) -> FrameStream:
    """A stream that has got ``data`` and whose other side closed, or says no more."""
    ours, theirs = socket.socketpair()
    theirs.sendall(data)
    if closed:
        theirs.close()
    return _Kept(ours, theirs)


class _Kept(FrameStream):
    """Keeps both ends open as long as it is looked at."""

    def __init__(self, ours: socket.socket, theirs: socket.socket) -> None:
        super().__init__(ours)
        self._ends = (ours, theirs)

    def __del__(self) -> None:
        for end in self._ends:
            end.close()


@given(st.lists(JSON_VALUES.filter(lambda value: value is not None), max_size=5), st.data())
def test_a_stream_puts_messages_together_however_they_are_cut(values: list[Any], data: st.DataObject) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        sent = b"".join(_bytes_of(value) for value in values)
        cuts = sorted(data.draw(st.lists(st.integers(0, len(sent)), max_size=6)))
        stream = FrameStream(ours)
        received = []
        for start, end in zip([0, *cuts], [*cuts, len(sent)], strict=True):
            theirs.sendall(sent[start:end])
            while (message := stream.receive()) is not None:
                received.append(message)

    assert received == values
    assert not stream.has_received


def _bytes_of(value: Any) -> bytes:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        send_frame(ours, value)
        ours.close()
        return theirs.makefile("rb").read()


def test_a_stream_has_nothing_of_half_a_message_and_does_not_wait_for_the_rest() -> None:
    stream = stream_with(header(10) + b"{")

    assert stream.receive() is None
    assert stream.has_received


def test_a_stream_gives_what_came_before_the_other_side_closed() -> None:
    stream = stream_with(header(2) + b"{}" + header(4) + b"[1]", closed=True)

    assert stream.receive() == {}
    with pytest.raises(EOFError):
        stream.receive()


def test_a_stream_sends_as_much_as_goes_and_the_rest_when_there_is_room(pair: Pair) -> None:
    stream = FrameStream(pair[0])
    large = {"text": "x" * 4_000_000}

    stream.send(large)
    stream.send({"second": True})
    had_to_wait = stream.has_unsent
    received: list[Any] = []
    reader = threading.Thread(target=lambda: received.extend(receive_frame(pair[1]) for _ in range(2)))
    reader.start()
    while stream.has_unsent:
        stream.send_more()
    reader.join()

    assert had_to_wait
    assert received == [large, {"second": True}]


def test_a_stream_says_when_nobody_listens(pair: Pair) -> None:
    pair[1].close()

    with pytest.raises(OSError, match="Broken pipe"):
        FrameStream(pair[0]).send({})
