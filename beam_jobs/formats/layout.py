"""The layout of a run's files: found out once, before the run, so that every block agrees on it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from beam_jobs.errors import InputError
from beam_jobs.formats.csv_records import Header, some_of
from beam_jobs.formats.formats import Dialect, Encoding, FormatName

FILENAME = "filename"
_SHOWN_CHARACTERS = 100


@dataclass(frozen=True)
class Layout:
    """How the files of a run are read.

    Attributes:
        name: The format; ``text`` has the one column ``line``, and ``counts`` a record for each
            piece of a file, with the number of files that begin in it and of its lines and bytes.
        columns: Name to DuckDB type of the columns in the files.
        path_columns: Name to DuckDB type of the columns in the files' paths; a column of the files
            goes before one of the same name in the path.
        dialect: Of CSV files; of text files only its encoding counts.
        inferred: The columns whose type is not declared but that of a sample's values.
    """

    name: FormatName | Literal["counts"]
    columns: Mapping[str, str]
    path_columns: Mapping[str, str] = field(default_factory=dict)
    dialect: Dialect = field(default_factory=Dialect)
    inferred: frozenset[str] = frozenset()

    @property
    def input_columns(self) -> dict[str, str]:
        """Name and type of all columns of the table ``input``."""
        taken = {name.lower() for name in self.columns}
        added = {**self.path_columns, FILENAME: "VARCHAR"}
        return {**self.columns, **{n: kind for n, kind in added.items() if n.lower() not in taken}}

    def divided(self, wanted: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
        """Divide columns of ``input`` into those of the files and those of their paths.

        Of the files there is one at least, where they have any: there are rows to count.
        """
        in_files = {name: kind for name, kind in wanted.items() if name in self.columns}
        in_paths = {name: kind for name, kind in wanted.items() if name not in self.columns}
        return in_files or dict([*self.columns.items()][:1]), in_paths

    @property
    def delimiter(self) -> str:
        """Between the values of a CSV record."""
        return self.dialect.delimiter

    @property
    def header(self) -> bool:
        """Whether the first record of each CSV file names its columns."""
        return self.dialect.header

    @property
    def null_strings(self) -> tuple[str, ...]:
        """Texts that are NULL in CSV files, the empty one among them."""
        return self.dialect.null_strings

    @property
    def encoding(self) -> Encoding:
        """Of the text of the files."""
        return self.dialect.encoding

    @property
    def splittable(self) -> bool:
        """Whether reading an uncompressed file may begin at any of its bytes.

        In other encodings than UTF-8, the bytes of a line's end may be parts of other characters,
        or need more than one byte.
        """
        return self.encoding == "utf-8"


def counts_layout() -> Layout:
    """Return the layout of files that are only counted, whatever is in them."""
    return Layout("counts", dict.fromkeys(("files", "lines", "bytes"), "BIGINT"))


def other_layout(path: str, header: Header, columns: Iterable[str]) -> InputError:
    """Return the error for a file whose header has none of the run's columns."""
    return InputError(
        f"{path}: line {header.line}: {shown(header.text)} has none of the run's columns "
        f"({some_of(columns)}); say how the files are read with --delimiter or --header, or give "
        "files of another kind a pattern of their own"
    )


def shown(text: str) -> str:
    """Return the beginning of a line as a message shows it."""
    text = text.rstrip("\r\n")
    more = "…" if len(text) > _SHOWN_CHARACTERS else ""
    return f"{text[:_SHOWN_CHARACTERS]!r}{more}"
