"""The workflow: ``load -> convert -> reconcile -> post``. ``reconcile`` raises if the sums do not agree."""

from __future__ import annotations

import operator
from decimal import ROUND_HALF_UP, Decimal
from typing import TYPE_CHECKING, Annotated, Any

from langgraph.graph import START, StateGraph
from typing_extensions import TypedDict

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_CENT = Decimal("0.01")


class Statement(TypedDict):
    """What a case gives: one payment a line, the rate to euros, and what the bank says it all makes."""

    lines: str
    rate: str
    bankTotal: str


class State(Statement, total=False):
    """The statement, its amounts before and after, and which steps ran."""

    amounts: list[str]
    euros: list[str]
    total: str
    posted: int
    steps: Annotated[list[str], operator.add]


class DoesNotReconcile(ValueError):
    """The converted payments are not worth what the bank says."""


def build(variants: Mapping[str, str]) -> StateGraph[Any, Any, Any, Any]:
    """Return the import with the chosen way of rounding. Raises ``KeyError`` for one that is not there."""
    rounded = ROUNDING[variants["rounding"]]

    def convert(state: State) -> dict[str, Any]:
        exact = [Decimal(amount) * Decimal(state["rate"]) for amount in state["amounts"]]
        euros = rounded(exact)
        return {"euros": [str(one) for one in euros], "total": str(sum(euros)), "steps": ["convert"]}

    graph: StateGraph[Any, Any, Any, Any] = StateGraph(State)
    graph.add_sequence([("load", load), ("convert", convert), ("reconcile", reconcile), ("post", post)])
    graph.add_edge(START, "load")
    return graph


def load(state: State) -> dict[str, Any]:
    """Read the amounts out of the statement: the step that is slow and dear, and that nobody wants to run twice."""
    return {"amounts": [line.rpartition(" ")[2] for line in state["lines"].splitlines()], "steps": ["load"]}


def reconcile(state: State) -> dict[str, Any]:
    """Compare with the bank's own sum. Raises ``DoesNotReconcile``."""
    if (off := Decimal(state["total"]) - Decimal(state["bankTotal"])) != 0:
        raise DoesNotReconcile(f"{state['total']} is off by {off} from the bank's {state['bankTotal']}")
    return {"steps": ["reconcile"]}


def post(state: State) -> dict[str, Any]:
    """Enter the payments into the books, which cannot be undone."""
    return {"posted": len(state["euros"]), "steps": ["post"]}


def round_each(exact: Sequence[Decimal]) -> list[Decimal]:
    """Round every payment by itself; what is lost adds up."""
    return [one.quantize(_CENT, ROUND_HALF_UP) for one in exact]


def round_carrying(exact: Sequence[Decimal]) -> list[Decimal]:
    """Carry what rounding one payment loses on to the next."""
    rounded, carried = [], Decimal(0)
    for one in exact:
        rounded.append((one + carried).quantize(_CENT, ROUND_HALF_UP))
        carried += one - rounded[-1]
    return rounded


ROUNDING: dict[str, Callable[[Sequence[Decimal]], list[Decimal]]] = {"each": round_each, "carry": round_carrying}
"""The variants of the dimension ``rounding``."""
