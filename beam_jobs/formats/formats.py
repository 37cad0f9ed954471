"""How the bytes of a file become records: what a dataset or the command line says about it."""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, get_args

FormatName = Literal["csv", "text", "json", "parquet", "avro"]
Compression = Literal["none", "gzip", "bzip2", "zstd"]
Encoding = Literal["utf-8", "utf-16", "utf-16-le", "utf-16-be", "latin-1", "windows-1252"]

# By the ending of the file's name, that of a compression taken off.
ENDINGS: Mapping[str, FormatName] = MappingProxyType(
    {
        ".csv": "csv",
        ".tsv": "csv",
        ".txt": "text",
        ".log": "text",
        ".jsonl": "json",
        ".ndjson": "json",
        ".json": "json",
        ".parquet": "parquet",
        ".avro": "avro",
    }
)
# The ending that tells each compression.
COMPRESSION_ENDINGS: Mapping[Compression, str] = MappingProxyType(
    {"none": "", "gzip": ".gz", "bzip2": ".bz2", "zstd": ".zst"}
)
_CSV: tuple[FormatName, ...] = ("csv",)
# The formats that each option is for; the others go with every format.
OPTION_FORMATS: Mapping[str, tuple[FormatName, ...]] = MappingProxyType(
    {
        "delimiter": _CSV,
        "quote": _CSV,
        "escape": _CSV,
        "comment": _CSV,
        "skip_lines": _CSV,
        "header": _CSV,
        "null_strings": _CSV,
        "encoding": ("csv", "text"),
        "columns": ("csv", "json", "parquet", "avro"),
        "compression": ("csv", "text", "json", "avro"),
    }
)
_PYTHON_NAMES: Mapping[str, Encoding] = {
    codecs.lookup(name).name: name for name in get_args(Encoding)
}


@dataclass(frozen=True)
class Dialect:
    r"""How a CSV file falls into records, and these into values.

    Attributes:
        delimiter: Between the values of a record, 1 to 4 bytes.
        quote: Around values that hold a delimiter or an end of line; empty where quotes are
            characters like any other, and every end of line ends a record.
        escape: Before a quote, a delimiter, an end of line or itself, takes its meaning from it;
            before anything else it is a character like any other. Empty where a quote within
            quotes is doubled instead.
        comment: A line that begins with it, outside of quotes, is none of the records; empty for
            none.
        skip_lines: So many lines of each file, before its header, are none of the records.
        null_strings: Texts that are NULL, the empty one among them.
        header: Whether the first record of each file names its columns.
        encoding: Of the text; for ``utf-16``, each file tells the order of its bytes.
    """

    delimiter: str = ","
    quote: str = '"'
    escape: str = ""
    comment: str = ""
    skip_lines: int = 0
    null_strings: tuple[str, ...] = ("",)
    header: bool = True
    encoding: Encoding = "utf-8"


@dataclass(frozen=True)
class FileFormat:
    """What is known about the layout of a dataset's files.

    None means "find out from the files"; quote, escape, comment and skip_lines are not found out
    but are those of `Dialect` where they are None.

    Attributes:
        name: ``csv`` has one record a line, with columns; ``text`` has the one column ``line``;
            ``json`` has one object a line.
        delimiter: What separates the values of a CSV record.
        header: Whether the first line of a CSV file names its columns.
        null_strings: Values that mean NULL, quoted or not, beside the empty one.
        columns: Column name to DuckDB type, in any order; the columns not named are inferred.
        quote: As in `Dialect`.
        escape: As in `Dialect`; a quote means that it is doubled.
        comment: As in `Dialect`.
        skip_lines: As in `Dialect`.
        encoding: Of the text of CSV and text files.
        compression: Of all files, whatever the endings of their names.
        path_columns: Name to DuckDB type of the columns that folders of the paths name; the others
            are inferred.
    """

    name: FormatName | None = None
    delimiter: str | None = None
    header: bool | None = None
    null_strings: tuple[str, ...] | None = None
    columns: Mapping[str, str] | None = None
    quote: str | None = None
    escape: str | None = None
    comment: str | None = None
    skip_lines: int | None = None
    encoding: Encoding | None = None
    compression: Compression | None = None
    path_columns: Mapping[str, str] = field(default_factory=dict)


def check_sign(text: str) -> str:
    """Return a quote, an escape or a comment character as it is, or empty for none.

    Raises:
        ValueError: It is no such character; the message follows the value.
    """
    if text and (len(text) > 1 or not ("!" <= text <= "~") or text.isalnum()):
        raise ValueError("is not one character of ASCII, or none: no letter, digit or space")
    return text


def encoding_name(text: str) -> Encoding:
    """Return the encoding of a name: ``latin-1`` of ``ISO-8859-1``.

    Raises:
        ValueError: It names no encoding that is read; the message follows the value.
    """
    try:
        return _PYTHON_NAMES[codecs.lookup(text).name]
    except (LookupError, ValueError) as error:
        raise ValueError(f"is not one of {', '.join(get_args(Encoding))}") from error
