"""Loads the records of one block into a session's table ``input``, rejects set aside."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from beam_jobs import casts
from beam_jobs.layout import FILENAME, Layout, read_column_names, read_csv
from beam_jobs.partition_paths import path_values
from beam_jobs.session import quote_name, quote_text
from beam_jobs.sql.shape import INPUT

RECORDS = "records"
_BAD = "tallyflow_bad"
_KEPT_REJECTS = 1000
_RAW_CHARACTERS = 1000


@dataclass(frozen=True)
class Reject:
    """A record that could not be parsed.

    Attributes:
        file: Path or URL of the file.
        line: Line of the file where the record begins, from 1; None where it cannot be told.
        text: The record as it stands in the file, cut after 1,000 characters.
        reason: What is wrong with it.
    """

    file: str
    line: int | None
    text: str
    reason: str

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{place}: {self.reason}: {self.text[:200]!r}"


@dataclass(frozen=True)
class BlockReport:
    """What was found in one block.

    Attributes:
        file: Path or URL of the file.
        rows: Records that went into ``input``.
        reject_count: Records that did not.
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


def _lines(block: bytes) -> pa.Array:
    """Return the lines of a block, their ends included, without copying the text."""
    ends = np.flatnonzero(np.frombuffer(block, np.uint8) == ord("\n")) + 1
    last = [len(block)] if block and not block.endswith(b"\n") else []
    offsets = np.concatenate(([0], ends, last)).astype(np.int64)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(block)]
    return pa.Array.from_buffers(pa.large_string(), len(offsets) - 1, buffers)


def _without_bad_lines(
    lines: pa.Array, first_line: int, path: str
) -> tuple[pa.Array, list[Reject]]:
    """Take out the lines that are not UTF-8, one by one: this path is for broken files only."""
    good, rejects = [], []
    for number, raw in enumerate(lines.cast(pa.large_binary()).to_pylist(), first_line):
        try:
            raw.decode()
            good.append(raw)
        except UnicodeDecodeError as error:
            text = raw.decode(errors="replace")[:_RAW_CHARACTERS]
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
    names = read_column_names(local, layout.delimiter, layout.header, path)
    names = names if layout.header else list(layout.columns)
    in_file = {name.lower(): name for name in names}
    columns = {name: in_file.get(name.lower()) for name in layout.columns}
    present = [(theirs, layout.columns[ours]) for ours, theirs in columns.items() if theirs]
    bad = " OR ".join(casts.is_bad(theirs, kind) for theirs, kind in present) or "false"
    values = [
        f"{casts.cast(theirs, layout.columns[ours])} AS {quote_name(ours)}" if theirs else
        f"CAST(NULL AS {layout.columns[ours]}) AS {quote_name(ours)}"
        for ours, theirs in columns.items()
    ]
    source = (
        read_csv(
            local, names, layout.delimiter, layout.header, layout.null_strings, rejects=True
        )
        if names
        else "(SELECT 1 WHERE false)"
    )
    session.execute(
        f"CREATE TABLE {RECORDS} AS SELECT {', '.join(values)}, {bad} AS {_BAD} FROM {source}"
    )
    _create_input(session, layout, path, {name: quote_name(name) for name in columns}, f"NOT {_BAD}")
    rejects = _csv_rejects(session, local, path, layout, present, names)
    ((rows,),) = session.execute(f"SELECT count(*) FROM {RECORDS} WHERE NOT {_BAD}").fetchall()
    known = {name.lower() for name in layout.columns}
    return BlockReport(
        path,
        rows,
        len(rejects),
        tuple(rejects[:_KEPT_REJECTS]),
        missing=tuple(ours for ours, theirs in columns.items() if not theirs) if names else (),
        ignored=tuple(name for name in names if name.lower() not in known),
    )


