"""Loads the records of CSV pieces: with Arrow's reader where they are without fault.

A piece that Arrow's reader refuses is read again by the careful reader, which sets its rejects
aside; a file whose records cannot be told apart by their quotes alone is read by the careful
reader as a whole.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import IO

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from beam_jobs.engine.inputs import null_field
from beam_jobs.engine.reports import KEPT_REJECTS, VALUE_CHARACTERS, BlockReport
from beam_jobs.engine.session import quote_name, quote_text
from beam_jobs.files import InputFile, open_input
from beam_jobs.formats import arrow_csv, casts
from beam_jobs.formats.csv_columns import Column, FileColumns, Rejects, value_column
from beam_jobs.formats.csv_cut import CsvPiece
from beam_jobs.formats.csv_records import CsvRecord
from beam_jobs.formats.csv_source import LINE, TEXT, CsvFile, careful_source, text_column
from beam_jobs.formats.layout import Layout
from beam_jobs.formats.lines import count_lines

_BOM = b"\xef\xbb\xbf"
_BLOCK = "_block"
_RECORDS = "_records"


def load(
    session: duckdb.DuckDBPyConnection, piece: CsvPiece, layout: Layout, wanted: Mapping[str, str]
) -> tuple[pa.Table, BlockReport]:
    """Load a piece of a CSV file.

    Args:
        session: Casts the values that Arrow does not.
        piece: The piece.
        layout: Of the run.
        wanted: Name to DuckDB type of the columns to read.

    Returns:
        The wanted columns of the good records, and what was found.

    Raises:
        InputError: The file cannot be read; or it is read as a whole, and its header is broken or
            has none of the run's columns, or is UTF-16.
    """
    if piece.columns is None:
        return _load_carefully(session, piece.part.file, layout, wanted)
    columns = piece.columns
    lines_before = columns.first_line - 1 if piece.is_first else 0
    table = _parse(session, piece.data, columns)
    if table is None:
        # A block may begin with what would be a byte order mark at the beginning of a file.
        stream = io.BytesIO(_BOM + piece.data)
        table, rejects = _load_records(session, stream, columns, first_line=1)
    else:
        rejects = Rejects(columns.path)
    here = BlockReport(
        columns.path,
        table.num_rows,
        rejects.count,
        rejects.first,
        lines=count_lines(piece.data),
    )
    told = piece.is_first and bool(columns.names)
    missing, ignored = (columns.missing, columns.ignored) if told else ((), ())
    before = BlockReport(columns.path, 0, 0, (), missing, ignored, lines_before)
    return _completed(table, columns), before.followed_by(here)


def _load_carefully(
    session: duckdb.DuckDBPyConnection, file: InputFile, layout: Layout, wanted: Mapping[str, str]
) -> tuple[pa.Table, BlockReport]:
    """Load a whole CSV file, whatever is in it."""
    with open_input(file, layout.encoding) as header:
        columns = FileColumns.read(header, file.path, layout, wanted)
    with open_input(file, layout.encoding) as records:
        table, rejects = _load_records(session, records, columns, columns.first_line)
    drift = (columns.missing, columns.ignored) if columns.names else ((), ())
    report = BlockReport(file.path, table.num_rows, rejects.count, rejects.first, *drift)
    return _completed(table, columns), report


def _completed(table: pa.Table, columns: FileColumns) -> pa.Table:
    """Return the wanted columns: those that the file has, in their order, and NULLs between."""
    for number, column in enumerate(columns.columns):
        if column.place is None:
            field = null_field(column.kind).with_name(column.name)
            table = table.add_column(number, field, pa.nulls(table.num_rows, field.type))
    return table


def _parse(
    session: duckdb.DuckDBPyConnection, data: bytearray, columns: FileColumns
) -> pa.Table | None:
    """Parse a piece with Arrow's reader; None where the careful reader has to look at it."""
    present = columns.present
    layout = columns.layout
    kinds = {column.value: casts.spelled(column.kind) for column in present}
    types = arrow_csv.arrow_types(kinds, data, layout.dialect)
    texts = [column for column in present if types[column.value] is None]
    wanted = {
        column.text if types[column.value] is None else column.value: types[column.value]
        or pa.string()
        for column in present
    }
    # Without any column to read there still are rows to count.
    wanted = wanted or {text_column(0): pa.string()}
    names = [
        text_column(number) if text_column(number) in wanted else value_column(number)
        for number in range(len(columns.names))
    ]
    table = arrow_csv.parse(data, names, wanted, layout.dialect)
    if table is None or not present:
        return table
    if texts:
        return _cast(session, table, present, texts)
    return table.rename_columns([column.name for column in present])


