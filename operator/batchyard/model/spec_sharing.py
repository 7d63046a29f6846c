"""Which nodes of a workflow may run once for several combinations, as a file spells it."""

from typing import Annotated

from pydantic import Field, StringConstraints

from batchyard.model.spec_base import DimensionName, ImportPath, SpecModel

NodeName = Annotated[str, StringConstraints(min_length=1, max_length=253)]


class ShareableNode(SpecModel):
    """A node that leaves nothing behind but what it returns."""

    name: NodeName = Field(description="Name of the node in the graph.")
    depends_on: tuple[DimensionName, ...] = Field(
        max_length=32, description="Dimensions whose variant decides what the node does; [] if none does."
    )
    reads: tuple[ImportPath, ...] = Field(
        default=(),
        max_length=16,
        description="`module:name` of values that the node reads in ways its code does not show.",
    )


class SharedPrefix(SpecModel):
    """Run what combinations have in common once for each case and repeat, and go on from there."""

    nodes: tuple[ShareableNode, ...] = Field(
        min_length=1, max_length=256, description="The nodes that may be shared; all others run in every trial."
    )
