"""How the columns of one CSV file are those of the run, and what of its records is set aside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO

from beam_jobs import casts
from beam_jobs.csv_records import HEAD_BYTES, CsvRecord, check_encoding, read_header
from beam_jobs.csv_source import text_column
from beam_jobs.layout import Layout, other_layout
from beam_jobs.reports import KEPT_REJECTS, TEXT_CHARACTERS, BlockReport, Reject


def value_column(number: int) -> str:
    """Return what a source calls the values of a file's column, counted from 0."""
    return f"v{number}"


@dataclass(frozen=True)
class Column:
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
        return value_column(self.place or 0)

    @property
    def is_bad(self) -> str | None:
        """SQL for whether its text is no value of its type; None if every text is one."""
        return casts.is_bad(self.text, self.value, self.kind)

    @property
    def in_input(self) -> str:
        """SQL for its value over a source."""
        return f"CAST(NULL AS {self.kind})" if self.place is None else self.value


@dataclass(frozen=True)
class FileColumns:
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
    columns: tuple[Column, ...]
    is_first: bool = True

    @classmethod
    def read(cls, stream: IO[bytes], path: str, layout: Layout) -> tuple[FileColumns, int]:
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
            Column(name, kind, places.get(name.lower())) for name, kind in layout.columns.items()
        )
        return cls(path, layout, tuple(names), columns), first_line

    def told(self) -> FileColumns:
        """Return the columns for the blocks after the first."""
        return FileColumns(self.path, self.layout, self.names, self.columns, is_first=False)

    @property
    def present(self) -> list[Column]:
        """The run's columns that the file has."""
        return [column for column in self.columns if column.place is not None]

    def report(self, rows: int, rejects: Rejects | None = None) -> BlockReport:
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


class Rejects:
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
