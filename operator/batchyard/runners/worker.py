"""What a worker does, in its own process or thread: set up once, then prepare, check and run as told.

Not for deadlines: whoever leads the worker ends it from outside.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
import traceback
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from batchyard import config, logs, reporting
from batchyard.engine.attempts import Order
from batchyard.engine.controller import RunSettings
from batchyard.engine.marks import GraphMarks, ShareableNode
from batchyard.linux import children
from batchyard.model.errors import Fault, WorkflowInvalid
from batchyard.model.outcome import Outcome, Reason
from batchyard.model.plain_json import plain_text
from batchyard.model.usage import Allowance
from batchyard.runners.attempt import Executed, cut, execute
from batchyard.runners.frames import NotAFrame, receive_frame, send_frame
from batchyard.runners.keeper import OUTPUT_MARK
from batchyard.runners.meter import Meter, Metering, UsagePage
from batchyard.trial_folder import entered

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping, Sequence

    from batchyard.engine.ports import StateAdapter, StopRequest
    from batchyard.judge import EvaluationEngine
    from batchyard.model.trial import JSON


@dataclass(frozen=True, slots=True)
class Setup:
    """What every attempt of a worker shares.

    ``checkpoints`` is the worker's own file; ``env`` is added once; ``logs`` is how its process is to log, if at all;
    ``files`` is what is kept of trials' files, as ``workflows.files.FileRules`` has it, nothing if none are, and
    ``objects`` the folder for their contents.
    Without ``metering`` neither steps nor models' tokens are counted; ``prices`` are by
    model: of a million tokens read, and written.
    """

    factory: str
    source: str
    checkpoints: str
    evaluators: Sequence[Mapping[str, JSON]]
    pass_threshold: float
    recursion_limit: int
    durability: str
    input_schema: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    logs: Mapping[str, JSON] = field(default_factory=dict)
    metering: Metering | None = None
    prices: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    files: Mapping[str, JSON] = field(default_factory=dict)
    objects: str = ""


class Parts(Protocol):
    """Makes what a worker runs with. ``compose`` has the real one, so that runners need to know no framework."""

    def warm_up(self) -> None:
        """Import, before any fork, all that a worker needs but the user's own code."""
        ...

    def adapter(self, setup: Setup) -> StateAdapter:
        """Return the state adapter. Raises ``WorkflowInvalid``."""
        ...

    def judge(self, setup: Setup) -> EvaluationEngine:
        """Return the evaluation engine. Raises ``WorkflowInvalid`` if the user's evaluator cannot be found."""
        ...

    def input_faults(self, setup: Setup, inputs: Sequence[tuple[str, JSON]]) -> list[Fault]:
        """Check inputs, given as (path, state), against the workflow's input schema."""
        ...


class StopFlag(UsagePage, Protocol):
    """Where a worker tells what runs and reads whether to stop: a shared page, or memory of the same process."""

    def set_node(self, node: str, since_ns: int) -> None:
        """Say which node runs since when, or "" and 0."""
        ...

    @property
    def stop_asked(self) -> bool:
        """Return whether the running trial should stop at its next node boundary."""
        ...


class SlotProbe:
    """Tells the slot of the longest-running node and passes a stop request on at the next boundary."""

    def __init__(self, slot: StopFlag, meter: Meter) -> None:
        """Report one run to ``slot``, and its steps to ``meter``."""
        self._slot = slot
        self._meter = meter
        self._lock = threading.Lock()  # guards _running; nodes of one step run in parallel threads
        self._running: dict[str, tuple[str, int]] = {}  # of each visit its node and when that began, oldest first
        self._stop: StopRequest | None = None
        self._over = False
        slot.set_node("", 0)

    def retire(self) -> None:
        """Say nothing any more: a thread that the run left behind must not speak for the next one."""
        with self._lock:
            self._over = True
            self._stop = None
            self._slot.set_node("", 0)

    def node_started(self, node: str, task: str) -> None:
        """Remember when the node began."""
        with self._lock:
            self._running[task] = node, time.monotonic_ns()
            self._show()
        self._meter.node_started()
        self._pass_on_stop()

    def node_finished(self, node: str, task: str) -> None:
        """Show the next longest-running node, if any."""
        with self._lock:
            self._running.pop(task, None)
            self._show()
        self._meter.node_finished()
        self._pass_on_stop()

    def on_stop(self, stop: StopRequest) -> None:
        """Keep the way to stop the run; use it at once if that was asked already."""
        self._stop = stop
        self._meter.on_spent(stop)
        self._pass_on_stop()

    def _show(self) -> None:
        if not self._over:
            self._slot.set_node(*next(iter(self._running.values()), ("", 0)))

    def _pass_on_stop(self) -> None:
        stop = self._stop
        if stop is not None and self._slot.stop_asked:
            stop()


