"""Keeps secrets, and texts without end, out of what leaves the process.

It masks values it was told of. It does not guess what else might be a secret.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import quote

from batchyard.model.plain_json import plain_json, plain_text

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from batchyard.model.trial import JSON

MASK = "[redacted]"
_ELLIPSIS = "…"
SHORTEST_SECRET = 6
"""Shorter values are left alone: masking every ``1`` or ``true`` would blot out the record and hide nothing."""

LONGEST_TEXT = 4096
"""Texts longer than this many characters are cut, so that a bounded number of entries is a bounded amount."""


class Redactor:
    """Masks the given secrets wherever they stand in a text, also quoted, JSON-escaped or URL-encoded."""

    def __init__(self, secrets: Collection[str] = ()) -> None:
        """Take the values to mask; those under ``SHORTEST_SECRET`` characters are ignored."""
        known = {form for secret in secrets if len(secret) >= SHORTEST_SECRET for form in _forms(secret)}
        self._known = tuple(sorted(known))

    def text(self, text: str) -> str:
        """Return ``text`` as plain text, secrets masked, cut at ``LONGEST_TEXT``."""
        plain = plain_text(text)
        if self._known:
            plain = self._masked(self._cut_ends_masked(plain))
        # Cut last: a secret that is cut in two is no longer recognised.
        if len(plain) > LONGEST_TEXT:
            return f"{plain[:LONGEST_TEXT]}... ({len(plain) - LONGEST_TEXT} more characters)"
        return plain

    def mask(self, text: str) -> str:
        """Return ``text`` with secrets masked, and whole."""
        return self._masked(text) if self._known else text

    def json(self, value: object) -> JSON:
        """Return ``value`` as plain JSON in which every string, keys included, went through ``text``."""
        return plain_json(value, self.text)

    def _cut_ends_masked(self, text: str) -> str:
        """Mask the beginning of a secret that stands right before an ellipsis: a text that was cut in one."""
        *cut, rest = text.split(_ELLIPSIS)
        return _ELLIPSIS.join([*(self._end_masked(piece) for piece in cut), rest])

    def _end_masked(self, piece: str) -> str:
        longest = max(
            (
                length
                for secret in self._known
                for length in range(SHORTEST_SECRET, min(len(secret), len(piece)) + 1)
                if piece.endswith(secret[:length])
            ),
            default=0,
        )
        return piece[: len(piece) - longest] + MASK if longest else piece

    def _masked(self, text: str) -> str:
        spans = sorted(span for secret in self._known if secret in text for span in _spans(secret, text))
        pieces: list[str] = []
        done = 0
        for start, end in spans:
            if start >= done:
                pieces += (text[done:start], MASK)
            # Overlapping secrets share a mask, so that no tail of one is left over.
            done = max(done, end)
        return "".join((*pieces, text[done:]))


def _forms(secret: str) -> Iterator[str]:
    yield plain_text(secret)
    yield repr(secret)[1:-1]
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    yield quote(secret, safe="", errors="replace")


def _spans(secret: str, text: str) -> Iterator[tuple[int, int]]:
    at = text.find(secret)
    while at >= 0:
        yield at, at + len(secret)
        at = text.find(secret, at + 1)