def _create_input(
    session: duckdb.DuckDBPyConnection,
    layout: Layout,
    path: str,
    columns: Mapping[str, str],
    condition: str = "true",
) -> None:
    """Create ``input`` over the loaded records, with the columns of the file's path."""
    texts = {**path_values(path), FILENAME: path}
    values = [f"{value} AS {quote_name(name)}" for name, value in columns.items()]
    for name, kind in layout.input_columns.items():
        if name not in columns:
            text = texts.get(name)
            literal = "NULL" if text is None else quote_text(text)
            values.append(f"CAST({literal} AS {kind}) AS {quote_name(name)}")
    session.execute(
        f"CREATE VIEW {INPUT} AS SELECT {', '.join(values)} FROM {RECORDS} WHERE {condition}"
    )


def _csv_rejects(
    session: duckdb.DuckDBPyConnection,
    local: str,
    path: str,
    layout: Layout,
    present: Sequence[tuple[str, str]],
    names: Sequence[str],
) -> list[Reject]:
    """Return the malformed records and those with values that are not of their column's type."""
    malformed = {}
    if names:
        found = session.execute(
            "SELECT line, any_value(csv_line), string_agg(DISTINCT error_message, '; ') "
            "FROM reject_errors GROUP BY line ORDER BY line"
        ).fetchall()
        for begin, raw, reason in found:
            # DuckDB counts a record's line from the empty lines before it.
            text = (raw or "").lstrip("\r\n")
            line = begin + (raw or "")[: len(raw or "") - len(text)].count("\n")
            malformed[line] = Reject(path, line, text.rstrip("\r\n")[:_RAW_CHARACTERS], reason)
    bad_rows = [
        number
        for (number,) in session.execute(
            f"SELECT rowid FROM {RECORDS} WHERE {_BAD} ORDER BY rowid"
        ).fetchall()
    ]
    mistyped = _mistyped(local, path, layout, present, names, set(malformed), bad_rows)
    return sorted([*malformed.values(), *mistyped], key=lambda reject: reject.line or 0)


def _mistyped(
    local: str,
    path: str,
    layout: Layout,
    present: Sequence[tuple[str, str]],
    names: Sequence[str],
    malformed: set[int],
    bad_rows: Sequence[int],
) -> Iterator[Reject]:
    """Find the lines of records by their number among the well-formed ones, with the csv module.

    This path is for broken files only; DuckDB does not tell where in the file a row came from.
    """
    if not bad_rows:
        return
    probe = duckdb.connect(":memory:")
    wanted = set(bad_rows)
    for number, (line, text, values) in enumerate(_records(local, layout, malformed)):
        if number not in wanted:
            continue
        record = dict(zip(names, values, strict=False))
        reason = "; ".join(
            f"column {name}: {record.get(name)!r} is no {kind}"
            for name, kind in present
            if record.get(name) not in (None, *layout.null_strings)
            and _is_bad_value(probe, str(record[name]), kind)
        )
        yield Reject(path, line, text[:_RAW_CHARACTERS], reason or "a value is not of its column's type")
        wanted.discard(number)
    for _ in wanted:
        yield Reject(path, None, "", "a value is not of its column's type")


def _is_bad_value(probe: duckdb.DuckDBPyConnection, text: str, kind: str) -> bool:
    question = f"SELECT {casts.is_bad('v', kind)} FROM (SELECT ?::VARCHAR AS v)"
    ((bad,),) = probe.execute(question, [text]).fetchall()
    return bool(bad)


def _records(
    local: str, layout: Layout, malformed: set[int]
) -> Iterator[tuple[int, str, list[str]]]:
    """Yield line, text and values of each well-formed record after the header."""
    with Path(local).open(encoding="utf-8-sig", errors="replace", newline="") as stream:
        seen: list[str] = []
        source = _remembering(stream, seen)
        reader = csv.reader(source, delimiter=layout.delimiter)
        line = 1
        skip_header = layout.header
        for values in reader:
            begin, line = line, reader.line_num + 1
            text = "".join(seen).rstrip("\r\n")
            seen.clear()
            if not values or begin in malformed:
                continue
            if skip_header:
                skip_header = False
                continue
            yield begin, text, values


def _remembering(lines: Iterator[str], seen: list[str]) -> Iterator[str]:
    for line in lines:
        seen.append(line)
        yield line
