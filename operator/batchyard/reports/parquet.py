"""One row a trial as Parquet, for pandas, DuckDB, Spark and their like. Needs the extra ``parquet``."""

from __future__ import annotations

from importlib.util import find_spec
from itertools import islice
from typing import TYPE_CHECKING, Any

from batchyard.reports.rows import Column, Kind, columns

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from batchyard.model.trial import AttemptResult
    from batchyard.reports.source import Source

_ROWS_AT_ONCE = 10_000


def installed() -> bool:
    """Return whether what writes Parquet is there; does not import it."""
    return find_spec("pyarrow") is not None


def write_parquet(source: Source, file: Path) -> None:
    """Write every final result as Parquet, with the columns of the CSV: times are in UTC, no value is null."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    shown = columns(source)
    types = {
        Kind.TEXT: pa.string(),
        Kind.INTEGER: pa.int64(),
        Kind.NUMBER: pa.float64(),
        Kind.INSTANT: pa.timestamp("us", tz="UTC"),
    }
    schema = pa.schema([pa.field(column.name, types[column.kind]) for column in shown])
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for values in _groups(shown, source.results()):
            writer.write_table(pa.table(values, schema=schema))


def _groups(shown: Sequence[Column], results: Iterator[AttemptResult]) -> Iterator[dict[str, list[Any]]]:
    while group := list(islice(results, _ROWS_AT_ONCE)):
        yield {column.name: [column.value(result) for result in group] for column in shown}
