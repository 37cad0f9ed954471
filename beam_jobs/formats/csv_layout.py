"""Finds out the layout of CSV files from their beginnings: delimiter, header, NULLs, and types."""

from __future__ import annotations

import io
import itertools
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import duckdb

from beam_jobs.engine.session import quote_text
from beam_jobs.errors import InputError, UsageError
from beam_jobs.formats.csv_records import CsvRecord, Header, read_header, read_records
from beam_jobs.formats.csv_source import CsvFile, good_records
from beam_jobs.formats.formats import Dialect, Encoding, FileFormat, check_sign
from beam_jobs.formats.inference import USUAL_NULL_STRINGS, find_null_strings, infer_types
from beam_jobs.formats.layout import Layout, other_layout, shown

_DELIMITER_BYTES = 4
_USUAL_DELIMITERS = (",", ";", "\t", "|")
# The longest line that DuckDB's sniffer reads: it takes seconds to give up on a longer one.
_SNIFFED_LINE = 2_000_000
# Of a file without header, this many records tell how many columns there are.
_SNIFFED_RECORDS = 100


@dataclass(frozen=True)
class Head:
    """The beginning of a sampled file.

    Attributes:
        path: The file.
        data: Whole lines of it, if it has any; UTF-8, and the line ends are all alike.
        header: What names its columns.
    """

    path: str
    data: bytes
    header: Header = field(default_factory=lambda: Header([]))

    def records(self, dialect: Dialect) -> Iterator[CsvRecord]:
        """Return the records that are not blank."""
        found = read_records(io.BytesIO(self.data), dialect, dialect.skip_lines + 1)
        return (record for record in found if not record.is_blank)


def checked(given: FileFormat) -> FileFormat:
    """Return what is given if records can be read so for certain.

    A tab may be spelled in it, as shells make one hard to type.

    Raises:
        UsageError: A character cannot be what it is given as, or is given as two things.
    """
    if given.delimiter == r"\t":
        given = replace(given, delimiter="\t")
    delimiter = given.delimiter
    if delimiter is not None and not (0 < len(delimiter.encode()) <= _DELIMITER_BYTES):
        raise UsageError(
            f"the delimiter {delimiter!r} must be one character, or a few: 1 to 4 bytes"
        )
    if any(sign in (delimiter or "") for sign in "\r\n\0"):
        raise UsageError(f"the delimiter {delimiter!r} cannot hold an end of line")
    dialect = _declared_dialect(given)
    signs = {"quote": dialect.quote, "escape": dialect.escape, "comment": dialect.comment}
    for name, sign in signs.items():
        try:
            check_sign(sign)
        except ValueError as error:
            raise UsageError(f"the {name} {sign!r} {error}") from error
        if sign and sign in (delimiter or ""):
            raise UsageError(f"the delimiter {delimiter!r} cannot hold the {name}, {sign}")
    for (one, sign), (other, same) in itertools.combinations(signs.items(), 2):
        if sign and sign == same:
            raise UsageError(f"{sign!r} cannot be both the {one} and the {other}")
    return given


def find_csv_layout(
    heads: Sequence[Head], given: FileFormat, encoding: Encoding, in_paths: Mapping[str, str]
) -> Layout:
    """Find out the layout of CSV files.

    Args:
        heads: The beginnings of the sampled files that are not empty.
        given: What is known already.
        encoding: Of the files.
        in_paths: Name to type of the columns in the files' paths.

    Raises:
        InputError: A header is broken, or a file is of another layout than the others.
        UsageError: What is declared does not go with the files.
    """
    declared = dict(given.columns or {})
    dialect = replace(_declared_dialect(given), encoding=encoding)
    if not heads:
        return Layout("csv", declared, in_paths, dialect)
    # With external access: this session runs no SQL of the user's.
    session = duckdb.connect(":memory:")
    dialect = _sniff(session, heads[0], given, dialect)
    if not dialect.header and given.header is None:
        _check_no_header(session, heads, given, dialect)
    heads = [_with_names(head, dialect, declared) for head in heads]
    _check_same_layout(heads, declared)
    sample = _sample(heads, dialect)
    known = _lowered(declared)
    undeclared = {name: texts for name, texts in sample.items() if name.lower() not in known}
    types = infer_types(session, undeclared, dialect.null_strings)
    if given.null_strings is None:
        # What is a number or a date already stays one.
        texts = {name: sample[name] for name, kind in types.items() if kind == "VARCHAR"}
        nulls, others = find_null_strings(session, texts)
        types.update(others)
        dialect = replace(dialect, null_strings=nulls)
    inferred = frozenset(types)
    # SQL does not look at case: a declared column is spelled as in the files.
    spelled = {name.lower(): name for name in sample}
    types.update({spelled.get(name.lower(), name): kind for name, kind in declared.items()})
    columns = {name: types[name] for name in [*sample, *types]}
    return Layout("csv", columns, in_paths, dialect, inferred)


def _declared_dialect(given: FileFormat) -> Dialect:
    """Return the dialect as far as it is declared; a quote as the escape means that it doubles."""
    quote = Dialect.quote if given.quote is None else given.quote
    return Dialect(
        delimiter=given.delimiter or Dialect.delimiter,
        quote=quote,
        escape="" if given.escape is None or given.escape == quote else given.escape,
        comment=given.comment or "",
        skip_lines=given.skip_lines or 0,
        null_strings=_nulls(given.null_strings),
        header=given.header is not False,
    )


def _nulls(given: tuple[str, ...] | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(("", *(given or ()))))


def _lowered(columns: Iterable[str]) -> set[str]:
    return {name.lower() for name in columns}


