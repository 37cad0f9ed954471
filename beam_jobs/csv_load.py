"""Loads CSV files block by block: with Arrow's reader where a block is proven to be without fault.

A file is cut into blocks at newlines that are proven to end records. A block that Arrow's reader
refuses is read again by the careful reader, which sets its rejects aside; a file whose records
cannot be told apart by their quotes alone is read by the careful reader as a whole.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from typing import IO

import duckdb
import pyarrow as pa

from beam_jobs import arrow_csv, casts
from beam_jobs.csv_columns import Column, FileColumns, Rejects, value_column
from beam_jobs.csv_records import (
    MAX_RECORD,
    CsvRecord,
)
from beam_jobs.csv_source import (
    LINE,
    TEXT,
    CsvFile,
    careful_source,
    text_column,
)
from beam_jobs.layout import Layout
from beam_jobs.quoting import whole_records
from beam_jobs.records import create_input
from beam_jobs.reports import KEPT_REJECTS, VALUE_CHARACTERS, BlockReport
from beam_jobs.session import quote_text

BLOCK_BYTES = 16 * 1024 * 1024
_BOM = b"\xef\xbb\xbf"
_BLOCK = "block"
_RECORDS = "records"


class NotProvenError(Exception):
    """Where the records of a file end cannot be proven; it has to be read as a whole."""


def load_proven_blocks(
    session: duckdb.DuckDBPyConnection, stream: IO[bytes], path: str, layout: Layout
) -> Iterator[BlockReport]:
    """Load a CSV file block by block; yields a report while the block is in ``input``.

    Args:
        session: Its table ``input`` is made anew for each block.
        stream: The file's plain bytes.
        path: The file as matched.
        layout: Of the run.

    Raises:
        InputError: The header is broken or has none of the run's columns, or is UTF-16.
        NotProvenError: The file has to be read by `load_carefully`, and what was loaded before is
            to be forgotten.
    """
    columns: FileColumns | None = None
    line = 1
    for data in _proven_blocks(stream, layout.delimiter):
        block, first_line = data, line
        if columns is None:
            columns, first_line = FileColumns.read(io.BytesIO(data), path, layout)
            if not columns.names:
                raise NotProvenError  # Nothing but empty lines: the header is still to come.
            block = data[_end_of_lines(data, first_line - 1) :]
            yield _load_block(session, block, columns, first_line)
        else:
            yield _load_block(session, block, columns.told(), first_line)
        line += data.count(b"\n")
    if columns is None:
        columns, _ = FileColumns.read(io.BytesIO(), path, layout)
        yield _load_block(session, b"", columns, line)


def load_carefully(
    session: duckdb.DuckDBPyConnection,
    header: IO[bytes],
    records: IO[bytes],
    path: str,
    layout: Layout,
) -> BlockReport:
    """Load a whole CSV file into ``input``, whatever is in it.

    Args:
        session: Its table ``input`` is made anew.
        header: The file's plain bytes, of which the header is read.
        records: The same bytes again.
        path: The file as matched.
        layout: Of the run.

    Raises:
        InputError: The header is broken or has none of the run's columns, or is UTF-16.
    """
    columns, first_line = FileColumns.read(header, path, layout)
    return _load_records(session, records, columns, first_line, line=1)


def _proven_blocks(stream: IO[bytes], delimiter: str) -> Iterator[bytes]:
    """Cut a file into blocks of whole records; its byte order mark is left out."""
    if len(delimiter) != 1 or not delimiter.isascii():
        raise NotProvenError
    rest = stream.read(len(_BOM)).removeprefix(_BOM)
    while chunk := stream.read(BLOCK_BYTES):
        if chunk.endswith(b"\r"):
            chunk += stream.read(1)
        data = rest + chunk
        end = whole_records(data, delimiter)
        if end is None or len(data) - end > MAX_RECORD:
            raise NotProvenError
        if end:
            yield data[:end]
        rest = data[end:]
    if rest:
        last = rest if rest.endswith(b"\n") else rest + b"\n"
        if whole_records(last, delimiter) != len(last):
            raise NotProvenError
        yield last


def _end_of_lines(data: bytes, count: int) -> int:
    """Return where a number of lines ends."""
    end = 0
    for _ in range(count):
        end = data.index(b"\n", end) + 1
    return end


def _load_block(
    session: duckdb.DuckDBPyConnection, block: bytes, columns: FileColumns, line: int
) -> BlockReport:
    """Load a block of whole records, which begins at a line of the file."""
    present = columns.present
    kinds = {column.value: casts.spelled(column.kind) for column in present}
    types = arrow_csv.arrow_types(kinds, block, columns.layout.delimiter)
    texts = [column for column in present if types[column.value] is None]
    table = _parse(block, columns, types)
    if table is not None:
        session.register(_BLOCK, table)
    if table is None or _has_bad(session, texts):
        # A block may begin with what would be a byte order mark at the beginning of a file.
        stream = io.BytesIO(_BOM + block)
        return _load_records(session, stream, columns, first_line=1, line=line)
    values = {column.name: column.in_input for column in columns.columns}
    values.update({column.name: casts.cast(column.text, column.kind) for column in texts})
    create_input(session, columns.layout, columns.path, values, _BLOCK)
    return columns.report(table.num_rows)


def _parse(
    block: bytes, columns: FileColumns, types: Mapping[str, pa.DataType | None]
) -> pa.Table | None:
    """Parse a block with Arrow's reader; texts that are cast later are called as in a source.

    Args:
        block: The records.
        columns: Of the file.
        types: Type of each value of the run's columns; None for a text.
    """
    wanted = {
        column.text if types[column.value] is None else column.value: types[column.value]
        or pa.string()
        for column in columns.present
    }
    # Without any column of the run there still are rows to count.
    wanted = wanted or {value_column(0): pa.string()}
    if not block:
        return pa.schema(list(wanted.items())).empty_table()
    names = [
        text_column(number) if text_column(number) in wanted else value_column(number)
        for number in range(len(columns.names))
    ]
    layout = columns.layout
    return arrow_csv.parse(block, names, wanted, layout.delimiter, layout.null_strings)


def _has_bad(session: duckdb.DuckDBPyConnection, texts: Sequence[Column]) -> bool:
    """Whether a text of the registered block is no value of its column's type."""
    bad = " OR ".join(filter(None, (column.is_bad for column in texts)))
    if not bad:
        return False
    pairs = ", ".join(f"{c.text}, {casts.cast(c.text, c.kind)} AS {c.value}" for c in texts)
    ((found,),) = session.execute(
        f"SELECT coalesce(bool_or({bad}), false) FROM (SELECT {pairs} FROM {_BLOCK})"
    ).fetchall()
    return bool(found)


