"""What every part of the spec is built of: the strict base model and the constrained kinds of value.

Not for any field of the contract; those stand in the other ``spec`` modules.
"""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from batchyard.model.names import DNS_LABEL_PATTERN, MAX_LABEL

IMPORT_PATH_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*:[A-Za-z_][A-Za-z0-9_]*$"
ENV_NAME_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]*$"
DIMENSION_PATTERN = r"^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"
RAY_VERSION_PATTERN = r"^([0-9]+\.[0-9]+\.[0-9]+)?$"
# Exponents of three digits are numbers nobody means, and slow to reckon with.
QUANTITY_PATTERN = r"^([0-9]+(\.[0-9]*)?|\.[0-9]+)(m|k|[MGTPE]|[KMGTPE]i|[eE][+-]?[0-9]{1,2})?$"

YEAR_SECONDS = 31_536_000


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


def _above_zero(text: str) -> str:
    if not text.strip("0.")[:1].isdigit():
        raise fault("must be more than zero", "write for instance 500m or 2Gi")
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