def _sniff(
    session: duckdb.DuckDBPyConnection, head: Head, given: FileFormat, dialect: Dialect
) -> Dialect:
    """Find out the delimiter and whether there is a header, from one file."""
    is_known = given.delimiter is not None and given.header is not None
    if is_known or (b"\n" not in head.data[:_SNIFFED_LINE] and len(head.data) > _SNIFFED_LINE):
        return dialect
    nulls = ", ".join(quote_text(null) for null in _nulls(given.null_strings or USUAL_NULL_STRINGS))
    quote, escape = quote_text(dialect.quote), quote_text(dialect.escape or dialect.quote)
    options = f"quote = {quote}, escape = {escape}, nullstr = [{nulls}], ignore_errors = true"
    if given.delimiter is not None:
        options += f", delim = {quote_text(given.delimiter)}"
    if given.header is not None:
        options += f", header = {given.header}"
    with tempfile.NamedTemporaryFile(prefix="tallyflow-", suffix=".csv") as file:
        file.write(_without_comments(head.data, dialect))
        file.flush()
        try:
            rows = session.execute(
                f"SELECT Delimiter, HasHeader FROM sniff_csv({quote_text(file.name)}, {options})"
            ).fetchall()
        except duckdb.Error:
            return dialect  # The reader will say what is wrong with the file.
    ((delimiter, header),) = rows
    if given.delimiter is None and delimiter != dialect.delimiter:
        _check_delimiter(head, delimiter)
    return replace(
        dialect,
        delimiter=given.delimiter or delimiter,
        header=header if given.header is None else given.header,
    )


def _check_delimiter(head: Head, delimiter: str) -> None:
    """Fail where the delimiter that was found stands nowhere in the first line, and others do.

    Raises:
        InputError: The file would have one column; a quote that is never closed leads to that.
    """
    first = head.data.split(b"\n", 1)[0].decode(errors="replace")
    others = [sign for sign in _USUAL_DELIMITERS if sign in first]
    if delimiter not in first and others:
        raise InputError(
            f"{head.path}: line 1: {shown(first)} may have several columns or one; say what stands "
            f"between them, such as --delimiter {others[0]!r}"
        )


def _without_comments(data: bytes, dialect: Dialect) -> bytes:
    """Return the lines that DuckDB's sniffer is to see: it has comments amid a line, too."""
    if not dialect.comment and not dialect.skip_lines:
        return data
    lines = data.splitlines(keepends=True)[dialect.skip_lines :]
    comment = dialect.comment.encode()
    return b"".join(line for line in lines if not (comment and line.startswith(comment)))


def _check_no_header(
    session: duckdb.DuckDBPyConnection, heads: Sequence[Head], given: FileFormat, dialect: Dialect
) -> None:
    """Fail where the first file seems to have no header, and another seems to have one.

    Raises:
        InputError: The header would be read as a record.
    """
    for head in heads[1:]:
        if _sniff(session, head, given, dialect).header and (
            first := next(head.records(dialect), None)
        ):
            raise InputError(
                f"{head.path}: line {first.line}: {shown(first.text)} looks like a header, but "
                f"{heads[0].path} seems to have none; say which with --header, or give each kind "
                "of file a pattern of its own"
            )


def _check_same_layout(heads: Sequence[Head], declared: Mapping[str, str]) -> None:
    """Fail on a file that shares no column with the others, or with what is declared.

    Raises:
        InputError: All of its values would be lost.
    """
    heads = [head for head in heads if head.header.names]
    known = _lowered(declared) or _lowered(heads[0].header.names if heads else ())
    left = list(heads)
    # A file may share columns with one that shares others with the next.
    while same := [head for head in left if not known.isdisjoint(_lowered(head.header.names))]:
        known |= {name for head in same for name in _lowered(head.header.names)}
        left = [head for head in left if head not in same]
    if left:
        columns = declared or dict.fromkeys(heads[0].header.names)
        raise other_layout(left[0].path, left[0].header, columns)


def _with_names(head: Head, dialect: Dialect, declared: Mapping[str, str]) -> Head:
    """Return a head with its columns' names: without a header, the declared ones in their order."""
    if dialect.header:
        return replace(head, header=read_header(io.BytesIO(head.data), dialect, head.path))
    first = itertools.islice(head.records(dialect), _SNIFFED_RECORDS)
    widths = Counter(len(record.values) for record in first)
    width = widths.most_common(1)[0][0] if widths else 0
    numbered = [f"column{number}" for number in range(width)]
    # Its records follow the lines that are skipped.
    names = Header(numbered, next_line=dialect.skip_lines + 1)
    if not width or _lowered(declared) <= set(numbered):
        return replace(head, header=names)
    if len(declared) != width:
        raise UsageError(
            f"{head.path}: {width} columns and no header, but {len(declared)} are declared "
            f"({', '.join(declared)}); declare all of them in their order"
        )
    return replace(head, header=names._replace(names=list(declared)))


def _sample(heads: Sequence[Head], dialect: Dialect) -> dict[str, list[str]]:
    """Return the texts in the good records of the heads by column, each of them once."""
    # By the name in lower case: its spelling, and a set in the order of the files.
    found: dict[str, tuple[str, dict[str, None]]] = {}
    unquestioned = replace(dialect, null_strings=("",))
    for head in heads:
        names = head.header.names
        columns = [found.setdefault(name.lower(), (name, {}))[1] for name in names]
        stream = io.BytesIO(head.data)
        file = CsvFile(stream, len(names), unquestioned, head.header.next_line)
        for record in good_records(file, set_aside=lambda _: None):
            for texts, text in zip(columns, record.values, strict=False):
                texts[text] = None
    return {name: list(texts) for name, texts in found.values()}