def _load_records(
    session: duckdb.DuckDBPyConnection,
    stream: IO[bytes],
    columns: FileColumns,
    first_line: int,
    line: int,
) -> BlockReport:
    """Load the good records of a stream, whatever the others are.

    Args:
        session: Its table ``input`` is made anew.
        stream: The bytes.
        columns: Of the file.
        first_line: Line of the stream where its records begin.
        line: Line of the file where the stream begins.
    """
    present = columns.present
    layout = columns.layout
    rejects = Rejects(columns.path, line - 1)
    file = CsvFile(stream, len(columns.names), layout.delimiter, layout.null_strings, first_line)
    reasons = "".join(f", {reason}" for reason in map(_reason, present) if reason)
    texts = "".join(f"{c.text}, {casts.cast(c.text, c.kind)} AS {c.value}, " for c in present)
    values = "".join(f"{column.value}, " for column in present)
    session.register(_BLOCK, careful_source(file, rejects.add))
    session.execute(
        f"CREATE OR REPLACE TABLE {_RECORDS} AS SELECT {values} {LINE}, {TEXT}, "
        f"nullif(concat_ws('; ', NULL{reasons}), '') AS reason "
        f"FROM (SELECT {texts} {LINE}, {TEXT} FROM {_BLOCK})"
    )
    bad = session.execute(
        f"SELECT {LINE}, {TEXT}, reason FROM {_RECORDS} WHERE reason IS NOT NULL ORDER BY {LINE}"
    )
    while rows := bad.fetchmany(KEPT_REJECTS):
        for number, text, reason in rows:
            rejects.add(CsvRecord(number, 1, text, [], reason))
    session.execute(f"DELETE FROM {_RECORDS} WHERE reason IS NOT NULL")
    create_input(
        session, layout, columns.path, {c.name: c.in_input for c in columns.columns}, _RECORDS
    )
    ((count,),) = session.execute(f"SELECT count(*) FROM {_RECORDS}").fetchall()
    return columns.report(count, rejects)


def _reason(column: Column) -> str | None:
    """Return SQL for what is wrong with a column's text, NULL if nothing is."""
    if column.is_bad is None:
        return None
    before, after = quote_text(f"column {column.name}: '"), quote_text(f"' is no {column.kind}")
    shown = f"left({column.text}, {VALUE_CHARACTERS})"
    return f"CASE WHEN {column.is_bad} THEN {before} || {shown} || {after} END"
