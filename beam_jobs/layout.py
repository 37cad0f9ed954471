"""The layout of a run's files: found out once, before the run, so that every block agrees on it."""

from __future__ import annotations

import codecs
import itertools
import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import duckdb

from beam_jobs import casts
from beam_jobs.csv_records import (
    MAX_RECORD,
    Header,
    check_encoding,
    read_header,
    read_records,
    some_of,
)
from beam_jobs.csv_source import CsvFile, good_records
from beam_jobs.errors import InputError, UsageError
from beam_jobs.files import InputFile, content_ending, open_input
from beam_jobs.formats import FileFormat, FormatName
from beam_jobs.inference import USUAL_NULL_STRINGS, find_null_strings, infer_types
from beam_jobs.partition_paths import path_columns
from beam_jobs.session import quote_text

FILENAME = "filename"
_FORMATS: Mapping[str, FormatName] = MappingProxyType(
    {".csv": "csv", ".tsv": "csv", ".txt": "text", ".log": "text"}
)
_SAMPLED_FILES = 10
_SAMPLED_BYTES = 512 * 1024
_DELIMITER_BYTES = 4
# Of a file without header, this many records tell how many columns there are.
_SNIFFED_RECORDS = 100
_SHOWN_CHARACTERS = 100
_LINE_END = re.compile(rb"[\r\n]")


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
        InputError: A sampled file cannot be read, or is of another layout than the others.
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
    """The beginning of a sampled file: a local copy, the file it is of, its columns' names."""

    local: str
    path: str
    header: Header


def _heads(files: Sequence[InputFile], folder: Path) -> Iterator[_Head]:
    """Copy the beginnings of the sampled files, cut after the last whole line."""
    filled = [file for file in files if file.size]
    step = max(1, -(-len(filled) // _SAMPLED_FILES))
    for number, file in enumerate(filled[::step]):
        with open_input(file.path) as stream:
            head = stream.read(_SAMPLED_BYTES)
            # A header of many columns may be longer.
            while not _LINE_END.search(head) and len(head) < MAX_RECORD:
                if not (more := stream.read(_SAMPLED_BYTES)):
                    break
                head += more
        check_encoding(head, file.path)
        if len(head) >= _SAMPLED_BYTES:
            head = head[: head.rfind(b"\n") + 1] or head
        # The sniffer gives up on a file that mixes line ends.
        head = head.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        if head.removeprefix(codecs.BOM_UTF8).strip(b"\n"):
            local = folder / f"{number}.csv"
            local.write_bytes(head)
            yield _Head(str(local), file.path, Header([]))


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
    if not header and given.header is None:
        _check_no_header(session, heads, given, delimiter)
    heads = [_with_names(head, delimiter, header, declared) for head in heads]
    _check_same_layout(heads, declared)
    sample = _sample(heads, delimiter)
    known = _lowered(declared)
    nulls = _nulls(given.null_strings)
    undeclared = {name: texts for name, texts in sample.items() if name.lower() not in known}
    types = infer_types(session, undeclared, nulls)
    if given.null_strings is None:
        # What is a number or a date already stays one.
        texts = {name: sample[name] for name, kind in types.items() if kind == "VARCHAR"}
        nulls, others = find_null_strings(session, texts)
        types.update(others)
    # SQL does not look at case: a declared column is spelled as in the files.
    spelled = {name.lower(): name for name in sample}
    types.update({spelled.get(name.lower(), name): kind for name, kind in declared.items()})
    columns = {name: types[name] for name in [*sample, *types]}
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


def _check_no_header(
    session: duckdb.DuckDBPyConnection, heads: Sequence[_Head], given: FileFormat, delimiter: str
) -> None:
    """Fail where the first file seems to have no header, and another seems to have one.

    Raises:
        InputError: The header would be read as a record.
    """
    for head in heads[1:]:
        if _sniff(session, head, given, delimiter)[1]:
            with Path(head.local).open("rb") as stream:
                first = next(one for one in read_records(stream, delimiter) if not one.is_blank)
            raise InputError(
                f"{head.path}: line {first.line}: {_shown(first.text)} looks like a header, but "
                f"{heads[0].path} seems to have none; say which with --header, or give each kind "
                "of file a pattern of its own"
            )


def _check_same_layout(heads: Sequence[_Head], declared: Mapping[str, str]) -> None:
    """Fail on a file that shares no column with the others, or with what is declared.

    Raises:
        InputError: All of its values would be lost.
    """
    known = _lowered(declared) or _lowered(heads[0].header.names)
    left = list(heads)
    # A file may share columns with one that shares others with the next.
    while same := [head for head in left if not known.isdisjoint(_lowered(head.header.names))]:
        known |= {name for head in same for name in _lowered(head.header.names)}
        left = [head for head in left if head not in same]
    if left:
        columns = declared or dict.fromkeys(heads[0].header.names)
        raise other_layout(left[0].path, left[0].header, columns)


def other_layout(path: str, header: Header, columns: Iterable[str]) -> InputError:
    """Return the error for a file whose header has none of the run's columns."""
    return InputError(
        f"{path}: line {header.line}: {_shown(header.text)} has none of the run's columns "
        f"({some_of(columns)}); say how the files are read with --delimiter or --header, or give "
        "files of another kind a pattern of their own"
    )


def _shown(text: str) -> str:
    text = text.rstrip("\r\n")
    more = "…" if len(text) > _SHOWN_CHARACTERS else ""
    return f"{text[:_SHOWN_CHARACTERS]!r}{more}"


def _with_names(head: _Head, delimiter: str, header: bool, declared: Mapping[str, str]) -> _Head:
    """Return a head with its columns' names: without a header, the declared ones in their order."""
    if header:
        with Path(head.local).open("rb") as stream:
            return replace(head, header=read_header(stream, delimiter, head.path))
    with Path(head.local).open("rb") as stream:
        first = itertools.islice(read_records(stream, delimiter), _SNIFFED_RECORDS)
        widths = Counter(len(record.values) for record in first if not record.is_blank)
    ((width, _),) = widths.most_common(1)
    numbered = [f"column{number}" for number in range(width)]
    if _lowered(declared) <= set(numbered):
        return replace(head, header=Header(numbered))
    if len(declared) != width:
        raise UsageError(
            f"{head.path}: {width} columns and no header, but {len(declared)} are declared "
            f"({', '.join(declared)}); declare all of them in their order"
        )
    return replace(head, header=Header(list(declared)))


def _sample(heads: Sequence[_Head], delimiter: str) -> dict[str, list[str]]:
    """Return the texts in the good records of the heads by column, each of them once."""
    # By the name in lower case: its spelling, and a set in the order of the files.
    found: dict[str, tuple[str, dict[str, None]]] = {}
    for head in heads:
        names = head.header.names
        columns = [found.setdefault(name.lower(), (name, {}))[1] for name in names]
        with Path(head.local).open("rb") as stream:
            file = CsvFile(stream, len(names), delimiter, ("",), head.header.next_line)
            for record in good_records(file, set_aside=lambda _: None):
                for texts, text in zip(columns, record.values, strict=False):
                    texts[text] = None
    return {name: list(texts) for name, texts in found.values()}
