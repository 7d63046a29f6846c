"""Our checkpointer passes the conformance suite that LangGraph publishes, every capability of it."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

import pytest
from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.checkpoint.conformance.capabilities import Capability
from langgraph.checkpoint.conformance.report import ProgressCallbacks

from batchyard.workflows.checkpoints import SqliteCheckpoints

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.mark.parametrize("capability", list(Capability))
@pytest.mark.proves("checkpointers")
def test_the_checkpointer_has_the_capability_as_langgraph_means_it(capability: Capability, tmp_path: Path) -> None:
    numbers, failed = itertools.count(), list[str]()

    @checkpointer_test(name="SqliteCheckpoints")
    async def ours() -> AsyncIterator[SqliteCheckpoints]:
        made = SqliteCheckpoints(tmp_path / f"{next(numbers)}.db")
        yield made
        made.close()

    def note(_capability: str, name: str, passed: bool, error: str | None) -> None:
        if not passed:
            failed.append(f"{name}: {error}")

    report = asyncio.run(
        validate(ours, capabilities={capability.value}, progress=ProgressCallbacks(on_test_result=note))
    )

    result = report.results[capability.value]
    assert failed == []
    assert result.detected
    assert result.tests_passed > 0
