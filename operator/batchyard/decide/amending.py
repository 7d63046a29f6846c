"""Which results of a finished batch stand for trials of another one, which amends it. Pure.

A result is carried over if running the trial again could say nothing else: what decides it is the same, and it is an
answer. Decided by what the two batches are and by the finished one's results, which never change: the same whenever it
is asked, so that a batch that was killed goes on where it was. Not for copying rows (``store.carrying``).
"""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from batchyard.model.outcome import Outcome, Reason
from batchyard.model.rules import shortened_list
from batchyard.model.setting import DIGEST
from batchyard.model.trial import Case, Combination

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from batchyard.model.matrix import Plan
    from batchyard.model.setting import Setting
    from batchyard.model.spec import BatchTestSpec
    from batchyard.model.trial import JSON, AttemptResult

_ANSWERS = frozenset({Outcome.PASSED, Outcome.FAILED, Outcome.NEEDS_INPUT, Outcome.TIMED_OUT})
# The batch's end, or a place that could not begin: the combination had no say in it.
_NO_ANSWER = frozenset({Reason.BATCH_DEADLINE_EXCEEDED, Reason.WORKFLOW_INVALID, Reason.START_REFUSED})
_TOLD = 5

CODE = "code"
"""What a sentence of ``differences`` about code begins with."""

_Named = TypeVar("_Named", Combination, Case)


class Why(StrEnum):
    """Why the result of a trial is not carried over, as a sentence has it."""

    NO_SUCH_TRIAL = "that are not asked for any more"
    COMBINATION = "of combinations that run with other values"
    CASE = "of cases with another input, expectation or script"
    NO_ANSWER = "that had ended without an answer"
    DEADLINE = "that other deadlines could end otherwise"


_Found: TypeAlias = dict[str, "int | Why"]


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two batches: its spec, its trials, what it ran with and the batch it was forked from."""

    spec: BatchTestSpec
    plan: Plan
    setting: Setting | None
    forked_from: str = ""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How long an attempt of a case may take, in seconds; None is no limit of its own."""

    trial: float
    node: float | None
    idle: float | None
    grace: float

    @classmethod
    def of(cls, spec: BatchTestSpec, case: Case) -> Bounds:
        """Return the bounds of a case's trials."""
        deadlines = spec.deadlines
        trial = deadlines.trial_seconds if case.deadline_seconds is None else case.deadline_seconds
        return cls(trial, deadlines.node_seconds, deadlines.idle_seconds, deadlines.grace_seconds)


# -- what holds for all trials -------------------------------------------------------------------------------------


def differences(new: Side, old: Side) -> tuple[str, ...]:
    """Return, as a sentence each, why no result of the old batch can stand for a trial of the new one; none if it can.

    These are what decides every trial: code, packages, place, and the parts of the spec that are for all of them.
    """
    return (*setting_differences(new.setting, old.setting), *_spec_differences(new, old))


def setting_differences(new: Setting | None, old: Setting | None) -> Iterator[str]:
    """Yield, as a sentence each, in what two batches ran otherwise that stands in no spec."""
    for setting, whose in ((new, "this batch"), (old, "the finished batch")):
        if setting is None:
            yield f"it is not known what {whose} ran with: that was not written down when it was accepted"
        elif setting.unknown:
            yield f"the code of {whose} is not known: {setting.unknown}"
    if new is None or old is None:
        return
    if not new.unknown and not old.unknown:
        yield from _listed(CODE, _code_changes(new, old))
    was, now = set(old.packages), set(new.packages)
    changed = [*(f"{name} is new" for name in sorted(now - was)), *(f"{name} is gone" for name in sorted(was - now))]
    yield from _listed("packages", changed)
    if new.python != old.python:
        yield f"Python: {new.python}, was {old.python}"
    if new.place != old.place:
        yield f"place: {new.place}, was {old.place}"
    elif new.pods != old.pods:
        yield from _pod_changes(new.pods, old.pods)


def _pod_changes(new: Mapping[str, str], old: Mapping[str, str]) -> Iterator[str]:
    for name in sorted(new.keys() | old.keys()):
        now, was = new.get(name, ""), old.get(name, "")
        if now != was:
            is_told = not (now + was).startswith(DIGEST)
            yield f"{name}: {now}, was {was}" if is_told else f"{name} is another"


