"""Counts what LangChain chat models say that they used, without the workflow's doing.

Not for models that are called past LangChain: of those the workflow tells by ``batchyard.report``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage

from batchyard import reporting

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from langchain_core.outputs import LLMResult

    from batchyard.reporting import Listener

Prices: TypeAlias = Mapping[str, tuple[float, float]]
"""By the beginning of a model's name: what a million tokens cost that it reads, and that it writes."""

ANY_OTHER = "*"
UNPRICED = "unpriced_tokens"
_MILLION = 1e6


def counting(prices: Prices | None) -> Sequence[BaseCallbackHandler]:
    """Return what a run's config needs for its models to be counted: nothing if they are not, or nobody listens."""
    listener = reporting.listening()
    return () if prices is None or listener is None else (ModelUsage(listener, prices),)


class ModelUsage(BaseCallbackHandler):
    """Tells a listener what each chat model call used, once it is over. Called from any thread."""

    run_inline = True
    ignore_chain = ignore_agent = ignore_retriever = ignore_retry = ignore_custom_event = True

    def __init__(self, listener: Listener, prices: Prices) -> None:
        """Tell ``listener``."""
        super().__init__()
        self._listener, self._prices = listener, prices

    def on_llm_end(self, response: LLMResult, **kwargs: Any) -> None:
        """Count the call."""
        for message in _messages(response):
            self._count(message)

    def _count(self, message: AIMessage) -> None:
        usage = message.usage_metadata
        if usage is None:
            return
        counted = {"tokens": float(usage["total_tokens"])}
        if self._prices:
            price = price_of(_model(message), self._prices)
            if price is None:
                counted[UNPRICED] = counted["tokens"]
            else:
                counted["cost"] = (usage["input_tokens"] * price[0] + usage["output_tokens"] * price[1]) / _MILLION
        self._listener.count(counted)


def price_of(model: str, prices: Prices) -> tuple[float, float] | None:
    """Return the price whose name is the longest beginning of the model's, else that of any other model."""
    fitting = [name for name in prices if model.startswith(name)]
    return prices[max(fitting, key=len)] if fitting else prices.get(ANY_OTHER)


def _messages(response: LLMResult) -> Iterator[AIMessage]:
    for choices in response.generations:
        # Of several choices each one has the usage of the whole call.
        message = getattr(choices[0], "message", None) if choices else None
        if isinstance(message, AIMessage):
            yield message


def _model(message: AIMessage) -> str:
    found = message.response_metadata
    return str(found.get("model_name") or found.get("model") or "")
