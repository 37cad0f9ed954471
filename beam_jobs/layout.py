"""The layout of a run's files: found out once, before the run, so that every block agrees on it."""

from __future__ import annotations

import codecs
import itertools
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import duckdb

from beam_jobs import casts
from beam_jobs.csv_records import read_header, read_records
from beam_jobs.csv_source import CsvFile, careful_source, text_column
from beam_jobs.errors import UsageError
from beam_jobs.files import InputFile, content_ending, open_input
from beam_jobs.formats import FileFormat, FormatName
from beam_jobs.inference import SAMPLE, USUAL_NULL_STRINGS, find_null_strings, infer_types
from beam_jobs.partition_paths import path_columns
from beam_jobs.session import quote_name, quote_text

FILENAME = "filename"
_FORMATS: Mapping[str, FormatName] = MappingProxyType(
    {".csv": "csv", ".tsv": "csv", ".txt": "text", ".log": "text"}
)
_SAMPLED_FILES = 10
_SAMPLED_BYTES = 512 * 1024
_DELIMITER_BYTES = 4
# Of a file without header, this many records tell how many columns there are.
_SNIFFED_RECORDS = 100


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
    _check_declared(given.columns or {})
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


@dataclass(frozen=True)
class _Head:
    """The beginning of a sampled file: a local copy, the file it is of, its header's names."""

    local: str
    path: str
    names: tuple[str, ...] = ()
    first_line: int = 1


