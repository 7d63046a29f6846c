"""The spec's part on how much trials may use: steps, tokens and cost, and what tokens cost.

Not for time: that is ``deadlines``.
"""

from typing import Annotated

from pydantic import Field, StringConstraints

from batchyard.model.spec_base import SpecModel
from batchyard.model.usage import Allowance

_MOST = 1_000_000_000_000
_Count = Annotated[int, Field(ge=1, le=_MOST)]
_Money = Annotated[float, Field(gt=0, le=_MOST)]
_ModelName = Annotated[str, StringConstraints(min_length=1, max_length=253)]


class Budget(SpecModel):
    """How much may be used; what is left out has no limit."""

    steps: _Count | None = Field(
        default=None, description="Runs of top-level nodes, and steps that the workflow reports."
    )
    tokens: _Count | None = Field(default=None, description="Tokens of language models, read and written.")
    cost: _Money | None = Field(default=None, description="Money, in the currency of the prices and reports.")

    def allowance(self) -> Allowance:
        """Return the budget as plain data."""
        return Allowance(self.steps, self.tokens, self.cost)


class Price(SpecModel):
    """What a model's tokens cost."""

    input_per_million: float = Field(ge=0, le=_MOST, description="Cost of a million tokens that the model reads.")
    output_per_million: float = Field(ge=0, le=_MOST, description="Cost of a million tokens that the model writes.")


class Budgets(SpecModel):
    """What trials may use. As soon as it is there, steps and LangChain models' tokens are counted."""

    trial: Budget = Field(default_factory=Budget, description="One attempt of a trial.")
    batch: Budget = Field(default_factory=Budget, description="All attempts of the batch together.")
    prices: dict[_ModelName, Price] = Field(
        default_factory=dict,
        max_length=100,
        description="By the beginning of a model's name, the longest that fits; * is any other model.",
    )
