"""The report for people: one HTML file that needs no network, under 2 MB whatever the batch, verdict first.

What matters most is plain HTML and needs no script: verdict, gate, combinations, first failures. The heat map, the
pictures and the trials are drawn by ``page.js`` from the numbers that the file carries.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from batchyard.engine.stored_spec import trial_seconds_of
from batchyard.model.outcome import Phase, Reason
from batchyard.model.status import Truth
from batchyard.reports import packed
from batchyard.reports.markup import Markup, joined, tag, text
from batchyard.reports.statistics import (
    Statistics,
    contrast_sentence,
    contrast_table,
    reliability_cells,
    reliability_heads,
    reliability_sentence,
)
from batchyard.reports.trials import CARRIED_SLOT, OUTCOMES, gathered, names, scaled
from batchyard.reports.verdict import check_word, interval, parity_word, sentence
from batchyard.reports.words import metric, number, rate, rfc3339, seconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import IO

    from batchyard.model.status import CombinationRow, Condition, ParityStatus
    from batchyard.model.trial import JSON
    from batchyard.reports.source import Source
    from batchyard.reports.trials import Trials

_METRICS_SHOWN = 8


def write_html(source: Source, out: IO[str]) -> None:
    """Write the report."""
    statistics = Statistics(source.record, source.status)
    found = gathered(source, statistics)
    style, script = _style_and_script()
    verdict = sentence(source.record, source.status)
    last, starts = scaled(found.columns["start"])
    layout, content = packed.columns([*((n, c) for n, c in found.columns.items() if n != "start"), ("start", starts)])
    about = _about(source, found) | {"layout": layout, "lastStart": last}
    out.write('<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n')
    out.write(f'<meta http-equiv="Content-Security-Policy" content="{policy()}">\n')
    out.write('<meta name="viewport" content="width=device-width, initial-scale=1">\n')
    out.write('<meta name="color-scheme" content="light dark">\n<meta name="referrer" content="no-referrer">\n')
    out.write(f'<link rel="icon" href="data:,">\n{tag("title", f"{source.record.name}: {verdict}")}\n')
    out.write(f"<style>{style}</style>\n</head>\n<body>\n")
    out.write('<a class="skip" href="#main">Skip to the results</a>\n')
    out.write(_header(source, verdict))
    out.write('\n<main id="main" tabindex="-1">\n')
    out.write("\n".join(_sections(source, found, statistics)))
    out.write("\n</main>\n")
    out.write(_DIALOG)
    out.write(f'\n<script type="text/plain" id="columns">{content}</script>\n')
    out.write(f'<script type="text/plain" id="about">{packed.document(about)}</script>\n')
    out.write(f"<script>{script}</script>\n</body>\n</html>\n")


def policy() -> str:
    """Return the page's own Content-Security-Policy, for whoever serves it too."""
    style, script = map(_digest, _style_and_script())
    # Only this style and this script: whatever else a name or a message might smuggle in does not run or load.
    return (
        f"default-src 'none'; style-src '{style}'; script-src '{script}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


@cache
def _style_and_script() -> tuple[str, str]:
    here = files("batchyard.reports")
    return here.joinpath("page.css").read_text(encoding="utf-8"), here.joinpath("page.js").read_text(encoding="utf-8")


def _digest(content: str) -> str:
    return f"sha256-{b64encode(hashlib.sha256(content.encode()).digest()).decode('ascii')}"


def _about(source: Source, found: Trials) -> dict[str, JSON]:
    record = source.record
    began = record.started_at or record.accepted_at
    return {
        "batch": record.id,
        "options": source.options,
        "combinations": names(found.combinations),
        "ranked": [_means(row, found) for row in source.status.combinations if row.name in found.combinations],
        "scored": any(row.score is not None for row in source.status.combinations),
        "cases": names(found.cases),
        "workers": names(found.workers, 20_000),
        "carriedSlot": CARRIED_SLOT,
        "outcomes": [outcome.value for outcome in OUTCOMES],
        "step": packed.STEP,
        "least": packed.LEAST,
        "deadline": (record.deadline_at - began).total_seconds(),
        "trialSeconds": trial_seconds_of(record),
        "details": found.details,
    }


def _means(row: CombinationRow, found: Trials) -> JSON:
    """Return a combination by its number, with the means that the comparison gives it."""
    return {
        "number": found.combinations[row.name],
        "score": row.score,
        "seconds": row.mean_seconds,
        "cost": row.metrics.get("cost"),
        "tokens": row.metrics.get("tokens"),
    }


def _header(source: Source, verdict: str) -> Markup:
    record = source.record
    facts = [
        ("batch", record.id),
        ("trials", f"{record.total:,}"),
        ("accepted", rfc3339(record.accepted_at)[:19] + "Z"),
    ]
    if record.started_at and record.completed_at:
        facts.append(("took", seconds((record.completed_at - record.started_at).total_seconds())))
    facts.append(("spec", record.spec_digest[:12]))
    listed = joined(*(tag("div", tag("dt", name), tag("dd", value)) for name, value in facts))
    tone = {Phase.SUCCEEDED: "good", Phase.FAILED: "bad"}.get(record.phase, "unsure")
    parity = source.status.parity_verified
    if record.reason == Reason.GATE_INCONCLUSIVE or (tone == "good" and parity is Truth.UNKNOWN):
        tone = "unsure"
    elif parity is Truth.FALSE:
        tone = "bad"
    said = tag("p", record.message) if record.message else ""
    return tag("header", tag("h1", verdict), said, tag("dl", listed, class_="facts"), class_=f"verdict {tone}")


def _sections(source: Source, found: Trials, statistics: Statistics) -> Iterable[Markup]:
    status, batch = source.status, f"{source.record.id}{source.options}"
    if status.gate is not None and status.gate.checks:
        yield _gate(source)
    if parity := status.parity_condition:
        yield _parity(parity, status.parity)
    if lost := source.regressions():
        said = tag("p", f"{lost.sentence()}{'.' if lost.total <= len(lost.rows) else ', for instance:'}")
        rows = [[trial, known or "-"] for trial, known in lost.sentences().items()]
        table = _table("Trials lost to the baseline", ["trial", "what is known of it"], rows)
        yield _section("lost", "Lost to the baseline", said, table)
    yield _ranking(source)
    yield from _sure(statistics)
    yield _section("failures", "Trials that did not pass", _failures(source, found))
    yield _section("heat", "Case by case", Markup(_HEAT))
    yield _section("timeline", "When each slot ran what", Markup(_TIMELINE))
    yield _section("scatter", "Cost and time against score", Markup(_SCATTER))
    kept = f"This file has everything about {len(found.details):,} of {len(found):,} trials, those that did not "
    rest = f"pass first, and the numbers of all. Every other trial in full: batchyard show {batch} --trial ID"
    yield _section("trials", "Trials", tag("p", kept + rest), Markup(_TRIALS))
    yield _section("audit", "Audit trail", _audit(source, found))


def _section(key: str, title: str, *children: str) -> Markup:
    return tag("section", tag("h2", title, id=f"{key}-title"), *children, id=key, aria_labelledby=f"{key}-title")


def _table(caption: str, heads: Sequence[str], rows: Iterable[Sequence[str]], numbers: int = 99) -> Markup:
    """Return a table whose first column heads its rows; columns from ``numbers`` on are set to the right."""
    head = tag(
        "tr", *(tag("th", title, scope="col", class_="n" if i >= numbers else None) for i, title in enumerate(heads))
    )
    body = [
        tag(
            "tr",
            tag("th", row[0], scope="row"),
            *(tag("td", cell, class_="n" if i >= numbers else None) for i, cell in enumerate(row[1:], 1)),
        )
        for row in rows
    ]
    table = tag("table", tag("caption", caption), tag("thead", head), tag("tbody", *body))
    return tag("div", table, class_="wide", tabindex="0", role="region", aria_label=caption)


def _gate(source: Source) -> Markup:
    checks = source.status.gate.checks if source.status.gate else ()
    bounds = any(interval(check) for check in checks)
    rows = [
        [check.name, tag("strong", check_word(check)), *([interval(check)] if bounds else []), check.message]
        for check in checks
    ]
    heads = ["rule", "verdict", *(["interval"] if bounds else []), "what was found"]
    return _section("gate", "The gate", _table("Rules of the gate", heads, rows))


def _parity(found: Condition, told: ParityStatus | None) -> Markup:
    parts = [tag("p", tag("strong", parity_word(found)), f" {found.message}")]
    if told is not None and told.discrepancies:
        rows = [[one.trial, one.type, one.message] for one in told.discrepancies]
        parts.append(_table("The first differences", ["trial", "what differs", "how"], rows))
    return _section("parity", "In another place", *parts)


def _ranking(source: Source) -> Markup:
    rows = source.status.combinations
    if not rows:
        return _section("combinations", "Combinations", tag("p", "No trial has ended yet."))
    measured = sorted({name for row in rows for name in row.metrics})[:_METRICS_SHOWN]
    heads = ["combination", "rate", "score", "mean time", "passed", "did not pass"]
    cells = [
        [
            row.name,
            rate(row.success_rate),
            number(row.score),
            seconds(row.mean_seconds),
            str(row.passed),
            str(row.failed + row.timed_out + row.needs_input),
            str(row.errored + row.cancelled + row.not_run),
            *(metric(row.metrics.get(name)) for name in measured),
        ]
        for row in rows
    ]
    heads += ["not judged", *measured]
    return _section("combinations", "Combinations", _table("Combinations, best first", heads, cells, 1))


def _sure(statistics: Statistics) -> Iterable[Markup]:
    """Yield how far apart the combinations are, and how reliable each is, as far as the batch can say so."""
    parts: list[Markup] = []
    if found := statistics.contrasts():
        table = _table(f"Against {statistics.against}, case by case", *contrast_table(found), 1)
        parts += [tag("p", contrast_sentence(statistics, found)), table]
    if repeated := statistics.reliability():
        k = repeated[0].k
        rows = [[one.combination, *reliability_cells(one)] for one in repeated]
        parts += [tag("p", reliability_sentence(k)), _table("What repeats say", reliability_heads(k), rows, 1)]
    if parts:
        yield _section("sure", "How sure that is", *parts)


def _failures(source: Source, found: Trials) -> Markup:
    counts = source.status.trials
    total = counts.failed + counts.timed_out + counts.needs_input + counts.errored
    if not found.failures:
        return tag("p", "Every trial that has ended passed." if not total else f"{total:,} did not pass.")
    rows = [
        [one["id"], one["outcome"], one["reason"], one["fault"] or "-", one["message"] or "-"] for one in found.failures
    ]
    shown = f"The first {len(rows)} of {max(total, len(rows)):,}" if total > len(rows) else f"All {len(rows)}"
    return _table(
        f"{shown} with the node and the state at fault", ["trial", "outcome", "reason", "at fault", "message"], rows
    )


def _audit(source: Source, found: Trials) -> Markup:
    record, shown = source.record, len(found.entries)
    some = f"{shown} of the {found.entries_in_all:,} of the batch itself, from its beginning and its end"
    own = some if shown < found.entries_in_all else "the batch's own"
    said = (
        f"{record.audit_entries:,} entries, {record.audit_dropped:,} dropped, head {record.audit_head[:16]}…. "
        f"These are {own}; a trial's stand with the trial. To verify "
        f"the chain: batchyard audit verify {record.id}{source.options}"
    )
    rows = [[str(seq), at[:23] + "Z", kind, severity, message] for seq, at, kind, severity, message in found.entries]
    return joined(tag("p", said), _table("Entries of the batch", ["entry", "at", "type", "severity", "message"], rows))


_HEAT = f"""<p>Each cell: passed of judged, and the mean score, to which a trial that failed without a score adds 0.
A cell opens its first trial that did not pass.</p>
<div class="bar"><label>Find a case <input id="heat-find" type="search" autocomplete="off"></label>
<label>Order <select id="heat-order"><option value="worst">worst first</option>
<option value="file">as in the file</option>
</select></label></div>
<div class="wide" tabindex="0" role="region" aria-label="Heat map of combination and case"><table id="heat-table">
<caption>Passed, by case and combination</caption><thead></thead><tbody></tbody></table></div>
<div class="bar" id="heat-pages"></div><noscript>{text("This part needs scripts to be allowed.")}</noscript>"""

_TIMELINE = """<p id="timeline-said">&nbsp;</p>
<canvas id="timeline-canvas" role="img" aria-labelledby="timeline-title" aria-describedby="timeline-said"></canvas>
<details><summary>The same as a table</summary>
<div class="wide" tabindex="0" role="region" aria-label="Slots">
<table id="slots-table"><caption>What each slot did</caption><thead></thead><tbody></tbody>
</table></div></details>"""

_SCATTER = """<div class="bar"><label>Against the score <select id="scatter-x"><option value="seconds">time</option>
<option value="cost">cost</option><option value="tokens">tokens</option></select></label></div>
<p id="scatter-said">&nbsp;</p>
<canvas id="scatter-canvas" role="img" aria-labelledby="scatter-title" aria-describedby="scatter-said"></canvas>
<details><summary>The same as a table</summary>
<div class="wide" tabindex="0" role="region" aria-label="Means">
<table id="means-table"><caption>Means of each combination</caption><thead></thead><tbody></tbody>
</table></div></details>"""

_TRIALS = """<div class="bar"><label>Outcome <select id="trials-outcome"></select></label>
<label>Combination <select id="trials-combination"></select></label>
<label>Find a case <input id="trials-find" type="search" autocomplete="off"></label></div>
<div class="wide" tabindex="0" role="region" aria-label="Trials"><table id="trials-table"><caption>Trials</caption>
<thead></thead><tbody></tbody></table></div><div class="bar" id="trials-pages"></div>"""

_DIALOG = """<dialog id="trial" aria-labelledby="trial-title"><div class="bar">
<h2 id="trial-title" tabindex="-1">Trial</h2>
<button type="button" id="trial-close">Close</button></div><div id="trial-body"></div></dialog>"""
