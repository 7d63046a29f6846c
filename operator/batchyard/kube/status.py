"""The status of a BatchTest as the cluster sees it: conditions, bounded size, and whether it is worth a write. Pure.

Not for counting trials (``engine.summary``) nor for the write itself.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import orjson

from batchyard.engine.cluster_ports import EnvironmentState
from batchyard.model.outcome import GateOutcome, Phase, Reason
from batchyard.model.plain_json import plain_text
from batchyard.model.status import ConditionType, Truth, gate_outcome

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from batchyard.engine.cluster_ports import EnvironmentRecord
    from batchyard.engine.ports import BatchRecord
    from batchyard.model.trial import JSON

STATUS_BYTES = 16 * 1024
"""No status is larger than this, as compact JSON."""

_ROOM_BYTES = STATUS_BYTES - 512
_MESSAGE_CHARACTERS = 1024
_SHORT_CHARACTERS = (160, 60)
_SHORT_BYTES = 320
_ROW_BYTES = 200
_REASON_CHARACTERS = 128
# As the API server wants a condition's reason.
_REASON = re.compile(r"[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?")
KEPT = "Kept"
"""The reason of a place that was left standing on purpose."""

# The place is ready, the environment is not: that has to be told by another word.
_STATE_WORDS = {EnvironmentState.READY: "WorkerStarting"}
# They move with every entry, also with those that tell of the end; a write for them alone would never stop.
_NO_NEWS = ("audit",)


_GATE_SAID: Mapping[GateOutcome, tuple[Truth, Reason | str]] = {
    GateOutcome.PASSED: (Truth.TRUE, "GatePassed"),
    GateOutcome.FAILED: (Truth.FALSE, Reason.GATE_FAILED),
    GateOutcome.INCONCLUSIVE: (Truth.UNKNOWN, Reason.GATE_INCONCLUSIVE),
}


class _Fact(NamedTuple):
    type: ConditionType
    truth: Truth
    reason: str
    message: str = ""


def build_status(
    record: BatchRecord,
    environment: EnvironmentRecord | None,
    *,
    generation: int,
    previous: Mapping[str, JSON],
    now: datetime,
    releasing: bool = False,
) -> dict[str, JSON]:
    """Return the whole status of an accepted batch, at most ``STATUS_BYTES`` large.

    ``previous`` is what the object has now: conditions that did not change keep their time. A place that is being
    given back (``releasing``) is told as given back: the cluster has taken the order, and one write says it all.
    """
    if environment is not None and (releasing or environment.state is EnvironmentState.RELEASED):
        environment = _given_back(environment, final=record.phase.final)
    body: dict[str, JSON] = dict(record.status or {})
    body |= {
        "observedGeneration": generation,
        "phase": record.phase.value,
        "reason": _cut(record.reason, _REASON_CHARACTERS),
        "message": _cut(record.message),
        "progress": f"{_finished(body.get('trials') or {})}/{record.total}",
        "startTime": _time(record.accepted_at),
        "deadlineTime": _time(record.deadline_at),
        "audit": {"entries": record.audit_entries, "dropped": record.audit_dropped, "head": record.audit_head},
    }
    if record.completed_at is not None:
        body["completionTime"] = _time(record.completed_at)
    if environment is not None:
        body["environment"] = {
            "provider": environment.provider,
            "name": environment.name,
            "state": environment.state.value,
            "attempt": environment.attempt,
            "message": _cut(environment.message),
        }
    body["conditions"] = _conditions(_facts(record, environment, body.get("gate")), generation, previous, now)
    return fit(_plain(body))


def rejected_status(
    reason: str, message: str, *, generation: int, final: bool, previous: Mapping[str, JSON], now: datetime
) -> dict[str, JSON]:
    """Return the status of a BatchTest that is not accepted: ``final`` if only another spec can change that."""
    facts = [
        _Fact(ConditionType.ACCEPTED, Truth.FALSE, reason, message),
        _Fact(ConditionType.FINISHED, _truth(final), reason),
        _Fact(ConditionType.SUCCEEDED, Truth.FALSE if final else Truth.UNKNOWN, reason),
        _Fact(ConditionType.READY, Truth.FALSE, reason, message),
        _Fact(ConditionType.RECONCILING, _truth(not final), reason, "" if final else message),
        _Fact(ConditionType.STALLED, _truth(final), reason, message if final else ""),
    ]
    body: dict[str, JSON] = {
        "observedGeneration": generation,
        "phase": (Phase.FAILED if final else Phase.PENDING).value,
        "reason": reason,
        "message": _cut(message),
        "conditions": _conditions(facts, generation, previous, now),
    }
    if final:
        again = previous.get("observedGeneration") == generation and previous.get("completionTime")
        body["completionTime"] = again or _time(now)
    return fit(body)


def uncompared_condition(why: str, generation: int, now: datetime) -> JSON:
    """Return the condition that says that a batch cannot be compared with another place."""
    fact = _Fact(ConditionType.PARITY_VERIFIED, Truth.UNKNOWN, Reason.ENVIRONMENT_FAILED, why)
    return _conditions([fact], generation, {}, now)[0]


def is_news(status: Mapping[str, JSON], known: Mapping[str, JSON]) -> bool:
    """Return whether the object's status has to be written at all."""
    return _without(status, _NO_NEWS) != _without(known, _NO_NEWS)


