"""What pods say about themselves, in a sentence for people: why they wait, and why they ended. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batchyard.model.trial import JSON

_MESSAGE_CHARACTERS = 300
# Every pod passes through these; they explain nothing.
_USUAL = frozenset({"ContainerCreating", "PodInitializing"})


class Finding(NamedTuple):
    """What is the matter, in one word and in a sentence."""

    reason: str
    message: str


def trouble(pods: Sequence[Mapping[str, JSON]]) -> Finding | None:
    """Return what keeps the first troubled pod from being ready; None if nothing is the matter."""
    for pod in pods:
        found = _scheduling(pod) or _containers(pod) or _evicted(pod)
        if found is not None:
            return Finding(found.reason, f"pod {pod['metadata']['name']}: {found.message}")
    return None


def ending(pod: Mapping[str, JSON]) -> Finding | None:
    """Return how a pod ended that is over; None if it succeeded."""
    evicted = _evicted(pod)
    if evicted is not None:
        return evicted
    for container in _statuses(pod):
        ended = container.get("state", {}).get("terminated")
        if ended and ended.get("exitCode") != 0:
            return _terminated(container["name"], ended)
    phase = pod.get("status", {}).get("phase")
    return Finding("PodFailed", "the pod failed") if phase == "Failed" else None


def is_ready(pod: Mapping[str, JSON]) -> bool:
    """Return whether the pod's Ready condition holds."""
    conditions = pod.get("status", {}).get("conditions") or []
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def _scheduling(pod: Mapping[str, JSON]) -> Finding | None:
    for one in pod.get("status", {}).get("conditions") or []:
        if one["type"] == "PodScheduled" and one["status"] == "False":
            return Finding(one.get("reason") or "Unschedulable", _cut(one.get("message") or "cannot be scheduled"))
    return None


def _containers(pod: Mapping[str, JSON]) -> Finding | None:
    for container in _statuses(pod):
        state = container.get("state", {})
        waiting = state.get("waiting")
        if waiting and waiting.get("reason") not in _USUAL:
            last = container.get("lastState", {}).get("terminated")
            why = _terminated(container["name"], last).message if last else waiting.get("message") or ""
            return Finding(waiting.get("reason") or "Waiting", _cut(f"container {container['name']} waits: {why}"))
        ended = state.get("terminated")
        if ended and ended.get("exitCode") != 0:
            return _terminated(container["name"], ended)
    return None


def _evicted(pod: Mapping[str, JSON]) -> Finding | None:
    status = pod.get("status", {})
    if status.get("phase") == "Failed" and status.get("reason"):
        return Finding(status["reason"], _cut(status.get("message") or status["reason"]))
    return None


def _terminated(container: str, ended: Mapping[str, JSON]) -> Finding:
    reason = ended.get("reason") or "Error"
    said = f": {ended['message']}" if ended.get("message") else ""
    return Finding(reason, _cut(f"container {container} ended with {ended.get('exitCode')} ({reason}){said}"))


def _statuses(pod: Mapping[str, JSON]) -> list[JSON]:
    status = pod.get("status", {})
    return [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]


def _cut(text: str) -> str:
    return text if len(text) <= _MESSAGE_CHARACTERS else text[: _MESSAGE_CHARACTERS - 1] + "…"