def _listed(what: str, changes: Sequence[str]) -> Iterator[str]:
    if changes:
        yield f"{what}: {shortened_list(list(changes), _TOLD)}"


def _code_changes(new: Setting, old: Setting) -> list[str]:
    apart = {*new.apart, *old.apart}
    was = {path: digest for path, digest in old.files.items() if path not in apart}
    now = {path: digest for path, digest in new.files.items() if path not in apart}
    changes = []
    for path in sorted(was.keys() | now.keys()):
        if path not in was:
            changes.append(f"{path} is new")
        elif path not in now:
            changes.append(f"{path} is gone")
        elif was[path] != now[path]:
            changes.append(f"{path} is another ({now[path][:8]}, was {was[path][:8]})")
    return changes


def _spec_differences(new: Side, old: Side) -> Iterator[str]:
    was, now = _deciding(old), _deciding(new)
    for name, value in now.items():
        if value != was[name]:
            yield f"{name} is another"


def _deciding(side: Side) -> dict[str, JSON]:
    """Return the parts of a spec that decide the course or the score of every trial.

    Left out is what decides only when a trial runs, or what becomes of results: parallelism, retries, the batch's own
    deadline and budget, weights of cases, gate, parity, audit, what is kept. Cases, combinations and deadlines are
    looked at trial by trial.
    """
    spec = side.spec
    budgets = spec.budgets
    return {
        "spec.workflow.factory": spec.workflow.factory,
        "spec.workflow.sharedPrefix": spec.workflow.shared_prefix,
        "spec.evaluation": spec.evaluation,
        "spec.limits": spec.limits,
        "spec.budgets.trial": budgets and budgets.trial,
        "spec.budgets.prices": budgets and budgets.prices,
        # What a batch has a limit for, its trials count.
        "kinds of spec.budgets.batch": budgets and budgets.batch.allowance().kinds,
        "spec.checkpoints.durability": spec.checkpoints.durability,
        "spec.checkpoints.files": spec.checkpoints.files,
        "spec.environment.envFrom": spec.environment.env_from,
        "spec.forkFrom": (spec.fork_from, side.forked_from),
    }


# -- trial by trial ------------------------------------------------------------------------------------------------


class Carrying:
    """Decides result by result; two batches without ``differences``."""

    def __init__(self, new: Side, old: Side) -> None:
        """Hold the combinations and cases of both against each other, once."""
        self._new = new
        self._combinations = _same(new.plan.combinations, old.plan.combinations, _Combinations(new, old))
        self._cases = _same(new.plan.cases, old.plan.cases, _Cases(new, old))
        now = {case.name: Bounds.of(new.spec, case) for case in new.plan.cases}
        self._bounds = {
            case.name: (Bounds.of(old.spec, case), now[case.name]) for case in old.plan.cases if case.name in now
        }

    @property
    def looks_at_nodes(self) -> bool:
        """Return whether it matters how long the nodes of a result ran."""
        return any(not _holds(new.node, old.node, math.inf) for old, new in self._bounds.values())

    def number_of(self, result: AttemptResult) -> int | Why:
        """Return the number of the new batch's trial that a final result of the old one stands for, or why of none."""
        combination = self._combinations.get(result.combination, Why.NO_SUCH_TRIAL)
        case = self._cases.get(result.case, Why.NO_SUCH_TRIAL)
        plan = self._new.plan
        if Why.NO_SUCH_TRIAL in (combination, case) or result.repeat >= plan.repeats or plan.only is not None:
            return Why.NO_SUCH_TRIAL
        if isinstance(combination, Why):
            return combination
        if isinstance(case, Why):
            return case
        if not is_answer(result):
            return Why.NO_ANSWER
        if not ends_alike(result, *self._bounds[result.case]):
            return Why.DEADLINE
        return (combination * len(plan.cases) + case) * plan.repeats + result.repeat


