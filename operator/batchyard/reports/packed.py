"""A few numbers of every trial in as few bytes as tell them, and texts up to a bound. What the page's script unpacks.

Amounts are kept to 0.03% and starts to 1/65,535 of the batch: more than a picture shows. Exact ones: CSV or the store.
"""

from __future__ import annotations

import json
import math
import sys
import zlib
from base64 import b64encode
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from array import array
    from collections.abc import Iterable, Sequence

    from batchyard.model.trial import JSON

LEAST = 1e-6
"""The least amount that is told from none, and the base of the codes."""

STEP = math.log(1e15) / 65533
"""What one code more multiplies an amount by, as a logarithm."""

NO_SCORE = 255
_SCORES = 250


def amount_code(amount: float | None) -> int:
    """Return 0 for no amount or none worth telling, else the code of an amount in equal steps of its logarithm."""
    if amount is None or not math.isfinite(amount) or amount < LEAST:
        return 0
    return min(65534, 1 + round(math.log(amount / LEAST) / STEP))


def score_code(score: float | None) -> int:
    """Return the code of a score within 0..1; 250 is all, and nothing else is."""
    if score is None or not math.isfinite(score):
        return NO_SCORE
    return _SCORES if score >= 1 else min(_SCORES - 1, max(0, round(score * _SCORES)))


def columns(named: Sequence[tuple[str, array[int]]]) -> tuple[list[JSON], str]:
    """Return what says how the columns lie, and all of them: bytes of equal weight together, deflated, in base64."""
    layout: list[JSON] = []
    packer = zlib.compressobj(9)
    packed = []
    for name, column in named:
        layout.append([name, column.itemsize])
        if sys.byteorder == "big":
            column = column[:]
            column.byteswap()
        content = column.tobytes()
        for place in range(column.itemsize):
            # The high bytes hardly ever change: apart from the low ones they cost nothing.
            packed.append(packer.compress(content[place :: column.itemsize]))
    packed.append(packer.flush())
    return layout, b64encode(b"".join(packed)).decode("ascii")


def document(value: JSON) -> str:
    """Return JSON, deflated, in base64: nothing in it can be read as HTML."""
    return b64encode(zlib.compress(json.dumps(value, separators=(",", ":")).encode(), 9)).decode("ascii")


class Budget:
    """Takes texts as long as they fit into so many bytes when deflated together."""

    _EVERY = 4096

    def __init__(self, most: int) -> None:
        """Allow ``most`` bytes."""
        self._left = most
        self._packer = zlib.compressobj(9)
        self._waiting = 0

    @property
    def full(self) -> bool:
        """Return whether it takes nothing more."""
        return self._left <= 0

    def takes(self, text: str) -> bool:
        """Return whether the text still fits, and count it if so."""
        if self.full:
            return False
        content = text.encode("utf-8", "surrogatepass")
        self._left -= len(self._packer.compress(content))
        self._waiting += len(content)
        if self._waiting >= self._EVERY:
            # Only what is flushed is known to its size.
            self._left -= len(self._packer.flush(zlib.Z_SYNC_FLUSH))
            self._waiting = 0
        return True


def fitting(texts: Iterable[str], most: int) -> list[str]:
    """Return as many of the texts, from the first on, as fit into ``most`` bytes."""
    budget = Budget(most)
    found = []
    for text in texts:
        if not budget.takes(text):
            break
        found.append(text)
    return found
