"""Which nodes a LangGraph checkpoint sets off, read from the channels that it holds; no graph is needed.

Not for what LangGraph itself runs next: it looks at the graph.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_ONE, _ALL, _SENT = "branch:to:", "join:", "__pregel_tasks"


def triggered(values: Mapping[str, Any]) -> list[str]:
    """Return the nodes that run after a checkpoint with these channels: a channel has a value if it sets off its node.

    A join holds who has arrived: all of those that its name lists, or nobody waits no longer.
    """
    found = [send.node for send in values.get(_SENT) or ()]
    for name, value in values.items():
        if name.startswith(_ONE):
            if _finished(value):
                found.append(name.removeprefix(_ONE))
        elif name.startswith(_ALL):
            starts, _, end = name.removeprefix(_ALL).rpartition(":")
            arrived = value[0] if isinstance(value, tuple) else value
            if _finished(value) and len("+".join(arrived)) == len(starts):
                found.append(end)
    return list(dict.fromkeys(found))


def _finished(value: Any) -> bool:
    """Return whether a deferred node, whose channels say so beside their value, may run."""
    return not isinstance(value, tuple) or bool(value[1])
