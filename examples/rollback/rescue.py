"""Rescue a run whose third step fails: go back to a node boundary and try again, or fork from one with another variant.

    python examples/rollback/rescue.py

What ran before the boundary does not run again. The same controller runs every trial of a batch.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from bank_import.graph import build

from batchyard.engine.controller import ExecutionController, RunSettings
from batchyard.workflows.langgraph import LangGraphStateAdapter

if TYPE_CHECKING:
    from batchyard.engine.ports import StopRequest

CASES = Path(__file__).with_name("cases.yaml")


class Watcher:
    """Hears which nodes run."""

    def __init__(self) -> None:
        self.ran: list[str] = []

    def node_started(self, node: str, task: str) -> None:
        """Note the node."""
        self.ran.append(node)

    def node_finished(self, node: str, task: str) -> None:
        """Hear it, and do nothing."""

    def on_stop(self, stop: StopRequest) -> None:
        """Hear how the run could be stopped, which nobody wants here."""


def statement(name: str) -> dict[str, Any]:
    """Return the input of the case of this name."""
    cases = yaml.safe_load(CASES.read_text(encoding="utf-8"))
    return dict(next(case["input"] for case in cases if case["name"] == name))


def rescue(controller: ExecutionController) -> None:
    """Run the import with a way of rounding that fails, and bring it to its end in two other ways."""
    controller.create("import", {"rounding": "each"}, statement("many-small-payments"))
    tell(controller, "import", run(controller, "import"))

    # Fork from where `load` had ended, with another variant: the source stays as it is.
    controller.fork("import", "import-carrying", node="load", variants={"rounding": "carry"})
    tell(controller, "import-carrying", resume(controller, "import-carrying"))

    # Go back to where `convert` had ended, mend the state by hand, and try `reconcile` again.
    controller.roll_back("import", node="convert")
    controller.edit("import", {"euros": ["0.91", "0.90", "0.91", "0.90"], "total": "3.62"})
    tell(controller, "import", resume(controller, "import"))


def run(controller: ExecutionController, execution: str) -> list[str]:
    """Run a new execution and return the nodes that ran."""
    watcher = Watcher()
    controller.run(execution, watcher)
    return watcher.ran


def resume(controller: ExecutionController, execution: str) -> list[str]:
    """Go on with an execution and return the nodes that ran."""
    watcher = Watcher()
    controller.resume(execution, watcher)
    return watcher.ran


def tell(controller: ExecutionController, execution: str, ran: list[str]) -> None:
    """Print what ran and how it ended."""
    now = controller.get(execution)
    state = controller.state(execution)
    what = now.error or f"{state['posted']} payments worth {state['total']} posted"
    sys.stdout.write(f"{execution}: ran {', '.join(ran)}; {now.status}: {what}\n")


def main() -> None:
    """Rescue one import with checkpoints in a folder that is removed afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        adapter = LangGraphStateAdapter(build, Path(folder) / "checkpoints.db")
        try:
            rescue(ExecutionController(adapter, RunSettings(recursion_limit=20, durability="sync")))
        finally:
            adapter.close()


if __name__ == "__main__":
    main()
