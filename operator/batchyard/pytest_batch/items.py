"""A BatchTest's file as pytest collects it: a test for each combination and case, and one for the verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from batchyard.model.errors import SpecInvalid

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator
    from pathlib import Path

    from batchyard.pytest_batch.result import BatchResult
    from batchyard.pytest_batch.session import BatchTests

VERDICT = "verdict"


class BatchFailed(Exception):
    """Something of a batch did not pass; the text is all that is to be shown."""


class BatchFile(pytest.File):
    """Collects one BatchTest."""

    def __init__(self, *, batches: BatchTests, **kwargs: Any) -> None:
        """Keep where the plan and the result are had from."""
        super().__init__(**kwargs)
        self.batches = batches

    def collect(self) -> Iterator[pytest.Item]:
        """Yield the tests. Raises ``CollectError`` with everything that is wrong with the file."""
        try:
            cells = self.batches.plan(self.path).cells
        except SpecInvalid as err:
            raise self.CollectError(str(err)) from err
        for cell in cells:
            yield CellItem.from_parent(self, name="/".join(cell), cell=cell)
        yield VerdictItem.from_parent(self, name=VERDICT)


class _BatchItem(pytest.Item):
    """A test of one batch."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_marker("batchtest")

    @property
    def batch_file(self) -> Path:
        """Return the file that the batch is in."""
        return self.path

    def result(self) -> BatchResult:
        """Return what came of the batch."""
        assert isinstance(self.parent, BatchFile)  # noqa: S101
        return self.parent.batches.result(self.path)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Return a failure of the batch as it reads, and any other as pytest shows it."""
        if isinstance(excinfo.value, BatchFailed):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[os.PathLike[str], int | None, str]:
        """Return where the test is from."""
        return self.path, None, self.name


class CellItem(_BatchItem):
    """Whether one combination passed one case, in every repeat."""

    def __init__(self, *, cell: tuple[str, str], **kwargs: Any) -> None:
        """Keep the combination and the case."""
        super().__init__(**kwargs)
        self.cell = cell

    def runtest(self) -> None:
        """Raise ``BatchFailed`` with the node and the reason of each trial that did not pass."""
        result = self.result()
        found = result.cell(*self.cell)
        if not found.passed:
            why = "" if found.trials else f"\n{result}"
            raise BatchFailed(f"{found}{why}")


class VerdictItem(_BatchItem):
    """Whether the batch succeeded and its gate passed."""

    def runtest(self) -> None:
        """Raise ``BatchFailed`` with the verdict and what the gate said."""
        result = self.result()
        if not result.passed:
            raise BatchFailed(str(result))
        self.add_report_section("call", "batchyard", str(result))
