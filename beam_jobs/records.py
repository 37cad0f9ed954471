"""Loads the records of one block into a session's table ``input``, rejects set aside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from beam_jobs import casts
from beam_jobs.csv_records import CsvRecord, read_header
from beam_jobs.csv_source import (
    LINE,
    TEXT,
    TEXT_CHARACTERS,
    CsvFile,
    careful_source,
    fast_source,
    is_plain,
    text_column,
)
from beam_jobs.layout import FILENAME, Layout
from beam_jobs.partition_paths import path_values
from beam_jobs.session import quote_name, quote_text
from beam_jobs.sql.shape import INPUT

RECORDS = "records"
_CAREFUL = "careful"
_KEPT_REJECTS = 1000
_VALUE_CHARACTERS = 200


@dataclass(frozen=True)
class Reject:
    """A record that could not be parsed.

    Attributes:
        file: Path or URL of the file.
        line: Line of the file where the record begins, from 1.
        text: The record as it stands in the file, cut after 1,000 characters.
        reason: What is wrong with it.
        lines: How many lines of the file it takes.
    """

    file: str
    line: int
    text: str
    reason: str
    lines: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}: {self.text[:_VALUE_CHARACTERS]!r}"


@dataclass(frozen=True)
class BlockReport:
    """What was found in one block.

    Attributes:
        file: Path or URL of the file.
        rows: Records that went into ``input``.
        reject_count: Records that did not. One that takes several lines counts as so many, for a
            quote that is never closed makes one record of all that follow.
        rejects: The first of them, at most 1,000 a block.
        missing: Columns of the run that the file does not have; they are NULL.
        ignored: Columns of the file that the run does not have.
    """

    file: str
    rows: int
    reject_count: int = 0
    rejects: tuple[Reject, ...] = ()
    missing: tuple[str, ...] = field(default=())
    ignored: tuple[str, ...] = field(default=())


def load_text(
    session: duckdb.DuckDBPyConnection, block: bytes, first_line: int, path: str, layout: Layout
) -> BlockReport:
    """Load a block of whole lines; the line ends are no part of them.

    Args:
        session: Has no table ``input`` yet.
        block: Bytes of the lines, UTF-8.
        first_line: Number of the block's first line in the file.
        path: The file.
        layout: Of the run.
    """
    lines = _lines(block)
    rejects: list[Reject] = []
    try:
        lines.validate(full=True)
    except pa.ArrowInvalid:
        lines, rejects = _without_bad_lines(lines, first_line, path)
    session.register("lines", pa.table({"raw": lines}))
    # Two ends are taken off in turn, so that \r\n and \n are one line end and \r within stays.
    plain = "CASE WHEN suffix(raw, chr(10)) THEN left(raw, -1) ELSE raw END"
    line = f"CASE WHEN suffix({plain}, chr(13)) THEN left({plain}, -1) ELSE {plain} END"
    session.execute(f"CREATE VIEW {RECORDS} AS SELECT {line} AS line FROM lines")
    _create_input(session, layout, path, {"line": "line"})
    return BlockReport(path, len(lines), len(rejects), tuple(rejects[:_KEPT_REJECTS]))


def load_counts(
    session: duckdb.DuckDBPyConnection, lines: int, size: int, path: str, layout: Layout
) -> BlockReport:
    """Load the one record of a file that is only counted: its lines and its bytes."""
    session.execute(
        f"CREATE VIEW {RECORDS} AS SELECT {lines}::BIGINT AS lines, {size}::BIGINT AS bytes"
    )
    _create_input(session, layout, path, {"lines": "lines", "bytes": "bytes"})
    return BlockReport(path, rows=lines)


def _lines(block: bytes) -> pa.Array[Any]:
    """Return the lines of a block, their ends included, without copying the text."""
    ends = np.flatnonzero(np.frombuffer(block, np.uint8) == ord("\n")) + 1
    last = [len(block)] if block and not block.endswith(b"\n") else []
    offsets = np.concatenate(([0], ends, last)).astype(np.int64)
    buffers = [None, pa.py_buffer(offsets.tobytes()), pa.py_buffer(block)]
    return pa.Array.from_buffers(pa.large_string(), len(offsets) - 1, buffers)


def _without_bad_lines(
    lines: pa.Array[Any], first_line: int, path: str
) -> tuple[pa.Array[Any], list[Reject]]:
    """Take out the lines that are not UTF-8, one by one: this path is for broken files only."""
    good: list[bytes] = []
    rejects: list[Reject] = []
    for number, raw in enumerate(lines.cast(pa.large_binary()), first_line):
        line: bytes = raw.as_py()
        try:
            line.decode()
            good.append(line)
        except UnicodeDecodeError as error:
            text = line.rstrip(b"\r\n").decode(errors="replace")[:TEXT_CHARACTERS]
            rejects.append(Reject(path, number, text, f"not UTF-8 ({error.reason})"))
    return pa.array(good, pa.large_binary()).cast(pa.large_string()), rejects


def load_csv(
    session: duckdb.DuckDBPyConnection, local: str, path: str, layout: Layout
) -> BlockReport:
    """Load a CSV file; columns are matched by name, whatever their order in the file.

    Args:
        session: May read `local`; has no table ``input`` yet.
        local: The file's plain bytes on local disk.
        path: The file as matched.
        layout: Of the run.

    Raises:
        InputError: The header is broken.
    """
    names, first_line = list(layout.columns), 1
    if layout.header:
        names, first_line = read_header(local, layout.delimiter, path)
    file = CsvFile(local, len(names), layout.delimiter, layout.null_strings, first_line)
    places = {name.lower(): number for number, name in enumerate(names)}
    columns = [
        _Column(name, kind, places.get(name.lower())) for name, kind in layout.columns.items()
    ]
    present = [column for column in columns if column.place is not None]
    rejects = _Rejects(path)
    if not (names and is_plain(file) and _load_fast(session, file, present)):
        _load_carefully(session, file, present, rejects)
    _create_input(session, layout, path, {column.name: column.in_input for column in columns})
    ((rows,),) = session.execute(f"SELECT count(*) FROM {RECORDS}").fetchall()
    known = {column.name.lower() for column in columns}
    return BlockReport(
        path,
        rows,
        rejects.count,
        rejects.first,
        missing=tuple(c.name for c in columns if c.place is None) if names else (),
        ignored=tuple(name for name in names if name.lower() not in known),
    )


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
        """What the table of records calls its value."""
        return f"v{self.place}"

    @property
    def is_bad(self) -> str | None:
        """SQL for whether its text is no value of its type; None if every text is one."""
        return casts.is_bad(self.text, self.value, self.kind)

    @property
    def in_input(self) -> str:
        """SQL for its value over the table of records."""
        return f"CAST(NULL AS {self.kind})" if self.place is None else self.value


class _Rejects:
    """Counts the rejects of a file and keeps the first of them."""

    def __init__(self, path: str) -> None:
        self._path = path
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
        if record.lines > 1:
            last = record.line + record.lines - 1
            reason += f" (lines {record.line} to {last}, which count as {record.lines})"
        self._kept.append(Reject(self._path, record.line, shown, reason, record.lines))
        if len(self._kept) > 2 * _KEPT_REJECTS:
            self._kept = list(self.first)

    @property
    def first(self) -> tuple[Reject, ...]:
        """The first in the order of the file."""
        return tuple(sorted(self._kept, key=lambda reject: reject.line)[:_KEPT_REJECTS])


def _load_fast(
    session: duckdb.DuckDBPyConnection, file: CsvFile, columns: Sequence[_Column]
) -> bool:
    """Load a file's records with DuckDB's reader, if all of them are good; returns whether."""
    bad = " OR ".join(filter(None, (column.is_bad for column in columns)))
    failing = f"CASE WHEN {bad} THEN error('bad') END" if bad else "NULL"
    try:
        session.execute(
            f"CREATE TABLE {RECORDS} AS SELECT {_values(columns)} {failing} AS failed "
            f"FROM ({_texts_and_values(columns)} true FROM {fast_source(file)})"
        )
    except duckdb.Error:
        return False
    return True


def _load_carefully(
    session: duckdb.DuckDBPyConnection,
    file: CsvFile,
    columns: Sequence[_Column],
    rejects: _Rejects,
) -> None:
    """Load a file's good records, whatever the others are."""
    reasons = "".join(f", {reason}" for reason in map(_reason, columns) if reason)
    session.register(_CAREFUL, careful_source(file, rejects.add))
    session.execute(
        f"CREATE TABLE {RECORDS} AS SELECT {_values(columns)} {LINE}, {TEXT}, "
        f"nullif(concat_ws('; ', NULL{reasons}), '') AS reason "
        f"FROM ({_texts_and_values(columns)} {LINE}, {TEXT} FROM {_CAREFUL})"
    )
    session.unregister(_CAREFUL)
    bad = session.execute(
        f"SELECT {LINE}, {TEXT}, reason FROM {RECORDS} WHERE reason IS NOT NULL ORDER BY {LINE}"
    )
    while rows := bad.fetchmany(_KEPT_REJECTS):
        for line, text, reason in rows:
            rejects.add(CsvRecord(line, 1, text, [], reason))
    session.execute(f"DELETE FROM {RECORDS} WHERE reason IS NOT NULL")


