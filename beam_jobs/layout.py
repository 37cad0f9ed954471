"""The layout of a run's files: found out once, before the run, so that every block agrees on it."""

from __future__ import annotations

import csv
import itertools
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import duckdb

from beam_jobs.errors import InputError, UsageError
from beam_jobs.files import InputFile, content_ending, open_input
from beam_jobs.formats import FileFormat, FormatName
from beam_jobs.inference import SAMPLE, USUAL_NULL_STRINGS, find_null_strings, infer_types
from beam_jobs.partition_paths import path_columns
from beam_jobs.session import quote_text

FILENAME = "filename"
_FORMATS: Mapping[str, FormatName] = MappingProxyType(
    {".csv": "csv", ".tsv": "csv", ".txt": "text", ".log": "text"}
)
_SAMPLED_FILES = 10
_SAMPLED_BYTES = 512 * 1024
# The longest record; one that is longer is a reject.
MAX_RECORD_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class Layout:
    """How the files of a run are read.

    Attributes:
        name: ``csv``; ``text`` with the one column ``line``; or ``counts``, which has one record a
            file with its number of lines and bytes.
        columns: Name to DuckDB type of the columns in the files.
        path_columns: Name to DuckDB type of the columns in the files' paths; a column of the files
            goes before one of the same name in the path.
        delimiter: Between the values of a CSV record.
        header: Whether the first record of each CSV file names its columns.
        null_strings: Texts that are NULL, the empty one among them.
    """

    name: FormatName | Literal["counts"]
    columns: Mapping[str, str]
    path_columns: Mapping[str, str] = field(default_factory=dict)
    delimiter: str = ","
    header: bool = True
    null_strings: tuple[str, ...] = ("",)

    @property
    def input_columns(self) -> dict[str, str]:
        """Name and type of all columns of the table ``input``."""
        taken = {name.lower() for name in self.columns}
        added = {**self.path_columns, FILENAME: "VARCHAR"}
        return {**self.columns, **{n: kind for n, kind in added.items() if n.lower() not in taken}}


def counts_layout() -> Layout:
    """Return the layout of files that are only counted, whatever is in them."""
    return Layout("counts", {"lines": "BIGINT", "bytes": "BIGINT"})


def find_layout(files: Sequence[InputFile], given: FileFormat) -> Layout:
    """Find out the layout of a run's files from what is given and from a sample of them.

    Args:
        files: All files of the run; up to ten of them, spread over the run, are sampled.
        given: What is known already; it is not questioned.

    Raises:
        InputError: A sampled file cannot be read.
        UsageError: The files' endings do not tell the format, or a declared type is unknown.
    """
    name = given.name or _format_of([file.path for file in files])
    in_paths = path_columns([file.path for file in files])
    if name == "text":
        return Layout("text", {"line": "VARCHAR"}, in_paths)
    with tempfile.TemporaryDirectory(prefix="tallyflow-") as folder:
        heads = list(_heads(files, Path(folder)))
        return _find_csv_layout(heads, given, in_paths)


def _format_of(paths: Sequence[str]) -> FormatName:
    first_of = {content_ending(path): path for path in reversed(paths)}
    for ending, path in first_of.items():
        if ending not in _FORMATS:
            known = ", ".join(_FORMATS)
            raise UsageError(f"{path}: the ending is none of {known}; say the format with --format")
    if len({_FORMATS[ending] for ending in first_of}) > 1:
        listed = ", ".join(sorted(first_of))
        raise UsageError(f"the files have several formats ({listed}); say which with --format")
    return next((_FORMATS[ending] for ending in first_of), "csv")


