"""Workflows that use tokens, as the variant ``act`` says: by reports and by LangChain models, within bounds and not.

Some of them ignore every stop: never run those in the test's own process.
"""

from __future__ import annotations

import ctypes
import signal
import threading
import time
from typing import TYPE_CHECKING, Any, NoReturn

from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt
from typing_extensions import TypedDict

import batchyard

if TYPE_CHECKING:
    from collections.abc import Mapping

READ, WRITTEN = 30, 12
"""Tokens of each answer of a model."""

_EVER = 1_000_000
_SIG_IGN = 1


class State(TypedDict, total=False):
    text: str
    metrics: dict[str, float]


def model(name: str = "fake-large-2") -> GenericFakeChatModel:
    """Return a model without an end that says what each answer used."""

    def answers() -> Any:
        while True:
            usage = {"input_tokens": READ, "output_tokens": WRITTEN, "total_tokens": READ + WRITTEN}
            yield AIMessage("yes", usage_metadata=usage, response_metadata={"model_name": name})

    return GenericFakeChatModel(messages=answers())


def build(variants: Mapping[str, str]) -> StateGraph[Any, Any, Any, Any]:
    """Return ``begin -> act``; acts that go on come again."""
    act = variants["act"]
    graph: StateGraph[Any, Any, Any, Any] = StateGraph(State)
    graph.add_node("begin", lambda state: {"text": "begun"})
    graph.add_node("act", ACTS[act])
    graph.add_edge(START, "begin")
    graph.add_edge("begin", "act")
    graph.add_edge("act", "act" if act.startswith("goes_on") else END)
    return graph


def _modest(state: State) -> None:
    batchyard.report(tokens=400, cost=0.25, retrieved=3)
    thread = threading.Thread(target=batchyard.report, kwargs={"tokens": 100, "retrieved": 2})
    thread.start()
    thread.join()


def _states(state: State) -> State:
    return {"metrics": {"tokens": 70, "depth": 2}}


def _asks(state: State) -> State:
    return {"text": str(model().invoke("well?").content)}


def _goes_on(state: State) -> None:
    return None


def _goes_on_and_spends(state: State) -> None:
    batchyard.report(tokens=450)


def _goes_on_asking(state: State) -> State:
    return _asks(state)


def _spends_too_much_at_the_end(state: State) -> None:
    batchyard.report(cost=12.5)


def _spends_too_much_and_asks(state: State) -> State:
    batchyard.report(tokens=1300)
    return {"text": interrupt("more?")}


def _burns_and_ignores_stops(state: State) -> NoReturn:
    _ignore_polite_signals()
    while True:
        batchyard.report(tokens=300)
        threading.Event().wait(0.01)


def _reports_and_takes_its_time(state: State) -> None:
    until = time.monotonic() + 4
    while time.monotonic() < until:
        batchyard.report(looked=1)
        threading.Event().wait(0.05)


def _is_stuck_in_c(state: State) -> None:
    # PyDLL keeps the GIL during the call, so no other thread of this process, and no signal handler, ever runs.
    ctypes.PyDLL(None).sleep(_EVER)


def _is_stuck_and_ignores_stops(state: State) -> NoReturn:
    _ignore_polite_signals()
    while True:
        threading.Event().wait(_EVER)


def _stops_itself(state: State) -> None:
    signal.raise_signal(signal.SIGSTOP)


def _ignore_polite_signals() -> None:
    for polite in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        ctypes.CDLL(None).signal(int(polite), ctypes.c_void_p(_SIG_IGN))


ACTS: Mapping[str, Any] = {
    "modest": _modest,
    "states": _states,
    "asks": _asks,
    "goes_on": _goes_on,
    "goes_on_and_spends": _goes_on_and_spends,
    "goes_on_asking": _goes_on_asking,
    "spends_too_much_at_the_end": _spends_too_much_at_the_end,
    "spends_too_much_and_asks": _spends_too_much_and_asks,
    "burns_and_ignores_stops": _burns_and_ignores_stops,
    "reports_and_takes_its_time": _reports_and_takes_its_time,
    "is_stuck_in_c": _is_stuck_in_c,
    "is_stuck_and_ignores_stops": _is_stuck_and_ignores_stops,
    "stops_itself": _stops_itself,
}
