"""Kubernetes quantities of memory and processors."""

from __future__ import annotations

import pytest

from batchyard.model.quantity import to_bytes, to_cpus


@pytest.mark.parametrize(
    ("quantity", "expected"),
    [
        ("0", 0),
        ("1024", 1024),
        ("1k", 1000),
        ("1Ki", 1024),
        ("512Mi", 512 * 1024**2),
        ("512M", 512_000_000),
        ("4Gi", 4 * 1024**3),
        ("2T", 2 * 1000**4),
        ("1Ei", 1024**6),
        ("1E", 1000**6),
        ("1.5Gi", 3 * 1024**3 // 2),
        (".5Ki", 512),
        ("5.", 5),
        ("1e3", 1000),
        ("1E3", 1000),
        ("12e-1", 1),
        ("1500m", 1),
        ("128974848000m", 128_974_848),
    ],
)
def test_a_quantity_is_read_as_kubernetes_reads_it(quantity: str, expected: int) -> None:
    assert to_bytes(quantity) == expected


@pytest.mark.parametrize(
    "quantity",
    ["", "Mi", "1Kb", "1 Gi", " 1Gi", "-1Gi", "+1Gi", "1gi", "1K", "ten", "1Mii", "0x10", "1_000", "٤Gi", "."],
)
def test_what_is_no_quantity_is_refused_with_an_example(quantity: str) -> None:
    with pytest.raises(ValueError, match="write for example 512Mi"):
        to_bytes(quantity)


@pytest.mark.parametrize(("quantity", "expected"), [("2", 2.0), ("500m", 0.5), ("0.25", 0.25), ("1500m", 1.5)])
def test_processors_may_be_parts_of_one(quantity: str, expected: float) -> None:
    assert to_cpus(quantity) == expected


def test_what_is_no_quantity_of_processors_is_refused() -> None:
    with pytest.raises(ValueError, match="'two' is no quantity"):
        to_cpus("two")
