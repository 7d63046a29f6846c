"""What pytest calls. It loads this in every run where Batchyard is installed, so nothing heavy is imported here."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from batchyard.pytest_batch.result import BatchResult, Cell
    from batchyard.pytest_batch.session import BatchTests

_MARKER = "batchtest"
_FAIL, _XFAIL = "fail", "xfail"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("batchyard", "Batchyard")
    group.addoption(
        "--batchtest",
        action="append",
        default=[],
        metavar="FILE",
        help="run this BatchTest: a test for each combination and case, and one for the verdict; repeatable. "
        "Without paths only these are run",
    )
    group.addoption(
        "--batchtest-cells",
        choices=[_FAIL, _XFAIL],
        default=_FAIL,
        help="what a combination that did not pass a case is; xfail leaves it to the verdict to fail the run",
    )
    group.addoption(
        "--batchtest-store",
        metavar="PATH",
        default="",
        help="where results are kept for `batchyard show`; default: a store in pytest's temporary folder",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known, and collect the files that were named."""
    config.addinivalue_line(
        "markers", f"{_MARKER}(file): the BatchTest, relative to this file, that the batchtest fixtures are about"
    )
    files = config.getoption("--batchtest")
    if not files:
        return
    if config.args_source is not config.ArgsSource.ARGS:
        config.args[:] = []
    config.args += [file for file in files if file not in config.args]


def _batch_tests(config: pytest.Config) -> BatchTests:
    """Return the session's batches; made when the first one is asked for."""
    from batchyard.pytest_batch.session import KEY, BatchTests

    if KEY not in config.stash:
        config.stash[KEY] = BatchTests(config)
    return config.stash[KEY]


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Return a collector for a file that was named as a BatchTest."""
    named = parent.config.getoption("--batchtest")
    if not named:
        return None
    # Relative to where pytest was called, also in a worker of xdist.
    called_in = parent.config.invocation_params.dir
    if file_path not in {(called_in / file).resolve() for file in named} | {called_in / file for file in named}:
        return None
    from batchyard.pytest_batch.items import BatchFile

    collector: pytest.Collector = BatchFile.from_parent(parent, path=file_path, batches=_batch_tests(parent.config))
    return collector


def _marked(node: pytest.Item) -> Path:
    """Return the file that a test's marker names. Raises ``UsageError`` if it names none."""
    marker = node.get_closest_marker(_MARKER)
    if marker is None:
        raise pytest.UsageError(f'{node.nodeid}: needs @pytest.mark.{_MARKER}("FILE")')
    if len(marker.args) != 1 or marker.kwargs or not isinstance(marker.args[0], str | PathLike):
        raise pytest.UsageError(f'{node.nodeid}: write @pytest.mark.{_MARKER}("FILE")')
    file: Path = (node.path.parent / marker.args[0]).resolve()
    return file


def _wrong_with(node: pytest.Item) -> str:
    """Return what is wrong with a test's marker or the file it names; that is this test's error, not the session's."""
    try:
        return _batch_tests(node.config).wrong_with(_marked(node))
    except pytest.UsageError as err:
        return str(err)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make a test with ``batchtest_cell`` one for each combination and case."""
    if "batchtest_cell" not in metafunc.fixturenames:
        return
    item = metafunc.definition
    if _wrong_with(item):  # one test, which says so
        metafunc.parametrize("batchtest_cell", [("", "")], indirect=True, ids=["not-planned"])
        return
    cells = _batch_tests(metafunc.config).plan(_marked(item)).cells
    metafunc.parametrize("batchtest_cell", cells, indirect=True, ids=["-".join(cell) for cell in cells])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give the test that may have to wait for a whole batch the time for it, and keep a batch's tests together."""
    for item in items:
        if item.get_closest_marker(_MARKER) is None:
            continue
        file: Path | None = getattr(item, "batch_file", None)
        if file is None and not _wrong_with(item):
            file = _marked(item)
        if file is not None:
            _batch_tests(config).mark(item, file)


@pytest.fixture
def batchtest(request: pytest.FixtureRequest) -> BatchResult:
    """The result of the BatchTest that the test's marker names; the batch is run once in the session."""
    if wrong := _wrong_with(request.node):
        pytest.fail(wrong, pytrace=False)
    return _batch_tests(request.config).result(_marked(request.node))


@pytest.fixture
def batchtest_cell(request: pytest.FixtureRequest, batchtest: BatchResult) -> Cell:
    """What one combination made of one case; the test is run for each."""
    return batchtest.cell(*request.param)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a cell that did not pass into an expected failure, if that was asked for."""
    report = yield
    if item.config.getoption("--batchtest-cells") == _XFAIL and getattr(item, "cell", None) and report.failed:
        report.outcome = "skipped"
        report.wasxfail = "the verdict decides"
    return report
