"""Checks cases against a workflow's input schema before anything runs. Imports no framework."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import PydanticUserError, TypeAdapter, ValidationError

from batchyard.model.errors import Fault, WorkflowInvalid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchyard.model.trial import JSON

_FAULTS_PER_INPUT = 20


def input_faults(schema: Any, inputs: Sequence[tuple[str, JSON]]) -> list[Fault]:
    """Return what is wrong with each input, given as (path, value), by a pydantic model, TypedDict or dataclass.

    Raises ``WorkflowInvalid`` if ``schema`` is none of these.
    """
    try:
        adapter = TypeAdapter(schema)
    except (PydanticUserError, TypeError) as err:
        raise WorkflowInvalid(
            f"{schema!r} cannot be used as an input schema: {err}; name a pydantic model, a TypedDict or a dataclass"
        ) from err
    faults: list[Fault] = []
    for path, value in inputs:
        try:
            adapter.validate_python(value)
        except ValidationError as err:
            for error in err.errors(include_url=False)[:_FAULTS_PER_INPUT]:
                where = ".".join(str(part) for part in error["loc"])
                faults.append(
                    Fault(
                        f"{path}.input{f'.{where}' if where else ''}",
                        repr(error["input"])[:60],
                        error["msg"],
                        "correct the case or spec.workflow.inputSchema",
                    )
                )
    return faults
