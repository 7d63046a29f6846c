"""Fixtures of the unit tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from leader_bench import leading_in

if TYPE_CHECKING:
    from pathlib import Path

    from leader_bench import Lead


@pytest.fixture
def lead(tmp_path: Path) -> Lead:
    """What leads orders on scripted workers."""
    return leading_in(tmp_path)
