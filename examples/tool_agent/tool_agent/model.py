"""A stand-in for a language model: it reads the conversation, its orders and its tools, and says what comes next.

It is deterministic and needs no key, so that the example runs anywhere. Put a real chat model in its place, and nothing
else changes. Like a real one it follows its orders to the letter, and like a small one it cannot reckon: without a tool
for sums it rounds every price to whole coins first.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.tools import BaseTool

_WANTED = re.compile(r"(\d+) ([a-z]+?)s?\b")
_ORDER = re.compile(r"order ([A-Z]-\d+)")


class Call(NamedTuple):
    """A tool that the model wants called."""

    tool: str
    args: dict[str, Any]


class DeskModel(BaseChatModel):
    """Answers questions on prices and refunds. ``tool_names`` is what it may call."""

    tool_names: tuple[str, ...] = ()

    @property
    def _llm_type(self) -> str:
        return "desk"

    def bind_tools(self, tools: Sequence[BaseTool], **_: Any) -> DeskModel:  # type: ignore[override]
        """Return the model that may call these tools."""
        return DeskModel(tool_names=tuple(tool.name for tool in tools))

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        said = self._turn(str(messages[0].content), str(messages[1].content), _results(messages))
        if isinstance(said, str):
            message = AIMessage(said)
        else:
            at = len(messages)
            calls = [{"name": call.tool, "args": call.args, "id": f"{at}-{n}"} for n, call in enumerate(said)]
            message = AIMessage("", tool_calls=calls)
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _turn(self, orders: str, question: str, results: dict[str, list[ToolMessage]]) -> str | list[Call]:
        if order := _ORDER.search(question):
            return _refund(order[1], results)
        wanted = [(item, int(count)) for count, item in _WANTED.findall(question)]
        if "price" not in results:
            return [Call("price", {"item": item}) for item, _ in wanted]
        for (item, _), found in zip(wanted, results["price"], strict=True):
            if found.status == "error":
                return f"We do not sell {item}s."
        if "stock" in orders:
            if "stock" not in results:
                return [Call("stock", {"item": item}) for item, _ in wanted]
            for (item, count), found in zip(wanted, results["stock"], strict=True):
                if int(found.text) < count:
                    return f"We have only {found.text} {item}s."
        return self._sum([float(found.text) for found in results["price"]], [count for _, count in wanted], results)

    def _sum(self, prices: list[float], counts: list[int], results: dict[str, list[ToolMessage]]) -> str | list[Call]:
        if "add_up" in results:
            return f"That is {float(results['add_up'][0].text):.2f}."
        if "add_up" in self.tool_names:
            return [Call("add_up", {"prices": prices, "counts": counts})]
        return f"That is {sum(round(one) * count for one, count in zip(prices, counts, strict=True)):.2f}."


def _refund(order: str, results: dict[str, list[ToolMessage]]) -> str | list[Call]:
    if "pay_back" not in results:
        return [Call("pay_back", {"order": order})]
    found = results["pay_back"][0]
    if found.status == "error":
        return f"We know no order {order}."
    return f"Order {order} is {found.text}."


def _results(messages: Sequence[BaseMessage]) -> dict[str, list[ToolMessage]]:
    found: dict[str, list[ToolMessage]] = {}
    for message in messages:
        if isinstance(message, ToolMessage):
            found.setdefault(str(message.name), []).append(message)
    return found
