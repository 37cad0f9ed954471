"""How the bytes of a file become records: what a dataset or the command line says about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

FormatName = Literal["csv", "text"]


@dataclass(frozen=True)
class FileFormat:
    """What is known about the layout of a dataset's files; None means "find out from the files".

    Attributes:
        name: ``csv`` has one record a line, with columns; ``text`` has the one column ``line``.
        delimiter: What separates the values of a CSV record.
        header: Whether the first line of a CSV file names its columns.
        null_strings: Values that mean NULL, quoted or not, beside the empty one.
        columns: Column name to DuckDB type, in any order; the columns not named are inferred.
    """

    name: FormatName | None = None
    delimiter: str | None = None
    header: bool | None = None
    null_strings: tuple[str, ...] | None = None
    columns: Mapping[str, str] | None = None
