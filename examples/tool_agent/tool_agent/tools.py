"""The desk's tools: what things cost, how many there are, sums, and paying back, for which a person may be asked."""

from __future__ import annotations

from typing import Any

from langchain_core.tools import BaseTool, ToolException, tool
from langgraph.types import interrupt

PRICES = {"mug": 4.00, "cup": 3.50, "teapot": 12.75, "kettle": 30.00, "tray": 8.25, "spoon": 1.20}
STOCK = {"mug": 40, "cup": 25, "teapot": 9, "kettle": 2, "tray": 0, "spoon": 300}
PAID = {"A-17": 20.0, "B-20": 80.0, "C-03": 64.5}

MOST_WITHOUT_ASKING = 50.0
"""What the desk may pay back by itself."""


@tool
def price(item: str) -> float:
    """Return what one piece of an item costs."""
    if item not in PRICES:
        raise ToolException(f"no {item} in the catalogue")
    return PRICES[item]


@tool
def stock(item: str) -> int:
    """Return how many pieces of an item there are."""
    if item not in STOCK:
        raise ToolException(f"no {item} in the catalogue")
    return STOCK[item]


@tool
def add_up(prices: list[float], counts: list[int]) -> float:
    """Return the sum of prices times counts."""
    return round(sum(one * count for one, count in zip(prices, counts, strict=True)), 2)


@tool
def pay_back(order: str) -> str:
    """Pay an order back, if a person agrees where much was paid."""
    if order not in PAID:
        raise ToolException(f"no order {order}")
    if PAID[order] > MOST_WITHOUT_ASKING:
        said: dict[str, Any] = interrupt(f"Pay {PAID[order]:.2f} back for order {order}?")
        if not said["approve"]:
            return f"refused: {said['because']}"
    return "paid back"


TOOLS: dict[str, list[BaseTool]] = {
    "catalogue": [price, stock, pay_back],
    "calculator": [price, stock, pay_back, add_up],
}
"""The variants of the dimension ``tools``."""
