"""``RESULTS.md`` out of the results' JSON: ratios and goals first, figures after. Computes nothing of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.boundary import SQLITE
from benchmarks.throughput import BASELINE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_ENOUGH_TRIALS = 20_000


def render(document: Mapping[str, Any]) -> str:
    """Return the Markdown for whatever parts the document holds."""
    sections = ["# Benchmark results", _made(document)]
    goals = list(_goals(document))
    if goals:
        sections.append("## Goals\n\n" + _table(["what", "goal", "measured", "met"], goals))
    parts = {
        "throughput": _throughput,
        "boundary": _boundary,
        "sharing": _sharing,
        "overrun": _overrun,
        "scale": _scale,
    }
    for name, render_part in parts.items():
        part = document.get(name)
        if part is not None:
            sections.append(_not_measured(name, part) if "failure" in part else render_part(part))
    return "\n\n".join(sections) + "\n"


def _made(document: Mapping[str, Any]) -> str:
    machine = document["machine"]
    return (
        f"Made by `{document['command']}` on {machine['date']}: {machine['cores']} cores ({machine['processor']}), "
        f"{machine['memoryGibibytes']} GiB, {machine['system']}, {machine['fileSystem']}, load {machine['loadBefore']} "
        f"before the start. Python {machine['python']}, SQLite {machine['sqlite']}, batchyard {machine['batchyard']}, "
        f"langgraph {machine['langgraph']}, langgraph-checkpoint-sqlite {machine['langgraph-checkpoint-sqlite']}; "
        f"peers: {', '.join(machine['peers']) or 'none'}.\n\n"
        "Generated from `results/latest.json`; [README.md](README.md) says what is measured and how fairly."
    )


def _goals(document: Mapping[str, Any]) -> Iterable[Sequence[str]]:
    for ratio in document.get("throughput", {}).get("ratios", ()):
        bar = {BASELINE: 3.0, "inspect-ai": 1.0, "wtb, batch runner": 1.0}.get(ratio["over"])
        if bar is not None:
            measured = f"{ratio['steady']:.2f} x (whole command {ratio['command']:.2f} x)"
            yield f"trials a second over {ratio['over']}", f"> {bar:g} x", measured, _met(ratio["steady"] > bar)
    share = document.get("boundary", {}).get("ofSqliteSaver")
    if share is not None:
        goal = "at most 1/3 of what SqliteSaver adds"
        measured = f"{share['ours']:.2f} of it ({share['oursOverItsOwnFloor']:.2f} over the floor of its own path)"
        yield "added cost of a durable boundary", goal, measured, _met(share["ours"] <= 1 / 3)
    sharing = document.get("sharing", {})
    if "ofIdeal" in sharing:
        what = f"nodes that run for {sharing['variants']} variants x {sharing['cases']} cases, over the fewest possible"
        yield what, "<= 1.02 x", f"{sharing['ofIdeal']:.3f} x", _met(sharing["ofIdeal"] <= 1.02)
    overrun = document.get("overrun", {})
    if "overrun" in overrun:
        p99 = overrun["overrun"]["p99Seconds"]
        yield "overrun of deadline + grace, hostile trials, p99", "<= 1 s", f"{p99:.3f} s", _met(p99 <= 1)
        ended = f"{overrun['outcomes'].get('TimedOut', 0)} of {overrun['trials']}; {overrun['survivors']} alive"
        met = overrun["outcomes"] == {"TimedOut": overrun["trials"]} and not overrun["survivors"]
        yield "hostile trials that end as TimedOut; processes alive afterwards", "all; 0", ended, _met(met)
    scale = document.get("scale", {})
    if "trials" in scale:
        growth = scale["parentGrowthMebibytesPer10000Trials"]
        what = f"growth of memory over {scale['trials']:,} trials"
        # In a short run the start is most of it, so that its slope says nothing.
        met = _met(growth < 1) if scale["trials"] >= _ENOUGH_TRIALS else "too few trials to tell"
        yield what, "flat: < 1 MiB per 10,000", f"{growth:.2f} MiB", met
        yield "`batchyard show` afterwards", "< 1 s", f"{scale['showSeconds']:.2f} s", _met(scale["showSeconds"] < 1)


def _throughput(part: Mapping[str, Any]) -> str:
    over = {ratio["over"]: ratio for ratio in part["ratios"]}
    rows = [
        [
            row["name"],
            row["version"],
            _times(over.get(row["name"], {}).get("steady")),
            _times(over.get(row["name"], {}).get("command")),
            f"{row['trialsPerSecond']:.1f}",
            f"{row['commandTrialsPerSecond']:.1f}",
        ]
        for row in part["contenders"]
    ]
    head = ["contender", "version", "ours is faster by", "as whole commands", "trials/s", "as a whole command"]
    left_out = "".join(f"\n\nNot measured: {name}: `{why[-300:]}`" for name, why in part["failures"].items())
    return (
        f"## Throughput: a no-op graph of five nodes, {part['trials']} trials, median of {part['rounds']} alternating "
        f"rounds\n\n{_table(head, rows)}{left_out}"
    )


def _boundary(part: Mapping[str, Any]) -> str:
    sqlite = next(row["addedMilliseconds"] for row in part["ways"] if row["name"] == SQLITE)
    rows = [
        [
            row["name"],
            f"{row['addedMilliseconds'] / sqlite:.2f}",
            *(f"{row[key]:.3f}" for key in ("addedMilliseconds", "p50Milliseconds", "p95Milliseconds")),
        ]
        for row in part["ways"]
    ]
    head = ["checkpointer", "of what SqliteSaver adds", "adds, ms a boundary", "ms a boundary, p50", "p95"]
    return (
        f"## Cost of a durable boundary: a chain of {part['nodes']} nodes, {part['runs']} runs each, taking turns\n\n"
        + _table(head, rows)
    )


def _overrun(part: Mapping[str, Any]) -> str:
    rows = [
        [spread["name"], *(f"{spread[key]:.3f}" for key in ("p50Seconds", "p99Seconds", "maxSeconds"))]
        for spread in (part["overrun"], *part["kinds"])
    ]
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in part["outcomes"].items())
    return (
        f"## Deadline overrun: {part['trials']} hostile trials, deadline {part['deadlineSeconds']} s, "
        f"grace {part['graceSeconds']} s\n\n{outcomes}; processes alive afterwards: {part['survivors']}; "
        f"{part['seconds']} s in all.\n\n{_table(['kind', 'p50, s', 'p99, s', 'max, s'], rows)}"
    )


def _sharing(part: Mapping[str, Any]) -> str:
    rows = [
        [
            f"{run['nodeSeconds'] * 1000:g} ms",
            f"{run['faster']:.2f} x",
            f"{run['seconds']} s",
            f"{run['secondsAlone']} s",
            f"{run['nodes']:,}",
            f"{run['nodesAlone']:,}",
        ]
        for run in part["runs"]
    ]
    head = ["a node takes", "faster by", "shared", "not shared", "nodes that ran", "not shared"]
    return (
        f"## Shared prefixes: {part['variants']} variants x {part['cases']} cases x 10 nodes, branching at the 8th\n\n"
        f"The fewest nodes that can run are {part['ideal']:,}. Whole commands. {part.get('made', '')}\n\n"
        f"{_table(head, rows)}"
    )


def _scale(part: Mapping[str, Any]) -> str:
    through = " ".join(f"{size:.0f}" for size in part["parentMebibytesThroughTheRun"])
    rows = [
        ["time", f"{part['seconds']} s ({part['trialsPerSecond']} trials/s)"],
        ["memory of the command's process, most", f"{part['parentMaxMebibytes']} MiB"],
        ["the same at each tenth of the run", f"{through} MiB"],
        ["its growth per 10,000 trials", f"{part['parentGrowthMebibytesPer10000Trials']} MiB"],
        ["memory with all workers, most (shared pages counted in each)", f"{part['treeMaxMebibytes']} MiB"],
        ["its growth per 10,000 trials", f"{part['treeGrowthMebibytesPer10000Trials']} MiB"],
        ["`batchyard show`, whole command", f"{part['showSeconds']} s"],
        ["on disk", f"{part['diskMebibytes']} MiB"],
    ]
    return f"## Scale: {part['trials']:,} trials of one node\n\n{_table(['what', 'measured'], rows)}"


def _not_measured(name: str, part: Mapping[str, Any]) -> str:
    return f"## {name.capitalize()}\n\nNot measured: `{part['failure'][-500:]}`"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))


def _times(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f} x"


def _met(met: bool) -> str:
    return "yes" if met else "**no**"
