"""Which labels and annotations of a BatchTest are for a queue, by their domain. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
_DOMAIN = "kueue.x-k8s.io"


def for_the_queue(said: Mapping[str, str]) -> dict[str, str]:
    """Return those of a BatchTest's labels or annotations that are Kueue's: the queue, the priority and so on."""
    return {key: value for key, value in said.items() if _is_of_the_queue(key)}


def _is_of_the_queue(key: str) -> bool:
    domain, slash, _ = key.partition("/")
    return bool(slash) and (domain == _DOMAIN or domain.endswith(f".{_DOMAIN}"))