class Worker:
    """Answers one message at a time; the first one must be ``setup``."""

    def __init__(self, slot: StopFlag, parts: Parts, *, owns_process: bool) -> None:
        """``owns_process``: environment and current directory may be changed for the trial."""
        self._parts = parts
        self._slot = slot
        self._owns_process = owns_process
        # A descriptor, since a trial may remove or rename the folder, and it may be gone already.
        self._home = os.open(".", os.O_PATH | os.O_CLOEXEC) if owns_process else None

    def answer(self, message: Mapping[str, Any]) -> Mapping[str, Any]:
        """Do what the message asks and return the reply to send."""
        match message["op"]:
            case "setup":
                return {"op": "ready", "error": self._set_up(_setup_from(message["setup"]))}
            case "prepare":
                return {"op": "prepared", "error": self._prepare(message["variants"])}
            case "check":
                return {"op": "checked", "faults": self._check(message["inputs"])}
            case "mark":
                return {"op": "marked", "found": self._marks(message)}
            case "run":
                return self._run(Order.from_json(message["order"]))
            case unknown:
                raise ValueError(f"unknown message {unknown!r}")

    def _set_up(self, setup: Setup) -> str:
        if self._owns_process:
            config.export(setup.env)
            logs.take_over(setup.logs)
        self._setup = setup
        self._metering = setup.metering
        self._settings = RunSettings(setup.recursion_limit, setup.durability)
        try:
            self._adapter = self._parts.adapter(setup)
            self._judge = self._parts.judge(setup)
        except WorkflowInvalid as err:
            return plain_text(str(err))
        return ""

    def _prepare(self, variants: Mapping[str, str]) -> str:
        try:
            self._adapter.prepare(variants)
        except WorkflowInvalid as err:
            return plain_text(str(err))
        return ""

    def _check(self, inputs: Sequence[tuple[str, JSON]]) -> list[Fault]:
        try:
            return self._parts.input_faults(self._setup, inputs)
        except WorkflowInvalid as err:
            return [Fault("spec.workflow.inputSchema", self._setup.input_schema, str(err))]

    def _marks(self, asked: Mapping[str, Any]) -> GraphMarks:
        workflow = self._adapter.prepare(asked["variants"])
        declared = [ShareableNode(**node) for node in asked["nodes"]]
        return self._adapter.marks(workflow, asked["variants"], declared, asked["environment"])

    def _run(self, order: Order) -> Mapping[str, Any]:
        """Run one attempt. ``left``: it left something behind that no other trial must meet."""
        streams, helpers = _output_streams(), _helpers() if self._owns_process else frozenset()
        executed = self._executed(order)
        left = self._owns_process and (not _helpers() <= helpers or _output_streams() != streams)
        return {"op": "ended", "executed": executed, "left": left}

    def _executed(self, order: Order) -> Executed:
        meter = Meter(self._slot, self._metering)
        probe = SlotProbe(self._slot, meter)
        if self._owns_process and order.workspace:
            os.chdir(order.workspace)
            config.export({config.WORKSPACE_VARIABLE: order.workspace})
        try:
            with (
                logs.about(trial=order.trial_id, attempt=order.attempt),
                entered(order.workspace),
                reporting.heard_by(meter, owns_process=self._owns_process),
            ):
                return execute(order, self._adapter, self._judge, self._settings, probe, meter, time.monotonic)
        except BaseException as err:  # sys.exit() in a node ends its trial, not the worker
            told = "".join(traceback.format_exception_only(err)).strip()
            return Executed(Outcome.FAILED, Reason.NODE_RAISED, cut(told), metrics=meter.metrics())
        finally:
            meter.retire()
            probe.retire()
            if self._home is not None:
                _stop_timers()
                # The attempt's folder may be gone when the next workflow is built.
                os.fchdir(self._home)

    def close(self) -> None:
        """Close the worker's checkpoint file."""
        if hasattr(self, "_adapter"):
            self._adapter.close()


def serve(sock: socket.socket, slot: StopFlag, parts: Parts) -> NoReturn:
    """Answer messages in this process until the runner closes the socket; never returns."""
    worker = Worker(slot, parts, owns_process=True)
    while (message := receive_frame(sock)) is not None:
        # Code under test may have closed any of these, by accident or not.
        with contextlib.suppress(OSError):
            os.write(1, OUTPUT_MARK)
        reply = worker.answer(message)
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        try:
            send_frame(sock, reply)
        except NotAFrame as err:
            send_frame(sock, tellable(reply, err))
    worker.close()
    os._exit(0)


def tellable(reply: Mapping[str, Any], err: NotAFrame) -> Mapping[str, Any]:
    """Return what to answer instead of a reply that cannot be sent."""
    if reply["op"] != "ended":
        raise err
    text = f"what the attempt reported cannot be passed on: {err}; report less, or plain values"
    return {**reply, "executed": Executed(Outcome.FAILED, Reason.STATE_NOT_SERIALISABLE, text)}


def _setup_from(document: Mapping[str, Any]) -> Setup:
    metering = document.get("metering")
    if metering is not None:
        metering = Metering(Allowance(**metering["allowed"]), tuple(metering["always"]))
    return Setup(**{**document, "metering": metering})


def _helpers() -> frozenset[int]:
    """Return the processes this one has besides itself; collects those that only wait to be collected.

    What a trial adds to them it left behind. What was there before, such as a factory's own helper, may stay.
    """
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return frozenset()
    return frozenset(children(os.getpid()))


def _output_streams() -> list[tuple[int, int] | None]:
    """Return what standard output and error lead to, to tell whether a trial closed or redirected them."""
    found: list[tuple[int, int] | None] = []
    for fd in (1, 2):
        try:
            status = os.fstat(fd)
        except OSError:
            found.append(None)
        else:
            found.append((status.st_dev, status.st_ino))
    return found


def _stop_timers() -> None:
    """Stop the timers that a trial may have left running: their signals would end the next one."""
    for timer in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF):
        signal.setitimer(timer, 0)
