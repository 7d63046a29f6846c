"""What pods and events say about a place, in a sentence for people: why it waits, and why it ended. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from batchyard.model.trial import JSON

_MESSAGE_CHARACTERS = 300
# Beyond its grace, which the time of its deletion has in it; clocks differ a little, and kubelets take a while.
_STRANDED_SECONDS = 60.0
# Every pod passes through these; they explain nothing.
_USUAL = frozenset({"ContainerCreating", "PodInitializing"})


class Finding(NamedTuple):
    """What is the matter, in one word and in a sentence."""

    reason: str
    message: str


def trouble(pods: Sequence[Mapping[str, JSON]]) -> Finding | None:
    """Return what keeps the first troubled pod from being ready; None if nothing is the matter."""
    for pod in pods:
        found = _whole_pod(pod) or _scheduling(pod) or _containers(pod)
        if found is not None:
            return Finding(found.reason, cut(f"pod {name_of(pod)}: {found.message}"))
    return None


def ending(pod: Mapping[str, JSON]) -> Finding | None:
    """Return how a pod ended that is over; None if it succeeded."""
    evicted = _whole_pod(pod)
    if evicted is not None:
        return evicted
    for container in _statuses(pod):
        ended = _terminated(container)
        if ended is not None and ended.get("exitCode") != 0:
            return _end(container["name"], ended)
    phase = _status(pod).get("phase")
    return Finding("PodFailed", "the pod failed") if phase == "Failed" else None


def last_words(pod: Mapping[str, JSON]) -> list[dict[str, JSON]]:
    """Return the ends of containers that failed, as far as they say more than how; ``message`` is the container's."""
    states = (one.get(name) or {} for one in _statuses(pod) for name in ("state", "lastState"))
    ends = (state["terminated"] for state in states if state.get("terminated"))
    return [ended for ended in ends if ended.get("message") and ended.get("exitCode") != 0]


def has_ended(pod: Mapping[str, JSON], container: str) -> bool:
    """Return whether this container is over, whatever else runs in its pod."""
    return any(_terminated(one) is not None for one in _statuses(pod) if one["name"] == container)


def ending_of(pod: Mapping[str, JSON], container: str) -> Finding | None:
    """Return how this container ended, now or the last time that it ran; None if it did not, or if it succeeded."""
    for one in _statuses(pod):
        if one["name"] == container:
            ended = _terminated(one) or (one.get("lastState") or {}).get("terminated")
            return _end(container, ended) if ended and ended.get("exitCode") != 0 else None
    return None


def is_down(pod: Mapping[str, JSON], container: str) -> bool:
    """Return whether this container ran and does not run now: what it ran is gone, also if it is started again."""
    for one in _statuses(pod):
        if one["name"] == container:
            state = one.get("state") or {}
            ran = bool(one.get("restartCount")) or bool((one.get("lastState") or {}).get("terminated"))
            return bool(state.get("terminated")) or (ran and bool(state.get("waiting")))
    return False


def is_ready(pod: Mapping[str, JSON]) -> bool:
    """Return whether the pod's Ready condition holds and nobody is deleting it."""
    return _condition(pod, "Ready", "True") is not None and not is_going(pod)


def is_going(pod: Mapping[str, JSON]) -> bool:
    """Return whether the pod is being deleted."""
    return bool(pod["metadata"].get("deletionTimestamp"))


def is_stranded(pod: Mapping[str, JSON], now: datetime) -> bool:
    """Return whether the pod should have ended a while ago, and is not ready: its node does not say how it is."""
    due = pod["metadata"].get("deletionTimestamp")
    if not due or _condition(pod, "Ready", "True") is not None:
        return False
    return (now - datetime.fromisoformat(due)).total_seconds() > _STRANDED_SECONDS


def why_stranded(pod: Mapping[str, JSON]) -> str:
    """Return what is known of a pod that is stranded, and what helps."""
    node = (pod.get("spec") or {}).get("nodeName") or "its node"
    text = f"pod {name_of(pod)} should have ended at {pod['metadata']['deletionTimestamp']}, and {node} does not say so"
    return f"{text}; if it is dead, delete the Node or taint it out-of-service"


def why_going(pod: Mapping[str, JSON]) -> str:
    """Return why a pod is being deleted, as far as it says."""
    found = _disruption(pod)
    return f"pod {name_of(pod)} is being deleted" + (f": {found.message}" if found is not None else "")


