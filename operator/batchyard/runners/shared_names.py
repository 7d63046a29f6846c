"""Whether what ``workflow.sharedPrefix`` names is there: its nodes in the workflow, its values in their modules.

Not for what is shared in the end (``marks``).
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from batchyard.engine.marks import GraphMarks, ShareableNode
from batchyard.model.errors import Fault
from batchyard.model.faults import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from batchyard.model.trial import Combination
    from batchyard.runners.check import AskedWorker

_PLACE = "spec.workflow.sharedPrefix.nodes"


class SharedNames:
    """What workers said of the declared nodes. A name is wrong only if no combination's workflow has such a node."""

    def __init__(self, declared: Sequence[ShareableNode]) -> None:
        """Nobody was asked yet."""
        self._declared = declared
        self._nodes: dict[str, None] = {}
        self._unread: dict[str, str] = {}

    def ask(self, worker: AskedWorker, combinations: Sequence[Combination]) -> None:
        """Ask a worker that has built the workflows of these combinations, no more often than is needed."""
        for number, combination in enumerate(combinations):
            if number and all(node.name in self._nodes for node in self._declared):
                return
            # Where the values are is the same for all of them.
            nodes = [asdict(node) for node in self._declared] if number == 0 else []
            variants = dict(combination.variants)
            told = worker.ask({"op": "mark", "variants": variants, "nodes": nodes, "environment": ""})
            found = GraphMarks(**told["found"])
            self._nodes.update(dict.fromkeys(found.nodes))
            self._unread |= found.unread

    def faults(self) -> Iterator[Fault]:
        """Yield what is named and is not there."""
        for number, node in enumerate(self._declared):
            if node.name not in self._nodes:
                remedy = did_you_mean(node.name, list(self._nodes))
                yield Fault(f"{_PLACE}[{number}].name", node.name, "is no node of the workflow", remedy)
            for at, name in enumerate(node.reads):
                if name in self._unread:
                    yield Fault(f"{_PLACE}[{number}].reads[{at}]", "", self._unread[name])
