"""One row a trial: the columns of CSV and Parquet. What a workflow put out is in none of them."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from batchyard.reports.words import rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import IO

    from batchyard.model.trial import AttemptResult
    from batchyard.reports.source import Source


class Kind(Enum):
    """What a column's values are."""

    TEXT = "text"
    INTEGER = "integer"
    NUMBER = "number"
    INSTANT = "instant"


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its name, what its values are, and how each comes from a result; None is no value."""

    name: str
    kind: Kind
    value: Callable[[AttemptResult], Any]


_BEGIN = (
    Column("trial", Kind.TEXT, lambda result: result.trial_id),
    Column("combination", Kind.TEXT, lambda result: result.combination),
    Column("case", Kind.TEXT, lambda result: result.case),
    Column("repeat", Kind.INTEGER, lambda result: result.repeat),
    Column("attempt", Kind.INTEGER, lambda result: result.attempt),
    Column("outcome", Kind.TEXT, lambda result: result.outcome.value),
    Column("reason", Kind.TEXT, lambda result: result.reason),
    Column("message", Kind.TEXT, lambda result: result.message),
    Column("score", Kind.NUMBER, lambda result: result.score),
    Column("weight", Kind.NUMBER, lambda result: result.weight),
    Column("seconds", Kind.NUMBER, lambda result: result.duration_seconds),
    Column("started", Kind.INSTANT, lambda result: result.started_at),
    Column("ended", Kind.INSTANT, lambda result: result.ended_at),
    Column("worker", Kind.TEXT, lambda result: result.worker),
    Column("lastNode", Kind.TEXT, lambda result: result.boundaries[-1].node if result.boundaries else ""),
)


def columns(source: Source) -> Sequence[Column]:
    """Return every column: the same for each batch, then a choice for each dimension, then each metric."""
    variants = {row.name: row.variants for row in source.status.combinations}
    dimensions = sorted({name for chosen in variants.values() for name in chosen})
    # The status has the metrics of judged trials only.
    metrics = sorted({name for result in source.results() for name in result.metrics})
    return [
        *_BEGIN,
        *(Column(f"variant.{name}", Kind.TEXT, _choice(name, variants)) for name in dimensions),
        *(Column(f"metric.{name}", Kind.NUMBER, _metric(name)) for name in metrics),
    ]


def _choice(name: str, variants: Mapping[str, Mapping[str, str]]) -> Callable[[AttemptResult], str | None]:
    return lambda result: variants.get(result.combination, {}).get(name)


def _metric(name: str) -> Callable[[AttemptResult], float | None]:
    return lambda result: result.metrics.get(name)


def write_csv(source: Source, out: IO[str]) -> None:
    """Write every final result as CSV (RFC 4180, UTF-8, a header); numbers are exact, no value is an empty field."""
    shown = columns(source)
    writer = csv.writer(out)
    writer.writerow([column.name for column in shown])
    for result in source.results():
        writer.writerow([_field(column, column.value(result)) for column in shown])


def _field(column: Column, value: Any) -> str:
    if value is None:
        return ""
    match column.kind:
        case Kind.INSTANT:
            return rfc3339(value)
        case Kind.NUMBER:
            return repr(float(value))
        case _:
            # csv does not quote a NUL, and some readers stop at one.
            return str(value).replace("\0", "\N{REPLACEMENT CHARACTER}")