def label(pod: Mapping[str, JSON], name: str) -> str:
    """Return a label of the pod, "" if it has none of this name."""
    return str((pod["metadata"].get("labels") or {}).get(name, ""))


def name_of(pod: Mapping[str, JSON]) -> str:
    """Return the pod's name."""
    return str(pod["metadata"]["name"])


def newest_warning(events: Iterable[Mapping[str, JSON]]) -> Finding | None:
    """Return what the last of the warnings among these events (``v1`` Event) says; None if there is none."""
    warnings = [event for event in events if event.get("type") == "Warning"]
    if not warnings:
        return None
    newest = max(warnings, key=_moment)
    reason = str(newest.get("reason") or "Warning")
    return Finding(reason, cut(" ".join(str(newest.get("message") or reason).split())))


def condition_of(found: Mapping[str, JSON], kind: str) -> Finding | None:
    """Return what a condition of any object says if it is true."""
    one = _condition(found, kind, "True")
    return Finding(one.get("reason") or kind, cut(one.get("message") or kind)) if one is not None else None


def cut(text: str) -> str:
    """Return the text, shortened to what fits a status."""
    return text if len(text) <= _MESSAGE_CHARACTERS else text[: _MESSAGE_CHARACTERS - 1] + "…"


# -- parts of a pod's status -------------------------------------------------------------------------------------


def _whole_pod(pod: Mapping[str, JSON]) -> Finding | None:
    """Return why the pod as a whole was ended: evicted, preempted, refused by its node."""
    status = _status(pod)
    if status.get("phase") != "Failed":
        return None
    if status.get("reason"):
        return Finding(status["reason"], status.get("message") or status["reason"])
    return _disruption(pod)


def _disruption(pod: Mapping[str, JSON]) -> Finding | None:
    one = _condition(pod, "DisruptionTarget", "True")
    if one is None:
        return None
    reason = one.get("reason") or "Disrupted"
    return Finding(reason, one.get("message") or reason)


def _scheduling(pod: Mapping[str, JSON]) -> Finding | None:
    one = _condition(pod, "PodScheduled", "False")
    if one is None:
        return None
    return Finding(one.get("reason") or "Unschedulable", one.get("message") or "cannot be scheduled")


def _containers(pod: Mapping[str, JSON]) -> Finding | None:
    for container in _statuses(pod):
        waiting = (container.get("state") or {}).get("waiting")
        if waiting and waiting.get("reason") not in _USUAL:
            last = (container.get("lastState") or {}).get("terminated")
            reason = waiting.get("reason") or "Waiting"
            why = _end(container["name"], last).message if last else waiting.get("message") or reason
            return Finding(reason, f"container {container['name']} waits: {why}")
        ended = _terminated(container)
        if ended is not None and ended.get("exitCode") != 0:
            return _end(container["name"], ended)
    return None


def _end(container: str, ended: Mapping[str, JSON]) -> Finding:
    reason = ended.get("reason") or "Error"
    said = f": {ended['message']}" if ended.get("message") else ""
    return Finding(reason, cut(f"container {container} ended with {ended.get('exitCode')} ({reason}){said}"))


def _terminated(container: Mapping[str, JSON]) -> Mapping[str, JSON] | None:
    ended: Mapping[str, JSON] | None = (container.get("state") or {}).get("terminated")
    return ended


def _statuses(pod: Mapping[str, JSON]) -> list[JSON]:
    status = _status(pod)
    return [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]


def _status(found: Mapping[str, JSON]) -> Mapping[str, JSON]:
    status: Mapping[str, JSON] = found.get("status") or {}
    return status


def _condition(found: Mapping[str, JSON], kind: str, status: str) -> Mapping[str, JSON] | None:
    conditions: list[Mapping[str, JSON]] = _status(found).get("conditions") or []
    return next((one for one in conditions if one["type"] == kind and one["status"] == status), None)


def _moment(event: Mapping[str, JSON]) -> str:
    """Return when the event was seen last; RFC 3339 in UTC, so that texts compare as times do."""
    series = event.get("series") or {}
    moments = (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"))
    return max((moment for moment in moments if moment), default=event["metadata"].get("creationTimestamp") or "")
