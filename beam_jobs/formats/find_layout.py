"""Finds out the layout of a run's files, from what is declared and from a sample of them."""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping, Sequence
from typing import IO

from beam_jobs.datasets.partition_paths import path_columns
from beam_jobs.errors import InputError, UsageError
from beam_jobs.files import InputFile, content_ending, open_input
from beam_jobs.formats import casts
from beam_jobs.formats.csv_layout import Head, checked, find_csv_layout
from beam_jobs.formats.csv_records import MAX_RECORD
from beam_jobs.formats.encodings import HEAD_BYTES, check_encoding, check_kind, detected_encoding
from beam_jobs.formats.formats import (
    ENDINGS,
    OPTION_FORMATS,
    Dialect,
    Encoding,
    FileFormat,
    FormatName,
)
from beam_jobs.formats.layout import Layout

_SAMPLED_FILES = 10
# Of all sampled files together, but not less than the least of each.
_SAMPLED_BYTES = 512 * 1024
_LEAST_BYTES = 64 * 1024
_LINE_END = re.compile(rb"\r\n?")


def find_layout(files: Sequence[InputFile], given: FileFormat) -> Layout:
    """Find out the layout of a run's files from what is given and from a sample of them.

    Args:
        files: All files of the run; up to ten of them, spread over the run, are sampled.
        given: What is known already; it is not questioned.

    Raises:
        InputError: A sampled file cannot be read, or is of another layout than the others.
        UsageError: The files' endings do not tell the format, an option does not go with it, or a
            declared type is unknown.
    """
    name = given.name or _format_of([file.path for file in files])
    _check_options(name, given)
    declared = dict(given.columns or {})
    _check_types(declared, name)
    in_paths = {**path_columns([file.path for file in files]), **given.path_columns}
    # An empty text file is one without records; of the other formats, none is empty.
    is_text = name in ("csv", "text", "json")
    filled = [file for file in files if file.size or not is_text]
    sampled = filled[:: max(1, -(-len(filled) // _SAMPLED_FILES))]
    match name:
        case "csv":
            given = checked(given)
            encoding, heads = _read_heads(sampled, given, name)
            return find_csv_layout(heads, given, encoding, in_paths)
        case "text":
            encoding, _ = _read_heads(sampled, given, name)
            return Layout(name, {"line": "VARCHAR"}, in_paths, Dialect(encoding=encoding))
        case "json":
            from beam_jobs.formats.json_lines import find_columns
        case "parquet":
            from beam_jobs.formats.parquet_files import find_columns
        case "avro":
            from beam_jobs.formats.avro_files import find_columns
    columns = find_columns(sampled, declared)
    known = {column.lower() for column in declared}
    inferred = frozenset(column for column in columns if column.lower() not in known)
    return Layout(name, columns, in_paths, inferred=inferred)


def _format_of(paths: Sequence[str]) -> FormatName:
    first_of = {content_ending(path): path for path in reversed(paths)}
    for ending, path in first_of.items():
        if ending not in ENDINGS:
            known = ", ".join(ENDINGS)
            raise UsageError(f"{path}: the ending is none of {known}; say the format with --format")
    if len({ENDINGS[ending] for ending in first_of}) > 1:
        listed = ", ".join(sorted(first_of))
        raise UsageError(f"the files have several formats ({listed}); say which with --format")
    return next((ENDINGS[ending] for ending in first_of), "csv")


def _check_options(name: FormatName, given: FileFormat) -> None:
    for option, formats in OPTION_FORMATS.items():
        value = getattr(given, option)
        if value is not None and name not in formats:
            raise UsageError(
                f"{option} {value!r}: is for {' and '.join(formats)} files only, and these are "
                f"{name}; leave it out, or say another format with --format"
            )


def _check_types(columns: Mapping[str, str], name: FormatName) -> None:
    for column, kind in columns.items():
        if not casts.is_type(kind):
            raise UsageError(
                f"column {column}: {kind!r} is not a type of DuckDB, such as VARCHAR or "
                "DECIMAL(10, 2)"
            )
        if name == "csv" and not casts.can_be_read(kind):
            raise UsageError(
                f"column {column}: a column of a CSV file cannot be {kind}; declare it VARCHAR, "
                f"and cast it in the query"
            )


def _read_heads(
    files: Sequence[InputFile], given: FileFormat, name: FormatName
) -> tuple[Encoding, list[Head]]:
    """Return the encoding of text files, and the beginnings of those that hold any text.

    Raises:
        InputError: They are not of one encoding, or are no text.
    """
    size = max(_LEAST_BYTES, _SAMPLED_BYTES // max(1, len(files)))
    found: dict[Encoding, str] = {}
    heads = []
    for file in files:
        encoding, data = _read_head(file, given, size if name == "csv" else HEAD_BYTES)
        if encoding:
            found.setdefault(encoding, file.path)
        if data.removeprefix(codecs.BOM_UTF8).strip(b"\n"):
            heads.append(Head(file.path, data))
    if len(found) > 1:
        one, other = (f"{path} is {encoding.upper()}" for encoding, path in found.items())
        raise InputError(
            f"{one}, but {other}; save all files in one encoding, or give each kind of file a "
            "pattern of its own"
        )
    return next(iter(found), given.encoding or "utf-8"), heads


def _read_head(file: InputFile, given: FileFormat, size: int) -> tuple[Encoding | None, bytes]:
    """Return the encoding of a file, None if it is too short to tell, and its beginning as UTF-8.

    The beginning ends with a whole line, and its line ends are all alike: DuckDB's sniffer gives up
    on a file that mixes them.
    """
    encoding = given.encoding
    data = b""
    if encoding is None or encoding == "utf-8":
        with open_input(file) as stream:
            data = _beginning(stream, given, size)
        check_kind(data, file.path)
        if encoding:
            check_encoding(data, file.path)
        else:
            encoding = detected_encoding(data)
    if encoding and encoding != "utf-8":
        with open_input(file, encoding) as stream:
            data = _beginning(stream, given, size)
    is_cut = len(data) >= size
    data = _LINE_END.sub(b"\n", data)
    return encoding, (data[: data.rfind(b"\n") + 1] or data) if is_cut else data


def _beginning(stream: IO[bytes], given: FileFormat, size: int) -> bytes:
    """Read the beginning of a file: some bytes of it, and more if its header is longer."""
    data = stream.read(size)
    while (
        len(data) < MAX_RECORD
        and not _has_line(data, given)
        and (more := stream.read(max(size, len(data))))
    ):
        data += more
    return data


def _has_line(data: bytes, given: FileFormat) -> bool:
    """Whether a whole line, of those that are neither skipped nor blank nor comments, is there."""
    comment = (given.comment or "").encode()
    lines = data.removeprefix(codecs.BOM_UTF8).splitlines(keepends=True)
    return any(
        line.endswith((b"\n", b"\r"))
        and line.strip(b"\r\n")
        and not (comment and line.startswith(comment))
        for line in lines[given.skip_lines or 0 :]
    )
