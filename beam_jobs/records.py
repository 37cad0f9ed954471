"""Loads the records of one block into a session's table ``input``, rejects set aside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from beam_jobs.csv_records import HEAD_BYTES, check_encoding
from beam_jobs.layout import FILENAME, Layout
from beam_jobs.partition_paths import path_values
from beam_jobs.reports import KEPT_REJECTS, TEXT_CHARACTERS, BlockReport, Reject
from beam_jobs.session import quote_name, quote_text
from beam_jobs.sql.shape import INPUT


def load_text(
    session: duckdb.DuckDBPyConnection, block: bytes, first_line: int, path: str, layout: Layout
) -> BlockReport:
    """Load a block of whole lines; the line ends are no part of them.

    Args:
        session: Its table ``input`` is made anew.
        block: Bytes of the lines, UTF-8.
        first_line: Number of the block's first line in the file.
        path: The file.
        layout: Of the run.

    Raises:
        InputError: It is the first block of a file that is UTF-16.
    """
    if first_line == 1:
        check_encoding(block[:HEAD_BYTES], path)
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
    create_input(session, layout, path, {"line": line}, "lines")
    return BlockReport(path, len(lines), len(rejects), tuple(rejects[:KEPT_REJECTS]))


def load_counts(
    session: duckdb.DuckDBPyConnection, lines: int, size: int, path: str, layout: Layout
) -> BlockReport:
    """Load the one record of a file that is only counted: its lines and its bytes."""
    values = {"lines": f"{lines}::BIGINT", "bytes": f"{size}::BIGINT"}
    create_input(session, layout, path, values, "(SELECT 1)")
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


def create_input(
    session: duckdb.DuckDBPyConnection,
    layout: Layout,
    path: str,
    columns: Mapping[str, str],
    source: str,
) -> None:
    """Create ``input`` over a source of records, with the columns of the file's path.

    Args:
        session: Its table ``input`` is made anew.
        layout: Of the run.
        path: The file as matched.
        columns: SQL over the source for the value of each column of the files.
        source: Table or view of the records.
    """
    texts = {**path_values(path), FILENAME: path}
    values = [f"{value} AS {quote_name(name)}" for name, value in columns.items()]
    for name, kind in layout.input_columns.items():
        if name not in columns:
            text = texts.get(name)
            literal = "NULL" if text is None else quote_text(text)
            values.append(f"CAST({literal} AS {kind}) AS {quote_name(name)}")
    session.execute(f"CREATE OR REPLACE VIEW {INPUT} AS SELECT {', '.join(values)} FROM {source}")