def is_urgent(status: Mapping[str, JSON], known: Mapping[str, JSON]) -> bool:
    """Return whether what changed is more than progress: phase, reason, the truth of a condition, being in a queue."""
    return (
        any(status.get(key) != known.get(key) for key in ("phase", "reason", "observedGeneration"))
        or _conditions_by(status, "status") != _conditions_by(known, "status")
        or _is_queued(status) != _is_queued(known)
    )


def _is_queued(status: Mapping[str, JSON]) -> bool:
    return bool((status.get("environment") or {}).get("state") == EnvironmentState.QUEUED)


def is_trouble(status: Mapping[str, JSON], known: Mapping[str, JSON]) -> bool:
    """Return whether there is another reason why a condition is as it is, such as why there is no place yet.

    In a queue the reason stays, and what the queue says of it changes.
    """
    return _conditions_by(status, "reason") != _conditions_by(known, "reason") or (
        _is_queued(status) and status["message"] != known.get("message")
    )


def patch_of(status: Mapping[str, JSON], known: Mapping[str, JSON]) -> dict[str, JSON]:
    """Return the JSON merge patch that makes ``known`` into ``status``."""
    gone = {key: None for key in known if key not in status}
    return {"status": {**_nulls_for(status, known), **gone}}


def fit(status: dict[str, JSON], limit: int = _ROOM_BYTES) -> dict[str, JSON]:
    """Return the status cut down, the least important first, until it is at most ``limit`` bytes of JSON."""
    if _size(status) <= limit:
        return status
    rows = [_lean(row) for row in status.get("combinations", [])]
    status = {**status, "combinations": rows}
    if _size(status) <= limit:
        return status
    rows = [{key: value for key, value in row.items() if key != "metrics"} for row in rows]
    failures = status.get("failures", [])
    for characters in _SHORT_CHARACTERS:
        failures = [{**row, "message": _cut(row["message"], characters)} for row in failures]
        status = {**status, "combinations": rows, "failures": failures}
        if _size(status) <= limit:
            return status
    while (over := _size(status) - limit) > 0 and rows:
        # The best come first, and all of them are in the store.
        rows = rows[: max(0, len(rows) - 1 - over // _ROW_BYTES)]
        status = {**status, "combinations": rows}
    while _size(status) > limit and failures:
        failures = failures[:-1]
        status = {**status, "failures": failures}
    return status if _size(status) <= limit else _shortened(status)


def _shortened(status: dict[str, JSON]) -> dict[str, JSON]:
    """Return the status with short messages everywhere: what is left of it then is small."""
    made = {**status, "message": _cut_bytes(status["message"])}
    made["conditions"] = [{**one, "message": _cut_bytes(one["message"])} for one in status["conditions"]]
    if "environment" in status:
        made["environment"] = {**status["environment"], "message": _cut_bytes(status["environment"]["message"])}
    if "gate" in status:
        checks = [{**one, "message": _cut_bytes(one["message"])} for one in status["gate"].get("checks", [])]
        made["gate"] = {**status["gate"], "checks": checks}
    return made


def _finished(trials: Mapping[str, JSON]) -> int:
    return int(trials.get("total", 0) - trials.get("pending", 0) - trials.get("running", 0))


def _facts(record: BatchRecord, environment: EnvironmentRecord | None, gate: JSON) -> list[_Fact]:
    final, good = record.phase.final, record.phase is Phase.SUCCEEDED
    why = record.reason or record.phase.value
    # One that was over before it was accepted has no trials: how many there would be is not known.
    accepted = record.total > 0
    facts = [_Fact(ConditionType.ACCEPTED, _truth(accepted), "Accepted" if accepted else why)]
    if environment is not None:
        # Before its worker was heard nobody knows whether it can reach the operator.
        ready = environment.state is EnvironmentState.RUNNING
        reason = (
            "Ready" if ready else environment.reason or _STATE_WORDS.get(environment.state, environment.state.value)
        )
        facts.append(_Fact(ConditionType.ENVIRONMENT_READY, _truth(ready), reason, environment.message))
    facts += [
        _Fact(ConditionType.FINISHED, _truth(final), why, record.message if final else ""),
        _Fact(ConditionType.SUCCEEDED, _truth(good) if final else Truth.UNKNOWN, why),
    ]
    failed = ""
    if gate and gate.get("checks"):
        failed = "; ".join(check["message"] for check in gate["checks"] if not check["passed"])
        facts.append(_Fact(ConditionType.GATE_PASSED, *_GATE_SAID[gate_outcome(gate)], failed))
    facts += [
        _Fact(ConditionType.PARITY_VERIFIED, Truth(one["status"]), one["reason"], one["message"])
        for one in (record.status or {}).get("conditions") or []
        if one["type"] == ConditionType.PARITY_VERIFIED
    ]
    kept = record.audit_dropped == 0
    facts.append(_Fact(ConditionType.AUDIT_PERSISTED, _truth(kept), "AllStored" if kept else "EntriesDropped"))
    facts += _facts_of_kstatus(record, why, f"{failed}; {record.message}" if failed and final else record.message)
    return facts


def _facts_of_kstatus(record: BatchRecord, why: str, text: str) -> list[_Fact]:
    """Return the three that tools go by which know no BatchTest: of the one that decides they show the message."""
    good, stalled = record.phase is Phase.SUCCEEDED, record.phase.final and record.phase is not Phase.SUCCEEDED
    moving = not record.phase.final and record.phase is not Phase.SUSPENDED
    return [
        _Fact(ConditionType.READY, _truth(good), why, text if good or record.phase is Phase.SUSPENDED else ""),
        _Fact(ConditionType.RECONCILING, _truth(moving), why, text if moving else ""),
        _Fact(ConditionType.STALLED, _truth(stalled), why, text if stalled else ""),
    ]


def _conditions(facts: list[_Fact], generation: int, previous: Mapping[str, JSON], now: datetime) -> list[JSON]:
    known = {condition["type"]: condition for condition in previous.get("conditions") or []}
    made: list[JSON] = []
    for fact in facts:
        before = known.get(fact.type.value)
        same = before is not None and before["status"] == fact.truth.value
        made.append(
            {
                "type": fact.type.value,
                "status": fact.truth.value,
                "observedGeneration": generation,
                "lastTransitionTime": before["lastTransitionTime"] if before is not None and same else _time(now),
                "reason": _word(fact.reason),
                "message": _cut(fact.message),
            }
        )
    return made


def _lean(row: Mapping[str, JSON]) -> dict[str, JSON]:
    """Return a combination's row without what its name says already and without zeros."""
    return {
        key: value
        for key, value in row.items()
        if key not in {"variants", "metricTrials"} and value is not None and (value != 0 or key == "score")
    }


def _nulls_for(status: Mapping[str, JSON], known: Mapping[str, JSON]) -> dict[str, JSON]:
    """Return ``status`` with a null for each key of a nested object that is to go, as a merge patch asks for."""
    made: dict[str, JSON] = {}
    for key, value in status.items():
        before = known.get(key)
        if isinstance(value, dict) and isinstance(before, dict):
            value = {**_nulls_for(value, before), **{gone: None for gone in before if gone not in value}}
        made[key] = value
    return made


def _conditions_by(status: Mapping[str, JSON], field: str) -> dict[str, JSON]:
    return {one["type"]: one[field] for one in status.get("conditions") or []}


def _plain(value: JSON) -> JSON:
    """Return the value as the API server takes it and gives it back: no null, no long message, all of it in UTF-8."""
    if isinstance(value, dict):
        made = {key: _plain(item) for key, item in value.items() if item is not None}
        return {**made, "message": _cut(made["message"])} if "message" in made else made
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return plain_text(value) if isinstance(value, str) else value


def _given_back(environment: EnvironmentRecord, *, final: bool) -> EnvironmentRecord:
    released = replace(environment, state=EnvironmentState.RELEASED)
    # Between two places it still matters what became of the last one; in the end only whether it was kept.
    return replace(released, reason="", message="") if final and environment.reason != KEPT else released


def _without(status: Mapping[str, JSON], keys: tuple[str, ...]) -> dict[str, JSON]:
    return {key: value for key, value in status.items() if key not in keys}


def _truth(holds: bool) -> Truth:
    return Truth.TRUE if holds else Truth.FALSE


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _cut(text: str, characters: int = _MESSAGE_CHARACTERS) -> str:
    plain = plain_text(text)
    return plain if len(plain) <= characters else plain[: characters - 1] + "…"


def _cut_bytes(text: str) -> str:
    """Return the beginning of the text that takes no more than a few hundred bytes as JSON."""
    cut = text
    while (size := len(orjson.dumps(cut))) > _SHORT_BYTES:
        cut = cut[: len(cut) * _SHORT_BYTES // (size + _SHORT_BYTES // 8)]
    return cut if cut == text else cut + "…"


def _word(reason: str) -> str:
    """Return the reason as a condition may have it; others than we make them up, too."""
    if len(reason) <= _REASON_CHARACTERS and _REASON.fullmatch(reason):
        return reason
    kept = re.sub(r"[^A-Za-z0-9_]", "", reason).lstrip("0123456789_")[:_REASON_CHARACTERS]
    return kept or "Unknown"


def _size(status: Mapping[str, JSON]) -> int:
    return len(orjson.dumps(status))
