"""Loads CSV files block by block: with Arrow's reader where a block is proven to be without fault.

A file is cut into blocks at newlines that are proven to end records. A block that Arrow's reader
refuses is read again by the careful reader, which sets its rejects aside; a file whose records
cannot be told apart by their quotes alone is read by the careful reader as a whole.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO

import duckdb
import pyarrow as pa

from beam_jobs import arrow_csv, casts
from beam_jobs.csv_records import (
    HEAD_BYTES,
    MAX_RECORD,
    CsvRecord,
    check_encoding,
    read_header,
)
from beam_jobs.csv_source import (
    LINE,
    TEXT,
    TEXT_CHARACTERS,
    CsvFile,
    careful_source,
    text_column,
)
from beam_jobs.layout import Layout, other_layout
from beam_jobs.quoting import whole_records
from beam_jobs.records import KEPT_REJECTS, VALUE_CHARACTERS, BlockReport, Reject, create_input
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
    columns: _FileColumns | None = None
    line = 1
    for data in _proven_blocks(stream, layout.delimiter):
        block, first_line = data, line
        if columns is None:
            columns, first_line = _FileColumns.read(io.BytesIO(data), path, layout)
            if not columns.names:
                raise NotProvenError  # Nothing but empty lines: the header is still to come.
            block = data[_end_of_lines(data, first_line - 1) :]
            yield _load_block(session, block, columns, first_line)
        else:
            yield _load_block(session, block, columns.told(), first_line)
        line += data.count(b"\n")
    if columns is None:
        columns, _ = _FileColumns.read(io.BytesIO(), path, layout)
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
    columns, first_line = _FileColumns.read(header, path, layout)
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


@dataclass(frozen=True)
class _Column:
    """A column of the run: its name and type, and its place among the file's, None if missing."""

    name: str
    kind: str
    place: int | None

    @property
    def text(self) -> str:
        """What a source calls its text."""
        return text_column(self.place or 0)

    @property
    def value(self) -> str:
        """What a source calls its value."""
        return f"v{self.place}"

    @property
    def is_bad(self) -> str | None:
        """SQL for whether its text is no value of its type; None if every text is one."""
        return casts.is_bad(self.text, self.value, self.kind)

    @property
    def in_input(self) -> str:
        """SQL for its value over a source."""
        return f"CAST(NULL AS {self.kind})" if self.place is None else self.value


@dataclass(frozen=True)
class _FileColumns:
    """How the columns of one file are those of the run.

    Attributes:
        path: The file as matched.
        layout: Of the run.
        names: The file's columns, in their order.
        columns: The run's columns.
        is_first: Whether the file's missing and new columns are still to be told.
    """

    path: str
    layout: Layout
    names: tuple[str, ...]
    columns: tuple[_Column, ...]
    is_first: bool = True

    @classmethod
    def read(cls, stream: IO[bytes], path: str, layout: Layout) -> tuple[_FileColumns, int]:
        """Return the columns of a file from its header, and the line of its first record.

        Raises:
            InputError: The header is broken or has none of the run's columns, or is UTF-16.
        """
        names, first_line = list(layout.columns), 1
        if layout.header:
            header = read_header(stream, layout.delimiter, path)
            names, first_line = header.names, header.next_line
            known = {name.lower() for name in layout.columns}
            if names and known and known.isdisjoint(name.lower() for name in names):
                raise other_layout(path, header, layout.columns)
        else:
            check_encoding(stream.read(HEAD_BYTES), path)
        places = {name.lower(): number for number, name in enumerate(names)}
        columns = tuple(
            _Column(name, kind, places.get(name.lower())) for name, kind in layout.columns.items()
        )
        return cls(path, layout, tuple(names), columns), first_line

    def told(self) -> _FileColumns:
        """Return the columns for the blocks after the first."""
        return _FileColumns(self.path, self.layout, self.names, self.columns, is_first=False)

    @property
    def present(self) -> list[_Column]:
        """The run's columns that the file has."""
        return [column for column in self.columns if column.place is not None]

    def report(self, rows: int, rejects: _Rejects | None = None) -> BlockReport:
        """Return the report of a block."""
        known = {column.name.lower() for column in self.columns}
        drift = self.is_first and bool(self.names)
        return BlockReport(
            self.path,
            rows,
            rejects.count if rejects else 0,
            rejects.first if rejects else (),
            missing=tuple(c.name for c in self.columns if c.place is None) if drift else (),
            ignored=tuple(n for n in self.names if n.lower() not in known) if drift else (),
        )