def _heads(files: Sequence[InputFile], folder: Path) -> Iterator[Path]:
    """Copy the beginnings of the sampled files, cut after the last whole line."""
    filled = [file for file in files if file.size]
    step = max(1, -(-len(filled) // _SAMPLED_FILES))
    for number, file in enumerate(filled[::step]):
        with open_input(file.path) as stream:
            head = stream.read(_SAMPLED_BYTES)
        if len(head) == _SAMPLED_BYTES:
            head = head[: head.rfind(b"\n") + 1] or head
        if head.strip():
            path = folder / f"{number}.csv"
            path.write_bytes(head)
            yield path


def _find_csv_layout(
    heads: Sequence[Path], given: FileFormat, in_paths: Mapping[str, str]
) -> Layout:
    declared = dict(given.columns or {})
    if not heads:
        return Layout("csv", declared, in_paths, null_strings=_nulls(given.null_strings))
    # With external access: this session runs no SQL of the user's.
    session = duckdb.connect(":memory:")
    delimiter, header = _sniff(session, heads[0], given)
    names = _column_names(heads, delimiter, header)
    _stack(session, heads, names, delimiter, header)
    sampled = dict.fromkeys(itertools.chain.from_iterable(names.values()))
    open_columns = [name for name in sampled if name.lower() not in _lowered(declared)]
    nulls = _nulls(given.null_strings)
    types = infer_types(session, open_columns, nulls)
    if given.null_strings is None:
        nulls = find_null_strings(session, types)
        types = infer_types(session, open_columns, nulls)
    types.update({_spelled(name, sampled): kind for name, kind in declared.items()})
    columns = {name: types[name] for name in [*sampled, *types] if name in types}
    return Layout("csv", columns, in_paths, delimiter, header, nulls)


def _nulls(given: tuple[str, ...] | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(("", *(given or ()))))


def _lowered(columns: Mapping[str, str]) -> set[str]:
    return {name.lower() for name in columns}


def _spelled(name: str, sampled: Mapping[str, None]) -> str:
    """Return a declared column's name as the files spell it: SQL does not look at case."""
    return next((found for found in sampled if found.lower() == name.lower()), name)


def _sniff(session: duckdb.DuckDBPyConnection, head: Path, given: FileFormat) -> tuple[str, bool]:
    """Find out the delimiter and whether there is a header, from one file."""
    if given.delimiter is not None and given.header is not None:
        return given.delimiter, given.header
    options = "" if given.delimiter is None else f", delim = {quote_text(given.delimiter)}"
    if given.header is not None:
        options += f", header = {given.header}"
    nulls = ", ".join(quote_text(null) for null in _nulls(given.null_strings or USUAL_NULL_STRINGS))
    try:
        rows = session.execute(
            f"SELECT Delimiter, HasHeader FROM sniff_csv({quote_text(str(head))}, "
            f"nullstr = [{nulls}], ignore_errors = true{options})"
        ).fetchall()
    except duckdb.Error:
        rows = []  # Nothing to learn from: the reader will say what is wrong with the file.
    delimiter, header = rows[0] if rows else (",", True)
    return given.delimiter or delimiter, header if given.header is None else given.header


def read_column_names(path: str, delimiter: str, header: bool, source: str) -> list[str]:
    """Return the names of a CSV file's columns: its header, or ``column0``, ``column1`` and so on.

    Args:
        path: Local file of plain bytes.
        delimiter: Between values.
        header: Whether the first record holds the names.
        source: What to call the file in an error.

    Raises:
        InputError: A name is missing or stands twice.
    """
    with Path(path).open(encoding="utf-8-sig", errors="replace", newline="") as stream:
        first = next((row for row in csv.reader(_bounded(stream), delimiter=delimiter) if row), [])
    if not header:
        return [f"column{number}" for number in range(len(first))]
    lowered = [name.lower() for name in first]
    for number, name in enumerate(lowered):
        if not name.strip():
            raise InputError(
                f"{source}: line 1: column {number + 1} has no name; name it in the file, or say "
                "that there is no header"
            )
        if name in lowered[:number]:
            raise InputError(f"{source}: line 1: two columns are named {first[number]!r}; rename one")
    return first


def _bounded(lines: Iterator[str]) -> Iterator[str]:
    """Give the csv module no more than one record may hold, whatever the file is."""
    read = 0
    for line in lines:
        read += len(line)
        if read > MAX_RECORD_BYTES:
            return
        yield line


def _column_names(
    heads: Sequence[Path], delimiter: str, header: bool
) -> dict[Path, list[str]]:
    return {head: read_column_names(str(head), delimiter, header, head.name) for head in heads}


def _stack(
    session: duckdb.DuckDBPyConnection,
    heads: Sequence[Path],
    names: Mapping[Path, list[str]],
    delimiter: str,
    header: bool,
) -> None:
    """Load the heads as texts into one table ``sample``, by column name."""
    everything = " UNION ALL BY NAME ".join(
        f"FROM {read_csv(str(head), names[head], delimiter, header, ('',), rejects=False)}"
        for head in heads
    )
    session.execute(f"CREATE TABLE {SAMPLE} AS {everything}")


def read_csv(
    path: str,
    names: Sequence[str],
    delimiter: str,
    header: bool,
    null_strings: Sequence[str],
    *,
    rejects: bool,
) -> str:
    """Return SQL that reads a CSV file as texts.

    Args:
        path: Local file of plain bytes.
        names: Its columns' names, in the file's order.
        delimiter: Between values.
        header: Whether to skip the first record.
        null_strings: Texts to read as NULL.
        rejects: Whether malformed records go into ``reject_errors``; else they are skipped.
    """
    columns = ", ".join(f"{quote_text(name)}: 'VARCHAR'" for name in names)
    nulls = ", ".join(quote_text(null) for null in null_strings)
    errors = "store_rejects = true, rejects_limit = 0" if rejects else "ignore_errors = true"
    return (
        f"read_csv({quote_text(path)}, columns = {{{columns}}}, auto_detect = false, "
        f"delim = {quote_text(delimiter)}, quote = '\"', escape = '\"', header = {header}, "
        f"nullstr = [{nulls}], max_line_size = {MAX_RECORD_BYTES}, {errors})"
    )
