"""A page on which a meter shows what was used, as tests look at it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batchyard.model.usage import Usage


@dataclass
class UsagePage:
    """Keeps everything that was shown, in order."""

    shown: list[Usage] = field(default_factory=list)

    def set_usage(self, used: Usage, at_ns: int) -> None:
        assert at_ns > 0
        self.shown.append(used)
