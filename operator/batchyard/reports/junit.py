"""JUnit XML, as CI systems read it: a suite for each combination, a case for each trial, suites for gate and batch.

Written as it is read: of a suite only its counts are known before.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape, quoteattr

from batchyard.model.outcome import GateOutcome, Outcome, Phase, Reason
from batchyard.model.status import Truth
from batchyard.reports.verdict import is_passed, sentence
from batchyard.reports.words import rfc3339

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import IO

    from batchyard.model.trial import AttemptResult
    from batchyard.reports.source import Source

# What XML 1.0 has no way to say, not even as a reference.
_UNSAYABLE = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_FAILURES = frozenset({Outcome.FAILED, Outcome.TIMED_OUT, Outcome.NEEDS_INPUT})
_SKIPPED = frozenset({Outcome.CANCELLED, Outcome.NOT_RUN})
_GATE_TYPES = {GateOutcome.FAILED: Reason.GATE_FAILED.value, GateOutcome.INCONCLUSIVE: Reason.GATE_INCONCLUSIVE.value}


@dataclass(slots=True)
class _Tally:
    tests: int = 0
    failures: int = 0
    errors: int = 0
    skipped: int = 0
    seconds: float = 0.0

    def add(self, result: AttemptResult) -> None:
        self.tests += 1
        self.failures += result.outcome in _FAILURES
        self.errors += result.outcome is Outcome.ERRORED
        self.skipped += result.outcome in _SKIPPED
        self.seconds += result.duration_seconds

    @property
    def attributes(self) -> str:
        counts = f'tests="{self.tests}" failures="{self.failures}" errors="{self.errors}" skipped="{self.skipped}"'
        return f'{counts} time="{self.seconds:.6f}"'


def write_junit(source: Source, out: IO[str]) -> None:
    """Write the batch as JUnit XML.

    A rule of the gate that is not met is a failed case of the suite ``gate``. The suite ``batch`` has the verdict, a
    failed case whenever the exit code is not 0, and parity if it was asked for.
    """
    suites, whole, tallied = _tallies(source)
    record, gate = source.record, source.status.gate
    checks = gate.checks if gate is not None else ()
    lost = source.regressions()
    known = lost.sentences() if lost is not None else {}
    ends = _ends(source)
    whole.tests += len(checks) + len(ends)
    whole.failures += sum(not check.passed for check in checks) + sum(bool(end.failed) for end in ends)
    out.write('<?xml version="1.0" encoding="UTF-8"?>\n')
    out.write(f"<testsuites name={_quoted(record.id)} {whole.attributes}>\n")
    variants = {row.name: row.variants for row in source.status.combinations}
    current = None
    for result in source.results():
        if result.ordinal not in tallied:
            continue  # the batch goes on: it ended after they were counted
        # Ordinals go through one combination after the other.
        if result.combination != current:
            if current is not None:
                out.write("  </testsuite>\n")
            current = result.combination
            out.write(f"  <testsuite name={_quoted(current)} {suites[current].attributes}")
            out.write(f' timestamp="{rfc3339(record.accepted_at)}">\n')
            _properties(variants.get(current, {}).items(), out)
        _case(record.name, result, known.get(result.trial_id, ""), out)
    if current is not None:
        out.write("  </testsuite>\n")
    if gate is not None and checks:
        told = [f"{trial}: {what}" if what else trial for trial, what in known.items()]
        heads = [sentence(record, source.status), *([f"{lost.sentence()}:"] if lost is not None else [])]
        detail = "\n".join([*heads, *told])
        rules = [_End(check.name, _GATE_TYPES.get(check.outcome, ""), check.message, detail) for check in checks]
        _suite("gate", record.name, rules, out)
    _suite("batch", record.name, ends, out)
    out.write("</testsuites>\n")


def _tallies(source: Source) -> tuple[dict[str, _Tally], _Tally, set[int]]:
    suites: dict[str, _Tally] = {}
    whole, tallied = _Tally(), set[int]()
    for result in source.results():
        suites.setdefault(result.combination, _Tally()).add(result)
        whole.add(result)
        tallied.add(result.ordinal)
    return suites, whole, tallied


def _properties(chosen: Iterable[tuple[str, str]], out: IO[str]) -> None:
    lines = [f"      <property name={_quoted(name)} value={_quoted(value)}/>\n" for name, value in chosen]
    if lines:
        out.write(f"    <properties>\n{''.join(lines)}    </properties>\n")


def _case(batch: str, result: AttemptResult, known: str, out: IO[str]) -> None:
    name = f"{result.case}/{result.repeat}"
    out.write(f"    <testcase classname={_quoted(f'{batch}.{result.combination}')} name={_quoted(name)}")
    out.write(f' time="{result.duration_seconds:.6f}"')
    if result.outcome is Outcome.PASSED:
        out.write("/>\n")
        return
    why = result.reason or result.outcome.value
    element = "error" if result.outcome is Outcome.ERRORED else "failure"
    if result.outcome in _SKIPPED:
        out.write(f"><skipped message={_quoted(result.message or why)}/></testcase>\n")
        return
    head = f"{why}: {result.message}" if result.message else why
    out.write(
        f">\n      <{element} type={_quoted(why)} message={_quoted(head)}>{_text(_detail(result, known))}</{element}>\n"
    )
    out.write("    </testcase>\n")


def _detail(result: AttemptResult, known: str) -> str:
    nodes = [
        f"node {one.node}: {one.status}{f', {one.error}' if one.error else ''}; checkpoint before it: "
        f"{one.entry_checkpoint or '-'}"
        for one in result.boundaries
    ]
    return "\n".join(
        [
            f"{result.trial_id} attempt {result.attempt}: {result.outcome}",
            result.message,
            *filter(None, [known]),
            *nodes,
        ]
    )


@dataclass(frozen=True, slots=True)
class _End:
    """A case that is no trial; ``failed`` is why it is one that failed, in one word, empty if it is not."""

    name: str
    failed: str
    message: str
    detail: str


def _ends(source: Source) -> list[_End]:
    record, status = source.record, source.status
    parity = status.parity_condition
    failed = "" if is_passed(record, status) else record.reason or record.phase.value
    if failed == Phase.SUCCEEDED and parity is not None:
        failed = parity.reason
    ends = [_End("verdict", failed, sentence(record, status), record.message)]
    if parity is not None:
        differences = status.parity.discrepancies if status.parity is not None else ()
        detail = "\n".join([parity.message, *(one.message for one in differences)])
        ends.append(_End("parity", "" if parity.status is Truth.TRUE else parity.reason, parity.message, detail))
    return ends


def _suite(name: str, batch: str, ends: Sequence[_End], out: IO[str]) -> None:
    failed = sum(bool(end.failed) for end in ends)
    counts = f'tests="{len(ends)}" failures="{failed}" errors="0" skipped="0" time="0.000000"'
    out.write(f'  <testsuite name="{name}" {counts}>\n')
    for end in ends:
        out.write(f'    <testcase classname={_quoted(f"{batch}.{name}")} name={_quoted(end.name)} time="0.000000"')
        if end.failed:
            head = f"type={_quoted(end.failed)} message={_quoted(end.message)}"
            out.write(f"><failure {head}>{_text(end.detail)}</failure></testcase>\n")
        else:
            out.write("/>\n")
    out.write("  </testsuite>\n")


def _quoted(text: str) -> str:
    return quoteattr(_UNSAYABLE.sub("\N{REPLACEMENT CHARACTER}", text), {"\n": "&#10;", "\r": "&#13;", "\t": "&#9;"})


def _text(text: str) -> str:
    return escape(_UNSAYABLE.sub("\N{REPLACEMENT CHARACTER}", text))
