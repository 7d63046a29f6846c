"""The example ``docs_search`` with luck in it: what was retrieved is shaken before it is read, as a model's answer is.

The luck of a trial hangs on its variants, ``seed`` and ``arm`` among them, and on the question: two arms of one
combination are equally good.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from docs_search import graph as example

if TYPE_CHECKING:
    from collections.abc import Mapping

_SHAKEN = 0.25


def build(variants: Mapping[str, str]) -> example.Graph:
    """Return the example's graph for its own variants, with one more node."""
    built = example.build({name: variants[name] for name in ("retriever", "reader")})

    def shake(state: example.State) -> example.State:
        luck = random.Random(f"{sorted(variants.items())} {state['question']}")  # noqa: S311 - no secret
        found = [(one["score"] * luck.lognormvariate(0, _SHAKEN), one) for one in state["candidates"]]
        return {"candidates": [one for _, one in sorted(found, key=lambda each: -each[0])]}

    built.edges.remove(("retrieve", "select"))
    built.add_node("shake", shake)
    built.add_edge("retrieve", "shake")
    built.add_edge("shake", "select")
    return built
