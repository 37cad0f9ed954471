"""Loads a block of JSON lines: fast where that is proven to be exact, line by line elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from beam_jobs.engine.reports import KEPT_REJECTS, TEXT_CHARACTERS, BlockReport, Reject
from beam_jobs.formats.byte_search import line_offsets
from beam_jobs.formats.csv_records import MAX_RECORD
from beam_jobs.formats.json_careful import CarefulLines, read_lines
from beam_jobs.formats.json_columns import find_columns
from beam_jobs.formats.json_fast import can_be_fast, read_objects, well_formed
from beam_jobs.formats.json_parse import MalformedError, read_object

__all__ = ["find_columns", "load"]

Numbers = npt.NDArray[np.int64]
_BRACE = ord("{")
_BLANK = b" \t\r\n"
_MOST_BYTES_OF_A_CHARACTER = 4


def load(
    session: duckdb.DuckDBPyConnection,
    block: bytes | memoryview | pa.Buffer,
    path: str,
    wanted: Mapping[str, str],
    known: Mapping[str, str],
) -> tuple[pa.Table, BlockReport]:
    """Read the wanted columns of a block of whole lines.

    Args:
        session: Any; what is registered in it is taken out again.
        block: Lines that end with a newline; the last may lack it. Blank lines are no records.
        path: The file.
        wanted: Name and DuckDB type of the columns to return.
        known: All columns of the run.

    Returns:
        The columns, in the order of the lines, and the report.
    """
    lines = _Lines.of(block)
    filled = lines.filled()
    if can_be_fast(wanted):
        table, numbers, doubtful = _read_fast(session, lines, filled, wanted)
    else:
        table, numbers, doubtful = None, filled[:0], filled
    problems: dict[int, str] = {}
    if table is None or len(doubtful):
        careful = read_lines(session, lines.numbered(doubtful), wanted)
        problems = careful.problems
        table, numbers = _merged(table, numbers, careful)
    rejects = [
        Reject(path, number + 1, lines.shown(number), problems[number])
        for number in sorted(problems)[:KEPT_REJECTS]
    ]
    missing, ignored = _drift(lines, numbers, table, known)
    count = len(lines.offsets) - 1
    return table, BlockReport(
        path, len(numbers), len(problems), tuple(rejects), missing, ignored, lines=count
    )


@dataclass(frozen=True)
class _Lines:
    """The lines of a block, counted from 0; the bytes are not copied."""

    data: npt.NDArray[np.uint8]
    offsets: Numbers

    @classmethod
    def of(cls, block: bytes | memoryview | pa.Buffer) -> _Lines:
        data = np.frombuffer(memoryview(block), np.uint8)
        return cls(data, line_offsets(data))

    def __getitem__(self, number: int) -> bytes:
        return self.data[self.offsets[number] : self.offsets[number + 1]].tobytes()

    def filled(self) -> Numbers:
        """Return the numbers of the lines that are not blank."""
        starts = self.data[self.offsets[:-1]]
        filled = starts == _BRACE
        for number in np.flatnonzero(~filled).tolist():
            filled[number] = bool(self[number].strip(_BLANK))
        return np.flatnonzero(filled)

    def simple(self, numbers: Numbers) -> npt.NDArray[np.bool_]:
        """Return which lines begin with a brace and are not too long."""
        sizes = self.offsets[numbers + 1] - self.offsets[numbers]
        is_simple: npt.NDArray[np.bool_] = (self.data[self.offsets[numbers]] == _BRACE) & (
            sizes <= MAX_RECORD
        )
        return is_simple

    def texts(self, numbers: Numbers) -> pa.Array[Any]:
        """Return lines as Arrow's texts, which may be no UTF-8."""
        count = len(self.offsets) - 1
        buffers = [
            None,
            pa.py_buffer(self.offsets.data),
            pa.py_buffer(self.data.data),
        ]
        lines = pa.Array.from_buffers(pa.large_string(), count, buffers)
        return lines if len(numbers) == count else lines.take(pa.array(numbers, pa.int64()))

    def numbered(self, numbers: Numbers) -> list[tuple[int, bytes]]:
        """Return the number and the bytes of lines."""
        return [(number, self[number]) for number in numbers.tolist()]

    def shown(self, number: int) -> str:
        """Return the beginning of a line, for a reject."""
        start, end = self.offsets[number], self.offsets[number + 1]
        some = self.data[start : min(end, start + _MOST_BYTES_OF_A_CHARACTER * TEXT_CHARACTERS)]
        return some.tobytes().decode(errors="replace").rstrip("\r\n")[:TEXT_CHARACTERS]


def _read_fast(
    session: duckdb.DuckDBPyConnection,
    lines: _Lines,
    numbers: Numbers,
    wanted: Mapping[str, str],
) -> tuple[pa.Table | None, Numbers, Numbers]:
    """Read what DuckDB's parser is to be trusted with.

    Returns:
        The columns of those lines, their numbers, and the numbers of the other lines.
    """
    simple = lines.simple(numbers)
    likely, others = numbers[simple], numbers[~simple]
    found = read_objects(session, lines.texts(likely), wanted, complete=True)
    if found is None:
        formed = well_formed(session, lines.texts(likely))
        others = np.concatenate((others, likely[~formed]))
        likely = likely[formed]
        found = read_objects(session, lines.texts(likely), wanted, complete=False)
    if found is None:
        return None, numbers[:0], numbers
    table, doubtful = found
    if doubtful.any():
        table = table.filter(pa.array(~doubtful))
        others = np.concatenate((others, likely[doubtful]))
        likely = likely[~doubtful]
    return table, likely, np.sort(others)


def _merged(
    table: pa.Table | None, numbers: Numbers, careful: CarefulLines
) -> tuple[pa.Table, Numbers]:
    """Return the columns of lines that were read in both ways, in the order of the lines."""
    if table is None:
        return careful.table, np.array(careful.numbers, np.int64)
    both = np.concatenate((numbers, np.array(careful.numbers, np.int64)))
    order = np.argsort(both)
    return pa.concat_tables([table, careful.table]).take(pa.array(order, pa.int64())), both[order]


def _drift(
    lines: _Lines, numbers: Numbers, table: pa.Table, known: Mapping[str, str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the missing and the new columns, as the first record of the block tells them.

    A column that the first record lacks is missing if it is NULL in all of the block.
    """
    if not len(numbers):
        return (), ()
    try:
        keys = [key for key, _ in read_object(lines[int(numbers[0])].decode()) or ()]
    except MalformedError:
        return (), ()
    there, expected = {key.lower() for key in keys}, {name.lower() for name in known}
    missing = tuple(
        name
        for name, column in zip(table.column_names, table.columns, strict=True)
        if name.lower() not in there and column.null_count == len(column)
    )
    ignored = tuple(dict.fromkeys(key for key in keys if key.lower() not in expected))
    return missing, ignored
