"""Gives the values of a CSV file to DuckDB as texts: fast where the file is plain, carefully else.

DuckDB's reader is fast, but it does not say which row came from which line, gives up on files that
mix line ends, and is lenient in odd places. So it reads only what it is certain to read as the
`careful reader <beam_jobs.csv_records>` would, and leaves every file with anything malformed to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from beam_jobs.csv_records import MAX_RECORD, CsvRecord, read_records
from beam_jobs.session import quote_text

# Of a reject's text, this much is kept.
TEXT_CHARACTERS = 1000
_SCANNED_BYTES = 4 * 1024 * 1024
_LOOK_BEHIND = 64
_LINE_AFTER_HEADER = 2
_BATCH_RECORDS = 10_000
_BATCH_CHARACTERS = 4 * 1024 * 1024

LINE = "line"
TEXT = "text"


@dataclass(frozen=True)
class CsvFile:
    """A local CSV file of plain bytes, and how to read it.

    Attributes:
        path: Of the file.
        width: How many columns it has; they are called ``t0``, ``t1`` and so on.
        delimiter: Between the values of a record.
        null_strings: Texts that are NULL.
        first_line: Where its records begin: the line after the header, or 1.
    """

    path: str
    width: int
    delimiter: str
    null_strings: tuple[str, ...]
    first_line: int


def text_column(number: int) -> str:
    """Return what a source calls the texts of a file's column, counted from 0."""
    return f"t{number}"


def is_plain(file: CsvFile) -> bool:
    r"""Whether DuckDB is certain to read a file as the careful reader does, or else to fail.

    What it is not certain of, as of DuckDB 2.0: a header below blank lines is taken for a record;
    a ``\r`` in a file that ends lines with ``\r\n`` may take the space after it along; in a single
    column, where blank lines are NULL, ``\r\n`` among ``\n`` is two of them; spaces before a quote
    are dropped if there is one and make the quote a character if there are two; ``"a" "b"`` is one
    value.
    """
    if file.first_line > _LINE_AFTER_HEADER:
        return False
    delimiter = file.delimiter.encode()
    before = b""
    with Path(file.path).open("rb") as stream:
        while chunk := stream.read(_SCANNED_BYTES):
            if chunk.endswith(b"\r"):
                chunk += stream.read(1)
            if _has_odd_return(chunk, file.width) or _has_odd_quote(before + chunk, delimiter):
                return False
            before = chunk[-_LOOK_BEHIND:]
    return True


def _has_odd_return(chunk: bytes, width: int) -> bool:
    if b"\r" not in chunk:
        return False
    return width == 1 or chunk.count(b"\r") != chunk.count(b"\r\n")


def _has_odd_quote(window: bytes, delimiter: bytes) -> bool:
    """Whether a quote that may open a value has spaces before it."""
    if b" " in delimiter:
        return b'"' in window
    ends = (delimiter, b"\n", b"\r", b'"', b"\xef\xbb\xbf")
    at = window.find(b' "') if b'"' in window else -1
    while at >= 0:
        before = window[max(0, at - _LOOK_BEHIND) : at].rstrip(b" ")
        if not before or before.endswith(ends):
            return True
        at = window.find(b' "', at + 2)
    return False


def fast_source(file: CsvFile) -> str:
    """Return SQL for the records of a plain file; it fails on the first malformed one."""
    columns = ", ".join(f"{text_column(number)}: 'VARCHAR'" for number in range(file.width))
    nulls = ", ".join(quote_text(null) for null in file.null_strings)
    # Everything is said, for what is not said DuckDB guesses: from the name, even columns.
    return (
        f"read_csv({quote_text(file.path)}, columns = {{{columns}}}, auto_detect = false, "
        f"delim = {quote_text(file.delimiter)}, quote = '\"', escape = '\"', "
        f"header = {file.first_line > 1}, nullstr = [{nulls}], max_line_size = {MAX_RECORD}, "
        "compression = 'none', hive_partitioning = false)"
    )


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
    nulls = frozenset(file.null_strings)
    batch: list[list[str | int | None]] = []
    characters = 0
    for record in _good_records(file, set_aside):
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


def _good_records(file: CsvFile, set_aside: Callable[[CsvRecord], None]) -> Iterator[CsvRecord]:
    for record in read_records(file.path, file.delimiter):
        # As in DuckDB: in a single column, a blank line is a record with NULL.
        if record.line < file.first_line or (record.is_blank and file.width != 1):
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
    if found < file.width or not set(record.values[file.width :]) <= set(file.null_strings):
        return f"{found} {'value' if found == 1 else 'values'} where {file.width} belong"
    return ""