def is_answer(result: AttemptResult) -> bool:
    """Return whether a final result says something of its combination, and not of the place or the batch's end."""
    return result.outcome in _ANSWERS and result.reason not in _NO_ANSWER and bool(result.thread_id)


def ends_alike(result: AttemptResult, old: Bounds, new: Bounds) -> bool:
    """Return whether the attempt would have ended the same way under the new bounds.

    One that was ended by a deadline, only under the very same: with more time it might get further, with less it would
    leave another state. One that ended by itself, if none of the new bounds would have come first.
    """
    if old == new:
        return True
    if result.outcome is Outcome.TIMED_OUT:
        return False
    longest_node = max((one.duration_seconds for one in result.boundaries), default=0.0)
    return (
        _holds(new.trial, old.trial, result.duration_seconds)
        and _holds(new.node, old.node, longest_node)
        # How long nothing moved is not kept, but no longer than all of it took.
        and _holds(new.idle, old.idle, result.duration_seconds)
    )


def _holds(new: float | None, old: float | None, seconds: float) -> bool:
    """Return whether a bound would not have been met by what took so long and met no old one."""
    return new is None or (old is not None and old <= new) or seconds < new


class _Combinations:
    """Whether two combinations of one name are the same to a trial."""

    def __init__(self, new: Side, old: Side) -> None:
        self._new, self._old = new.spec, old.spec

    def __call__(self, new: Combination, old: Combination) -> Why | None:
        same = dict(new.variants) == dict(old.variants) and _seen_by(self._new, new) == _seen_by(self._old, old)
        return None if same else Why.COMBINATION


class _Cases:
    """Whether two cases of one name are the same to a trial."""

    def __init__(self, new: Side, old: Side) -> None:
        self._new, self._old = new.plan, old.plan

    def __call__(self, new: Case, old: Case) -> Why | None:
        same = _spelled(self._new.input_for(new)) == _spelled(self._old.input_for(old))
        same = same and _spelled(new.expected) == _spelled(old.expected) and new.answers == old.answers
        return None if same else Why.CASE


def _same(new: Sequence[_Named], old: Sequence[_Named], compare: Callable[[_Named, _Named], Why | None]) -> _Found:
    """Return, for each name that both have, its place among the new ones, or why it is not the same."""
    before = {one.name: one for one in old}
    found: _Found = {}
    for place, one in enumerate(new):
        if one.name in before:
            why = compare(one, before[one.name])
            found[one.name] = place if why is None else why
    return found


def _seen_by(spec: BatchTestSpec, combination: Combination) -> JSON:
    """Return what a combination's trials see and may use: values, packages and resources."""
    env = dict(spec.environment.env)
    packages: list[str] = []
    resources = None
    for override in spec.variants.overrides:
        if override.matches(combination.variants):
            env |= override.env
            packages += override.packages
            resources = override.resources or resources
    return env, packages, resources


def _spelled(value: JSON) -> str:
    # 1, 1.0 and True are equal in Python and different inputs to a workflow.
    return json.dumps(value, sort_keys=True)


# -- what is told of it --------------------------------------------------------------------------------------------


class Tally:
    """Counts what was carried over and why the others were not."""

    def __init__(self, total: int) -> None:
        """Begin with none of so many trials carried over."""
        self._total = total
        self.carried = 0
        self._not_carried: Counter[Why] = Counter()

    def add(self, decided: int | Why) -> None:
        """Count one result of the finished batch."""
        if isinstance(decided, Why):
            self._not_carried[decided] += 1
        else:
            self.carried += 1

    def sentence(self, source: str) -> str:
        """Return what came of it in one line, why not more included."""
        left = self._total - self.carried
        why: Counter[Why] = Counter(self._not_carried)
        del why[Why.NO_SUCH_TRIAL]
        new = left - sum(why.values())
        parts = [f"{new} new" if new else "", *(f"{why[one]} {one}" for one in Why if why[one])]
        told = ", ".join(filter(None, parts))
        to_run = f"{left} to run: {told}" if left else "none to run"
        return f"{self.brief(source)}, {to_run}"

    def brief(self, source: str) -> str:
        """Return how many were carried over."""
        return f"{self.carried} of {self._total} trials carried over from {source}"