def _cast(
    session: duckdb.DuckDBPyConnection,
    table: pa.Table,
    present: Sequence[Column],
    texts: Sequence[Column],
) -> pa.Table | None:
    """Return the values of a parsed table; None if a text is no value of its column's type."""
    session.register(_BLOCK, table)
    bad = " OR ".join(filter(None, (column.is_bad for column in texts))) or "false"
    cast = ", ".join(f"{casts.cast(c.text, c.kind)} AS {c.value}" for c in texts)
    named = ", ".join(f"{column.value} AS {quote_name(column.name)}" for column in present)
    found: pa.Table = session.sql(
        f"SELECT {named}, CAST({bad} AS UTINYINT) FROM (SELECT *, {cast} FROM {_BLOCK})"
    ).to_arrow_table()
    if pc.max(found.column(len(present))).as_py():
        return None
    return found.remove_column(len(present))


def _load_records(
    session: duckdb.DuckDBPyConnection, stream: IO[bytes], columns: FileColumns, first_line: int
) -> tuple[pa.Table, Rejects]:
    """Load the good records of a stream, whatever the others are.

    Args:
        session: Casts the values.
        stream: The bytes.
        columns: Of the file.
        first_line: Line of the stream where its records begin.
    """
    present = columns.present
    rejects = Rejects(columns.path)
    file = CsvFile(stream, len(columns.names), columns.layout.dialect, first_line)
    reasons = "".join(f", {reason}" for reason in map(_reason, present) if reason)
    texts = "".join(f"{c.text}, {casts.cast(c.text, c.kind)} AS {c.value}, " for c in present)
    values = "".join(f"{column.value}, " for column in present)
    session.register(_BLOCK, careful_source(file, rejects.add))
    session.execute(
        f"CREATE OR REPLACE TEMP TABLE {_RECORDS} AS SELECT {values} {LINE}, {TEXT}, "
        f"nullif(concat_ws('; ', NULL{reasons}), '') AS reason "
        f"FROM (SELECT {texts} {LINE}, {TEXT} FROM {_BLOCK})"
    )
    bad = session.execute(
        f"SELECT {LINE}, {TEXT}, reason FROM {_RECORDS} WHERE reason IS NOT NULL ORDER BY {LINE}"
    )
    while rows := bad.fetchmany(KEPT_REJECTS):
        for number, text, reason in rows:
            rejects.add(CsvRecord(number, 1, text, [], reason))
    named = ", ".join(f"{column.value} AS {quote_name(column.name)}" for column in present)
    good: pa.Table = session.sql(
        f"SELECT {named or LINE} FROM {_RECORDS} WHERE reason IS NULL"
    ).to_arrow_table()
    return good, rejects


def _reason(column: Column) -> str | None:
    """Return SQL for what is wrong with a column's text, NULL if nothing is."""
    if column.is_bad is None:
        return None
    before = quote_text(f"column {column.name}: '")
    after = quote_text(f"' {column.claim}")
    shown = f"left({column.text}, {VALUE_CHARACTERS})"
    return f"CASE WHEN {column.is_bad} THEN {before} || {shown} || {after} END"
