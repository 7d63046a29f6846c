"""Every invalid file of ``tests/data/invalid`` is refused, with each of its faults named and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchyard.engine.sources import load
from batchyard.model.errors import SpecInvalid

FOLDER = Path(__file__).parent.parent / "data" / "invalid"
FILES = sorted(FOLDER.glob("*.yaml"))


def expected_paths(file: Path) -> set[str]:
    first = file.read_bytes().split(b"\n")[0].decode()
    assert first.startswith("# expect: "), f"{file.name} does not say what is expected"
    return {path.strip() for path in first.removeprefix("# expect: ").split(";")}


def refused(file: Path) -> SpecInvalid:
    with pytest.raises(SpecInvalid) as caught:
        load(file)
    return caught.value


def test_the_table_is_there() -> None:
    assert len(FILES) >= 45


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_invalid_file_is_refused_with_exactly_its_faults(file: Path) -> None:
    error = refused(file)

    assert {fault.path for fault in error.faults} == expected_paths(file)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_fault_says_once_what_is_wrong_and_what_to_do(file: Path) -> None:
    faults = refused(file).faults

    assert len({fault.path for fault in faults}) == len(faults)
    for fault in faults:
        assert fault.message
        assert fault.remedy
        assert len(fault.value) <= 60 + len(str(FOLDER))
        assert "\n" not in str(fault)


def test_secret_values_are_not_in_the_message() -> None:
    message = str(refused(FOLDER / "secrets-are-not-shown.yaml"))

    assert "TOKEN" in message
    assert "4242" not in message
    assert "hunter2" not in message
