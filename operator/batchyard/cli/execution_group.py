"""The commands under ``execution`` as they are typed; what they do is in ``executions``.

No ``from __future__ import annotations`` here: Typer reads the annotations when a command is run.
"""

import json
import math
from typing import Annotated, Any

import typer

from batchyard.cli.options import (
    BatchArgument,
    FileArgument,
    Output,
    OutputOption,
    RayAddressOption,
    Runner,
    RunnerOption,
    StoreOption,
)
from batchyard.cli.registry import command, group

execution_app = group("Hold an execution: pause it, look at its state, change it, take it back, fork it, go on.")

WhatArgument = Annotated[
    str, typer.Argument(metavar="EXECUTION|BATCH", help="An execution's id, or a batch followed by one of its trials.")
]
TrialArgument = Annotated[
    str,
    typer.Argument(
        metavar="[TRIAL[#ATTEMPT]]", help="A trial: its execution, else its newest attempt; with # that attempt."
    ),
]
ToOption = Annotated[
    str, typer.Option("--to", metavar="NODE|CHECKPOINT", help="Where the node had last ended, or this checkpoint.")
]
BeforeOption = Annotated[
    list[str] | None, typer.Option("--break-before", metavar="NODE", help="Pause before this node; * is every node.")
]
AfterOption = Annotated[
    list[str] | None, typer.Option("--break-after", metavar="NODE", help="Pause after this node; repeatable.")
]
UntilOption = Annotated[
    str, typer.Option("--until", metavar="NODE", help="Run until this node has ended.", show_default=False)
]


def _address(what: str, trial: str, store: str) -> Any:
    from batchyard.cli.executions import Address

    return Address(what, trial, store)


def _place(runner: Runner | None, ray_address: str) -> Any:
    from batchyard.cli.run import Place

    return Place(runner, ray_address)


def _pausing(before: list[str] | None, after: list[str] | None, until: str) -> Any:
    from batchyard.executions.running import Pausing

    return Pausing(tuple(before or ()), (*(after or ()), *([until] if until else ())))


def _json_of(option: str, text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse_number, parse_float=_finite)
    except ValueError as err:
        hint = f"'\"{text}\"'" if '"' not in text else "the text in quotes"
        raise typer.BadParameter(f"{option}: {text} is not JSON ({err}); a string is written as {hint}") from err


def _refuse_number(text: str) -> Any:
    raise ValueError(f"JSON has no {text}")


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _refuse_number(text)


def _pairs(option: str, given: list[str] | None) -> dict[str, str]:
    pairs = [text.partition("=") for text in given or ()]
    for key, equals, _ in pairs:
        if not key or not equals:
            raise typer.BadParameter(f"{option}: {key or '='} is no pair; write {option} name=value")
    return {key: value for key, _, value in pairs}


def _values(option: str, given: list[str] | None) -> dict[str, Any]:
    return {key: _json_of(f"{option} {key}", text) for key, text in _pairs(option, given).items()}


@command(
    execution_app,
    "run",
    "batchyard execution run batchtest.yaml --combination bm25-first --case leftover-items",
    "batchyard execution run batchtest.yaml --combination bm25-first --case leftover-items --break-before read",
)
def run(
    file: FileArgument,
    combination: Annotated[str, typer.Option(metavar="NAME", help="Which combination; needed if several.")] = "",
    case: Annotated[str, typer.Option(metavar="NAME", help="Which case; needed if there are several.")] = "",
    until: UntilOption = "",
    break_before: BeforeOption = None,
    break_after: AfterOption = None,
    store: StoreOption = "",
    output: OutputOption = Output.TEXT,
    runner: RunnerOption = None,
    ray_address: RayAddressOption = "",
) -> int:
    """Make one execution of a BatchTest and run it, under the file's deadlines, until it ends or pauses.

    Exit codes, as of `resume`: 0 it paused, or ended and passed; 1 it ended and failed; 2 wrong file or usage; 3 its
    deadline passed; 4 the environment or the store failed; 130 interrupted: it is paused.
    """
    from batchyard.cli.executions import run_file

    pausing = _pausing(break_before, break_after, until)
    return run_file(file, store, combination, case, output, pausing, _place(runner, ray_address))


@command(
    execution_app,
    "list",
    "batchyard execution list docs-search",
    "batchyard execution list docs-search --output json",
)
def list_(
    batch: BatchArgument,
    limit: Annotated[int, typer.Option(min=0, help="How many kept attempts; 0 is all.")] = 50,
    store: StoreOption = "",
    output: OutputOption = Output.TEXT,
) -> int:
    """List the executions of a batch, and its attempts whose states were kept (`spec.checkpoints.keep`)."""
    from batchyard.cli.executions import list_executions

    return list_executions(batch, store, output, limit=limit)


@command(
    execution_app,
    "show",
    "batchyard execution show x-4k2m9q7a",
    "batchyard execution show docs-search bm25-first/leftover-items/0",
    "batchyard execution show x-4k2m9q7a --output json",
)
def show(
    what: WhatArgument, trial: TrialArgument = "", store: StoreOption = "", output: OutputOption = Output.TEXT
) -> int:
    """Show how an execution stands: its status, what it asks, and which nodes would run next."""
    from batchyard.cli.executions import show_execution

    return show_execution(_address(what, trial, store), output, history=False)