def _reason(column: _Column) -> str | None:
    """Return SQL for what is wrong with a column's text, NULL if nothing is."""
    if column.is_bad is None:
        return None
    before, after = quote_text(f"column {column.name}: '"), quote_text(f"' is no {column.kind}")
    shown = f"left({column.text}, {_VALUE_CHARACTERS})"
    return f"CASE WHEN {column.is_bad} THEN {before} || {shown} || {after} END"


def _values(columns: Sequence[_Column]) -> str:
    return "".join(f"{column.value}, " for column in columns)


def _texts_and_values(columns: Sequence[_Column]) -> str:
    pairs = (f"{c.text}, {casts.cast(c.text, c.kind)} AS {c.value}, " for c in columns)
    return f"SELECT {''.join(pairs)}"


def _create_input(
    session: duckdb.DuckDBPyConnection,
    layout: Layout,
    path: str,
    columns: Mapping[str, str],
) -> None:
    """Create ``input`` over the loaded records, with the columns of the file's path."""
    texts = {**path_values(path), FILENAME: path}
    values = [f"{value} AS {quote_name(name)}" for name, value in columns.items()]
    for name, kind in layout.input_columns.items():
        if name not in columns:
            text = texts.get(name)
            literal = "NULL" if text is None else quote_text(text)
            values.append(f"CAST({literal} AS {kind}) AS {quote_name(name)}")
    session.execute(f"CREATE VIEW {INPUT} AS SELECT {', '.join(values)} FROM {RECORDS}")