def _load_block(
    session: duckdb.DuckDBPyConnection, block: bytes, columns: _FileColumns, line: int
) -> BlockReport:
    """Load a block of whole records, which begins at a line of the file."""
    present = columns.present
    kinds = {column.value: casts.spelled(column.kind) for column in present}
    types = arrow_csv.arrow_types(kinds, block, columns.layout.delimiter)
    texts = [column for column in present if types[column.value] is None]
    # Without any column of the run there still are rows to count.
    wanted: Mapping[int | None, pa.DataType] = {
        column.place: types[column.value] or pa.string() for column in present
    } or {0: pa.string()}
    text_places = {column.place for column in texts}
    table = _parse(block, columns, wanted, text_places)
    if table is None or _has_bad(session, table, texts):
        # A block may begin with what would be a byte order mark at the beginning of a file.
        stream = io.BytesIO(_BOM + block)
        return _load_records(session, stream, columns, first_line=1, line=line)
    session.register(_BLOCK, table)
    values = {
        column.name: casts.cast(column.text, column.kind)
        if column.place in text_places
        else column.in_input
        for column in columns.columns
    }
    create_input(session, columns.layout, columns.path, values, _BLOCK)
    return columns.report(table.num_rows)


def _parse(
    block: bytes,
    columns: _FileColumns,
    wanted: Mapping[int | None, pa.DataType],
    texts: set[int | None],
) -> pa.Table | None:
    """Parse a block with Arrow's reader; texts that are cast later are called as in a source."""
    names = [
        text_column(number) if number in texts else f"v{number}"
        for number in range(max(1, len(columns.names)))
    ]
    types = {names[place]: kind for place, kind in wanted.items() if place is not None}
    if not block:
        return pa.schema(list(types.items())).empty_table()
    layout = columns.layout
    return arrow_csv.parse(block, names, types, layout.delimiter, layout.null_strings)


def _has_bad(session: duckdb.DuckDBPyConnection, table: pa.Table, texts: Sequence[_Column]) -> bool:
    """Whether a text of a block is no value of its column's type."""
    bad = " OR ".join(filter(None, (column.is_bad for column in texts)))
    if not bad:
        return False
    session.register(_BLOCK, table)
    pairs = ", ".join(f"{c.text}, {casts.cast(c.text, c.kind)} AS {c.value}" for c in texts)
    ((found,),) = session.execute(
        f"SELECT coalesce(bool_or({bad}), false) FROM (SELECT {pairs} FROM {_BLOCK})"
    ).fetchall()
    return bool(found)


def _load_records(
    session: duckdb.DuckDBPyConnection,
    stream: IO[bytes],
    columns: _FileColumns,
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
    rejects = _Rejects(columns.path, line - 1)
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


def _reason(column: _Column) -> str | None:
    """Return SQL for what is wrong with a column's text, NULL if nothing is."""
    if column.is_bad is None:
        return None
    before, after = quote_text(f"column {column.name}: '"), quote_text(f"' is no {column.kind}")
    shown = f"left({column.text}, {VALUE_CHARACTERS})"
    return f"CASE WHEN {column.is_bad} THEN {before} || {shown} || {after} END"


class _Rejects:
    """Counts the rejects of a block and keeps the first of them."""

    def __init__(self, path: str, lines_before: int) -> None:
        self._path = path
        self._lines_before = lines_before
        self._kept: list[Reject] = []
        self.count = 0

    def add(self, record: CsvRecord) -> None:
        """Add a record with a problem; they come in the order of the file, once or twice."""
        # A quote that is open by mistake swallows records that nobody can tell apart any more:
        # every line of them counts, as if it were one.
        self.count += record.lines
        text = record.text.rstrip("\r\n")[:TEXT_CHARACTERS]
        shown = text.encode(errors="surrogateescape").decode(errors="replace")
        reason = record.problem
        line = record.line + self._lines_before
        if record.lines > 1:
            last = line + record.lines - 1
            reason += f" (lines {line} to {last}, which count as {record.lines})"
        self._kept.append(Reject(self._path, line, shown, reason, record.lines))
        if len(self._kept) > 2 * KEPT_REJECTS:
            self._kept = list(self.first)

    @property
    def first(self) -> tuple[Reject, ...]:
        """The first in the order of the file."""
        return tuple(sorted(self._kept, key=lambda reject: reject.line)[:KEPT_REJECTS])