@command(
    execution_app,
    "history",
    "batchyard execution history x-4k2m9q7a",
    "batchyard execution history docs-search bm25-first/leftover-items/0 --output json",
)
def history(
    what: WhatArgument, trial: TrialArgument = "", store: StoreOption = "", output: OutputOption = Output.TEXT
) -> int:
    """Show an execution with all its checkpoints, oldest first: what had run, and what came next."""
    from batchyard.cli.executions import show_execution

    return show_execution(_address(what, trial, store), output, history=True)


@command(
    execution_app,
    "state",
    "batchyard execution state x-4k2m9q7a",
    "batchyard execution state docs-search bm25-first/leftover-items/0 --to retrieve --output json",
)
def state(
    what: WhatArgument,
    trial: TrialArgument = "",
    to: ToOption = "",
    store: StoreOption = "",
    output: OutputOption = Output.TEXT,
) -> int:
    """Show the state as it is, or as it was after a node or at a checkpoint; changes nothing."""
    from batchyard.cli.executions import show_state

    return show_state(_address(what, trial, store), output, to)


@command(
    execution_app,
    "edit",
    "batchyard execution edit x-4k2m9q7a --set 'candidates=[3, 14]'",
    "batchyard execution edit x-4k2m9q7a --set 'answer=\"a counter\"' --as-node read",
)
def edit(
    what: WhatArgument,
    trial: TrialArgument = "",
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=JSON", help="Set this key; repeatable.")
    ] = None,
    as_node: Annotated[
        str,
        typer.Option(
            metavar="NODE", help="As if this node had left it so; default: what ran last.", show_default=False
        ),
    ] = "",
    store: StoreOption = "",
    output: OutputOption = Output.TEXT,
) -> int:
    """Set keys of a paused execution's state; which node comes next is decided anew."""
    from batchyard.cli.executions import edit_execution

    if not set_:
        raise typer.BadParameter("say what to set: --set KEY=JSON")
    return edit_execution(_address(what, trial, store), output, _values("--set", set_), as_node)


@command(
    execution_app,
    "resume",
    "batchyard execution resume x-4k2m9q7a",
    "batchyard execution resume x-4k2m9q7a --until read",
    "batchyard execution resume docs-search bm25-first/leftover-items/0 --answer '\"yes\"'",
)
def resume(
    what: WhatArgument,
    trial: TrialArgument = "",
    answer: Annotated[
        list[str] | None, typer.Option(metavar="JSON", help="Answer to what the graph asked; one for each question.")
    ] = None,
    until: UntilOption = "",
    break_before: BeforeOption = None,
    break_after: AfterOption = None,
    store: StoreOption = "",
    output: OutputOption = Output.TEXT,
    runner: RunnerOption = None,
    ray_address: RayAddressOption = "",
) -> int:
    """Go on with a paused execution until it ends or pauses again; no node that has ended runs twice.

    It runs under its batch's deadlines. The exit codes are those of `run`; Ctrl-C pauses it at its next node boundary.
    """
    from batchyard.cli.executions import resume_execution

    given = [_json_of("--answer", text) for text in answer or ()]
    pausing, place = _pausing(break_before, break_after, until), _place(runner, ray_address)
    return resume_execution(_address(what, trial, store), output, pausing, given, place)


@command(execution_app, "pause", "batchyard execution pause x-4k2m9q7a")
def pause(
    what: WhatArgument, trial: TrialArgument = "", store: StoreOption = "", output: OutputOption = Output.TEXT
) -> int:
    """Have an execution that runs in another terminal pause at its next node boundary."""
    from batchyard.cli.executions import pause_execution

    return pause_execution(_address(what, trial, store), output)


@command(execution_app, "stop", "batchyard execution stop x-4k2m9q7a")
def stop(
    what: WhatArgument, trial: TrialArgument = "", store: StoreOption = "", output: OutputOption = Output.TEXT
) -> int:
    """End an execution for good; one that runs in another terminal is stopped as at a deadline, softly first."""
    from batchyard.cli.executions import stop_execution

    return stop_execution(_address(what, trial, store), output)


@command(
    execution_app,
    "rollback",
    "batchyard execution rollback x-4k2m9q7a --to retrieve",
    "batchyard execution rollback docs-search bm25-first/leftover-items/0 --to retrieve",
)
def rollback(
    what: WhatArgument,
    to: ToOption,
    trial: TrialArgument = "",
    store: StoreOption = "",
    output: OutputOption = Output.TEXT,
) -> int:
    """Take an execution back to where a node had ended; what came after is dropped, and it is paused there."""
    from batchyard.cli.executions import roll_back_execution

    return roll_back_execution(_address(what, trial, store), output, to)


@command(
    execution_app,
    "fork",
    "batchyard execution fork x-4k2m9q7a --from retrieve --variant reader=vote",
    "batchyard execution fork docs-search bm25-first/leftover-items/0 --from retrieve --set 'candidates=[3]'",
)
def fork(
    what: WhatArgument,
    trial: TrialArgument = "",
    from_: Annotated[
        str,
        typer.Option(
            "--from", metavar="NODE|CHECKPOINT", help="Where to fork; default: where it is.", show_default=False
        ),
    ] = "",
    variant: Annotated[
        list[str] | None, typer.Option(metavar="DIMENSION=VALUE", help="Another variant; repeatable.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=JSON", help="Set this key of the state; repeatable.")
    ] = None,
    store: StoreOption = "",
    output: OutputOption = Output.TEXT,
) -> int:
    """Fork where a node had ended, paused, perhaps as another combination; its source stays as it is."""
    from batchyard.cli.executions import fork_execution

    values = _values("--set", set_)
    return fork_execution(_address(what, trial, store), output, from_, _pairs("--variant", variant), values)
