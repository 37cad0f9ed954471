"""How the columns of one CSV file are those of the run, and what of its records is set aside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import IO

from beam_jobs.engine.reports import KEPT_REJECTS, TEXT_CHARACTERS, Reject
from beam_jobs.formats import casts
from beam_jobs.formats.csv_records import CsvRecord, read_header
from beam_jobs.formats.csv_source import text_column
from beam_jobs.formats.encodings import HEAD_BYTES, check_encoding
from beam_jobs.formats.layout import Layout, other_layout


def value_column(number: int) -> str:
    """Return what a source calls the values of a file's column, counted from 0."""
    return f"v{number}"


@dataclass(frozen=True)
class Column:
    """A column of the run.

    Attributes:
        name: Its name.
        kind: Its type in DuckDB.
        place: Its place among the file's columns, None if it is missing.
        is_inferred: Whether its type is not declared, but was found out from a sample.
    """

    name: str
    kind: str
    place: int | None
    is_inferred: bool = False

    @property
    def text(self) -> str:
        """What a source calls its text."""
        return text_column(self.place or 0)

    @property
    def value(self) -> str:
        """What a source calls its value."""
        return value_column(self.place or 0)

    @property
    def claim(self) -> str:
        """What a bad text of it is said to be."""
        hint = ", the type of the sample; declare the column's" if self.is_inferred else ""
        return f"is no {self.kind}{hint}"

    @property
    def is_bad(self) -> str | None:
        """SQL for whether its text is no value of its type; None if every text is one."""
        return casts.is_bad(self.text, self.value, self.kind)


@dataclass(frozen=True)
class FileColumns:
    """How the columns of one file are those of the run.

    Attributes:
        path: The file as matched.
        layout: Of the run.
        names: The file's columns, in their order.
        columns: The run's columns that are wanted.
        missing: The run's columns that the file does not have.
        ignored: The file's columns that the run does not have.
        first_line: The line of the first record.
    """

    path: str
    layout: Layout
    names: tuple[str, ...]
    columns: tuple[Column, ...]
    missing: tuple[str, ...]
    ignored: tuple[str, ...]
    first_line: int

    @classmethod
    def read(
        cls, stream: IO[bytes], path: str, layout: Layout, wanted: Mapping[str, str]
    ) -> FileColumns:
        """Return the columns of a file from its header.

        Raises:
            InputError: The header is broken or has none of the run's columns, or is UTF-16.
        """
        names, first_line = list(layout.columns), layout.dialect.skip_lines + 1
        known = {name.lower() for name in layout.columns}
        if layout.header:
            header = read_header(stream, layout.dialect, path)
            names, first_line = header.names, header.next_line
            if names and known and known.isdisjoint(name.lower() for name in names):
                raise other_layout(path, header, layout.columns)
        else:
            check_encoding(stream.read(HEAD_BYTES), path)
        places = {name.lower(): number for number, name in enumerate(names)}
        return cls(
            path,
            layout,
            tuple(names),
            tuple(
                Column(name, kind, places.get(name.lower()), name in layout.inferred)
                for name, kind in wanted.items()
            ),
            tuple(name for name in layout.columns if names and name.lower() not in places),
            tuple(name for name in names if name.lower() not in known),
            first_line,
        )

    def of(self, path: str) -> FileColumns:
        """Return the columns of another file with the same header."""
        return replace(self, path=path)

    @property
    def present(self) -> list[Column]:
        """The wanted columns that the file has."""
        return [column for column in self.columns if column.place is not None]


class Rejects:
    """Counts the rejects of a block and keeps the first of them."""

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
        self._kept.append(Reject(self._path, record.line, shown, record.problem, record.lines))
        if len(self._kept) > 2 * KEPT_REJECTS:
            self._kept = list(self.first)

    @property
    def first(self) -> tuple[Reject, ...]:
        """The first in the order of the file."""
        return tuple(sorted(self._kept, key=lambda reject: reject.line)[:KEPT_REJECTS])