def _heads(files: Sequence[InputFile], folder: Path) -> Iterator[_Head]:
    """Copy the beginnings of the sampled files, cut after the last whole line."""
    filled = [file for file in files if file.size]
    step = max(1, -(-len(filled) // _SAMPLED_FILES))
    for number, file in enumerate(filled[::step]):
        with open_input(file.path) as stream:
            head = stream.read(_SAMPLED_BYTES)
        if len(head) == _SAMPLED_BYTES:
            head = head[: head.rfind(b"\n") + 1] or head
        # The sniffer gives up on a file that mixes line ends.
        head = head.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        if head.removeprefix(codecs.BOM_UTF8).strip(b"\n"):
            local = folder / f"{number}.csv"
            local.write_bytes(head)
            yield _Head(str(local), file.path)


def _find_csv_layout(
    heads: Sequence[_Head], given: FileFormat, in_paths: Mapping[str, str]
) -> Layout:
    declared = dict(given.columns or {})
    delimiter = _delimiter(given.delimiter)
    if not heads:
        header = given.header is not False
        nulls = _nulls(given.null_strings)
        return Layout("csv", declared, in_paths, delimiter or ",", header, nulls)
    # With external access: this session runs no SQL of the user's.
    session = duckdb.connect(":memory:")
    delimiter, header = _sniff(session, heads[0], given, delimiter)
    heads = [_with_names(head, delimiter, header, declared) for head in heads]
    sampled = _load_sample(session, heads, delimiter)
    open_columns = [name for name in sampled if name.lower() not in _lowered(declared)]
    nulls = _nulls(given.null_strings)
    types = infer_types(session, open_columns, nulls)
    if given.null_strings is None:
        nulls = find_null_strings(session, types)
        # What is a number or a date already stays one.
        texts = [name for name, kind in types.items() if kind == "VARCHAR"]
        types.update(infer_types(session, texts, nulls))
    types.update({_spelled(name, sampled): kind for name, kind in declared.items()})
    columns = {name: types[name] for name in [*sampled, *types] if name in types}
    return Layout("csv", columns, in_paths, delimiter, header, nulls)


def _check_declared(columns: Mapping[str, str]) -> None:
    for name, kind in columns.items():
        if not casts.is_type(kind):
            raise UsageError(
                f"column {name}: {kind!r} is not a type of DuckDB, such as VARCHAR or "
                "DECIMAL(10, 2)"
            )
        if not casts.can_be_read(kind):
            raise UsageError(
                f"column {name}: a column of a CSV file cannot be {kind}; declare it VARCHAR, and "
                f"cast it in the query"
            )


def _delimiter(given: str | None) -> str | None:
    """Return a given delimiter, a tab also where it is spelled, as shells make it hard to type."""
    if given == r"\t":
        return "\t"
    if given is not None and not (0 < len(given.encode()) <= _DELIMITER_BYTES):
        raise UsageError(f"the delimiter {given!r} must be one character, or a few: 1 to 4 bytes")
    if given is not None and any(character in given for character in '"\r\n\0'):
        raise UsageError(f"the delimiter {given!r} cannot hold a quote or an end of line")
    return given


def _nulls(given: tuple[str, ...] | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(("", *(given or ()))))


def _lowered(columns: Iterable[str]) -> set[str]:
    return {name.lower() for name in columns}


def _spelled(name: str, sampled: Mapping[str, None]) -> str:
    """Return a declared column's name as the files spell it: SQL does not look at case."""
    return next((found for found in sampled if found.lower() == name.lower()), name)


def _sniff(
    session: duckdb.DuckDBPyConnection, head: _Head, given: FileFormat, delimiter: str | None
) -> tuple[str, bool]:
    """Find out the delimiter and whether there is a header, from one file."""
    if delimiter is not None and given.header is not None:
        return delimiter, given.header
    options = "" if delimiter is None else f", delim = {quote_text(delimiter)}"
    if given.header is not None:
        options += f", header = {given.header}"
    nulls = ", ".join(quote_text(null) for null in _nulls(given.null_strings or USUAL_NULL_STRINGS))
    try:
        rows = session.execute(
            f"SELECT Delimiter, HasHeader FROM sniff_csv({quote_text(head.local)}, quote = '\"', "
            f"escape = '\"', nullstr = [{nulls}], ignore_errors = true{options})"
        ).fetchall()
    except duckdb.Error:
        rows = []  # Nothing to learn from: the reader will say what is wrong with the file.
    found, header = rows[0] if rows else (",", True)
    return delimiter or found, header if given.header is None else given.header


def _with_names(head: _Head, delimiter: str, header: bool, declared: Mapping[str, str]) -> _Head:
    """Return a head with its columns' names: without a header, the declared ones in their order."""
    if header:
        with Path(head.local).open("rb") as stream:
            names, first_line = read_header(stream, delimiter, head.path)
        return replace(head, names=tuple(names), first_line=first_line)
    with Path(head.local).open("rb") as stream:
        first = itertools.islice(read_records(stream, delimiter), _SNIFFED_RECORDS)
        widths = Counter(len(record.values) for record in first if not record.is_blank)
    ((width, _),) = widths.most_common(1)
    numbered = tuple(f"column{number}" for number in range(width))
    if _lowered(declared) <= set(numbered):
        return replace(head, names=numbered)
    if len(declared) != width:
        raise UsageError(
            f"{head.path}: {width} columns and no header, but {len(declared)} are declared "
            f"({', '.join(declared)}); declare all of them in their order"
        )
    return replace(head, names=tuple(declared))


def _load_sample(
    session: duckdb.DuckDBPyConnection, heads: Sequence[_Head], delimiter: str
) -> dict[str, None]:
    """Load the good records of the heads as texts into one table; returns its columns' names."""
    names: dict[str, None] = {}
    for head in heads:
        known = _lowered(names)
        names.update(dict.fromkeys(name for name in head.names if name.lower() not in known))
    listed = ", ".join(f"{quote_name(name)} VARCHAR" for name in names)
    session.execute(f"CREATE TABLE {SAMPLE}({listed})")
    for head in heads:
        texts = ", ".join(
            f"{text_column(number)} AS {quote_name(name)}" for number, name in enumerate(head.names)
        )
        with Path(head.local).open("rb") as stream:
            file = CsvFile(stream, len(head.names), delimiter, ("",), head.first_line)
            session.register("head", careful_source(file, set_aside=lambda _: None))
            session.execute(f"INSERT INTO {SAMPLE} BY NAME SELECT {texts} FROM head")
    return names
