"""Gives the records of a CSV file to DuckDB as texts, whatever is in the file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO

import pyarrow as pa

from beam_jobs.engine.reports import TEXT_CHARACTERS
from beam_jobs.formats.csv_records import CsvRecord, read_records
from beam_jobs.formats.formats import Dialect

_BATCH_RECORDS = 10_000
_BATCH_CHARACTERS = 4 * 1024 * 1024

LINE = "line"
TEXT = "text"


@dataclass(frozen=True)
class CsvFile:
    """The text of a CSV file, or of a block of one, and how to read them.

    Attributes:
        stream: The text as UTF-8.
        width: How many columns there are; they are called ``t0``, ``t1`` and so on.
        dialect: Of the file.
        first_line: Where the records begin: the line after the header or the skipped lines.
    """

    stream: IO[bytes]
    width: int
    dialect: Dialect
    first_line: int


def text_column(number: int) -> str:
    """Return what a source calls the texts of a file's column, counted from 0."""
    return f"t{number}"


def careful_source(file: CsvFile, set_aside: Callable[[CsvRecord], None]) -> pa.RecordBatchReader:
    """Return the good records of any file as texts, with their ``line`` and ``text`` in the file.

    Args:
        file: The file.
        set_aside: Called with each malformed record, while the batches are read.
    """
    schema = pa.schema(
        [pa.field(text_column(number), pa.large_string()) for number in range(file.width)]
        + [pa.field(LINE, pa.int64()), pa.field(TEXT, pa.large_string())]
    )
    return pa.RecordBatchReader.from_batches(schema, _batches(file, schema, set_aside))


def _batches(
    file: CsvFile, schema: pa.Schema, set_aside: Callable[[CsvRecord], None]
) -> Iterator[pa.RecordBatch]:
    nulls = frozenset(file.dialect.null_strings)
    batch: list[list[str | int | None]] = []
    characters = 0
    for record in good_records(file, set_aside):
        values = [None if value in nulls else value for value in record.values[: file.width]]
        batch.append([*values, record.line, record.text.rstrip("\r\n")[:TEXT_CHARACTERS]])
        characters += len(record.text)
        if len(batch) == _BATCH_RECORDS or characters >= _BATCH_CHARACTERS:
            yield _record_batch(batch, schema)
            batch, characters = [], 0
    yield _record_batch(batch, schema)


def _record_batch(batch: list[list[str | int | None]], schema: pa.Schema) -> pa.RecordBatch:
    columns = zip(*batch, strict=True) if batch else [[] for _ in schema]
    arrays = [pa.array(column, kind.type) for column, kind in zip(columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def good_records(file: CsvFile, set_aside: Callable[[CsvRecord], None]) -> Iterator[CsvRecord]:
    """Yield the records that have a value for each column; there may be empty ones beyond these.

    Args:
        file: The file.
        set_aside: Called with each of the others.
    """
    for record in read_records(file.stream, file.dialect, file.first_line):
        # As in DuckDB: in a single column, a blank line is a record with NULL.
        if record.is_blank and file.width != 1:
            continue
        problem = record.problem or _wrong_width(record, file)
        if problem:
            set_aside(record._replace(problem=problem))
        else:
            yield record


def _wrong_width(record: CsvRecord, file: CsvFile) -> str:
    """Return what is wrong with the number of values; as in DuckDB, NULLs may be too many."""
    found = len(record.values)
    if found == file.width:
        return ""
    if found < file.width or not set(record.values[file.width :]) <= set(file.dialect.null_strings):
        return f"{found} {'value' if found == 1 else 'values'} where {file.width} belong"
    return ""
