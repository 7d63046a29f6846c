"""What every part of the spec is built of: the strict base model and the constrained kinds of value.

Not for any field of the contract; those stand in the other ``spec`` modules.
"""

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from batchyard.model.names import DNS_LABEL_PATTERN, MAX_LABEL

IMPORT_PATH_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*:[A-Za-z_][A-Za-z0-9_]*$"
ENV_NAME_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]*$"
DIMENSION_PATTERN = r"^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"
QUANTITY_PATTERN = r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$"

YEAR_SECONDS = 31_536_000

_MULTIPLES = {
    "": 1.0,
    "m": 1e-3,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
    "T": 1e12,
    "P": 1e15,
    "Ki": 2.0**10,
    "Mi": 2.0**20,
    "Gi": 2.0**30,
    "Ti": 2.0**40,
    "Pi": 2.0**50,
}


class SpecModel(BaseModel):
    """A part of the spec: frozen, closed, strict about types, camelCase in files and snake_case in Python."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
    )


def fault(message: str, remedy: str = "") -> PydanticCustomError:
    """Return the error by which a validator says what is wrong and what to do, in the user's words."""
    return PydanticCustomError("batchyard_fault", "{message}", {"message": message, "remedy": remedy})


def quantity(text: str) -> float:
    """Return a Kubernetes quantity (``500m``, ``4Gi``) as a number; ``text`` has passed ``QUANTITY_PATTERN``."""
    digits = re.match(r"[0-9.]+", text)
    end = digits.end() if digits else 0
    return float(text[:end]) * _MULTIPLES[text[end:]]


def _above_zero(text: str) -> str:
    if quantity(text) <= 0:
        raise fault("must be more than zero")
    return text


DnsLabel = Annotated[str, StringConstraints(pattern=DNS_LABEL_PATTERN, max_length=MAX_LABEL)]
ImportPath = Annotated[str, StringConstraints(pattern=IMPORT_PATH_PATTERN, max_length=253)]
EnvName = Annotated[str, StringConstraints(pattern=ENV_NAME_PATTERN, max_length=253)]
DimensionName = Annotated[str, StringConstraints(pattern=DIMENSION_PATTERN, max_length=MAX_LABEL)]
VariantName = Annotated[str, StringConstraints(min_length=1, max_length=253)]
Quantity = Annotated[str, StringConstraints(pattern=QUANTITY_PATTERN, max_length=32), AfterValidator(_above_zero)]
Seconds = Annotated[float, Field(gt=0, le=YEAR_SECONDS)]
Weight = Annotated[float, Field(ge=0, le=1_000_000)]
Share = Annotated[float, Field(ge=0, le=1)]
