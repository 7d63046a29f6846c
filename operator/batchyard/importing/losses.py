"""What could not be carried over, each kind once, with how often and where it stands first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batchyard.model.trial import JSON

_PLACES_KEPT = 3


@dataclass(frozen=True, slots=True)
class Loss:
    """One kind of thing that is lost: what, what to do now, how often, and the first places."""

    message: str
    remedy: str
    count: int
    places: tuple[str, ...]

    def __str__(self) -> str:
        """Render as one line: ``places: message; remedy``."""
        more = f" and {self.count - len(self.places):,} more" if self.count > len(self.places) else ""
        return f"{', '.join(self.places)}{more}: {self.message}; {self.remedy}"

    def to_json(self) -> dict[str, JSON]:
        """Return the loss as ``--output json`` prints it."""
        return {"message": self.message, "remedy": self.remedy, "count": self.count, "places": list(self.places)}


class Losses:
    """Counts losses of the same kind together, in the order in which each kind was met first."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], tuple[int, tuple[str, ...]]] = {}

    def add(self, place: str, message: str, remedy: str) -> None:
        """Note that something at ``place`` is lost; the same words are the same kind."""
        count, places = self._found.get((message, remedy), (0, ()))
        kept = places if place in places or len(places) == _PLACES_KEPT else (*places, place)
        self._found[message, remedy] = (count + 1, kept)

    def all(self) -> tuple[Loss, ...]:
        """Return every kind of loss."""
        return tuple(Loss(*words, count, places) for words, (count, places) in self._found.items())
