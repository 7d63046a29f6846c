"""Kubernetes quantities of memory (``512Mi``, ``2G``) as bytes, of processors (``500m``, ``2``) as a number.

Format: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
"""

from __future__ import annotations

import re
from decimal import Decimal

_QUANTITY = re.compile(r"^([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(m|[eE][+-]?[0-9]+|[kMGTPE]i?|Ki)?$")
_FACTORS = {
    **{suffix: Decimal(1000) ** power for power, suffix in enumerate(["", "k", "M", "G", "T", "P", "E"])},
    **{suffix: Decimal(1024) ** power for power, suffix in enumerate(["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"], start=1)},
    "m": Decimal("0.001"),
}


def to_bytes(quantity: str) -> int:
    """Return the bytes that ``quantity`` stands for, rounded down. Raises ``ValueError`` if it is none."""
    return int(_number(quantity))


def to_cpus(quantity: str) -> float:
    """Return the processors that ``quantity`` stands for. Raises ``ValueError`` if it is none."""
    return float(_number(quantity))


def _number(quantity: str) -> Decimal:
    found = _QUANTITY.match(quantity)
    if found is None:
        raise ValueError(f"{quantity!r} is no quantity; write for example 512Mi or 2G")
    number, suffix = found.group(1), found.group(2) or ""
    if suffix[:1] in {"e", "E"} and len(suffix) > 1 and suffix != "Ei":
        return Decimal(number + suffix)
    return Decimal(number) * _FACTORS[suffix]
