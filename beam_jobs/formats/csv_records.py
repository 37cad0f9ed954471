r"""The CSV dialects, spelled out: how a file falls into records, and which are malformed.

A record ends at ``\n``, ``\r\n`` or ``\r``, also where a file mixes them. A value that begins with
a quote runs to the closing one; two quotes within stand for one; spaces around a quoted value are
no part of it. A quote amid an unquoted value is a character like any other. What a `Dialect` may
change of it is said there.

This is the careful reader: exact about every record, but some ten times slower than Arrow's,
which is asked first (see `beam_jobs.formats.csv_load`).
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO, NamedTuple

from beam_jobs.errors import InputError
from beam_jobs.formats.encodings import HEAD_BYTES, check_encoding
from beam_jobs.formats.formats import Dialect

# The longest record, in characters; one that is longer is a reject.
MAX_RECORD = 16 * 1024 * 1024
_SHOWN_NAMES = 10
# Matches at no place.
_NEVER = "(?!)"


class CsvRecord(NamedTuple):
    """One record of a file, blank lines included.

    Attributes:
        line: Line of the file where it begins, from 1.
        lines: How many lines of the file it takes.
        text: As it stands in the file, its end included; bytes that are no UTF-8 are escaped as
            `surrogateescape` does it. The beginning of it only, where it is too long.
        values: Of its columns, as far as they could be read.
        problem: What is malformed; empty for a good record.
    """

    line: int
    lines: int
    text: str
    values: list[str]
    problem: str = ""

    @property
    def is_blank(self) -> bool:
        """Whether there is nothing before the end of the line."""
        return not self.text.strip("\r\n")


def read_records(stream: IO[bytes], dialect: Dialect, first_line: int = 1) -> Iterator[CsvRecord]:
    """Yield every record of a file, the header included; comments are none.

    Args:
        stream: The text of the file as UTF-8.
        dialect: Of the file. Its `skip_lines` are the caller's to count into `first_line`, as the
            stream may begin amid a file.
        first_line: Line where the records begin; whatever is before it is skipped.
    """
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")
    grammar = _Grammar.of(dialect)
    delimiter, comment = dialect.delimiter, dialect.comment
    quote, escape = dialect.quote, dialect.escape
    not_text = f"not {dialect.encoding.upper()}"
    lines = _bounded_lines(text)
    number = 1
    for line in lines:
        if number < first_line or (comment and line.startswith(comment)):
            number += 1
            continue
        if (quote and quote in line) or (escape and escape in line):
            record = _SpecialRecord(grammar, line, lines).read(number)
        else:
            # Of a record that is too long, millions of values are of no use.
            values = line.rstrip("\r\n").split(delimiter) if len(line) < MAX_RECORD else []
            record = CsvRecord(number, 1, line, values)
        number += record.lines
        yield _checked(record, not_text)
    text.detach()  # The stream is the caller's to close.


class Header(NamedTuple):
    """The first record of a file that is not blank.

    Attributes:
        names: Of the columns; none where all of the file is blank.
        line: Where it begins.
        next_line: The line after it.
        text: As it stands in the file, without its end.
    """

    names: list[str]
    line: int = 1
    next_line: int = 1
    text: str = ""


def read_header(stream: IO[bytes], dialect: Dialect, source: str) -> Header:
    """Return the names in the first record that is not blank, after the lines to be skipped.

    Args:
        stream: The text of the file's beginning as UTF-8.
        dialect: Of the file.
        source: What to call the file in an error.

    Raises:
        InputError: A name is missing or stands twice, or the record is malformed, UTF-16 or no
            text.
    """
    records = read_records(stream, dialect, dialect.skip_lines + 1)
    header = next((record for record in records if not record.is_blank), None)
    if header is None:
        return Header([])
    check_encoding(header.text[:HEAD_BYTES].encode(errors="surrogateescape"), source)
    place = f"{source}: line {header.line}"
    if header.problem:
        raise InputError(f"{place}: the header is malformed: {header.problem}")
    names = header.values
    known: set[str] = set()
    for number, name in enumerate(name.lower() for name in names):
        if not name.strip() or "\0" in name:
            raise InputError(
                f"{place}: column {number + 1} has no name ({names[number]!r}); name it in the "
                "file, or say that there is no header"
            )
        if name in known:
            raise InputError(f"{place}: two columns are named {names[number]!r}; rename one")
        known.add(name)
    text = header.text.rstrip("\r\n")
    return Header(names, header.line, header.line + header.lines, text)


def some_of(names: Iterable[str]) -> str:
    """Return names for a message, the first of them where there are many."""
    listed = list(names)
    more = len(listed) - _SHOWN_NAMES
    return ", ".join(listed[:_SHOWN_NAMES]) + (f" and {more:,} more" if more > 0 else "")


def _bounded_lines(stream: IO[str]) -> Iterator[str]:
    """Yield the lines with their ends; of one that is too long for a record, the beginning."""
    while line := stream.readline(MAX_RECORD):
        yield line
        while len(line) == MAX_RECORD and line[-1] not in "\r\n":
            line = stream.readline(MAX_RECORD)


def _checked(record: CsvRecord, not_text: str) -> CsvRecord:
    if record.problem:
        return record
    if len(record.text) >= MAX_RECORD:
        return record._replace(problem=_too_long())
    if not record.text.isascii():
        try:
            record.text.encode()
        except UnicodeEncodeError:
            return record._replace(problem=not_text)
    return record


def _too_long() -> str:
    return f"longer than {MAX_RECORD:,} characters"


@dataclass(frozen=True)
class _Grammar:
    """The patterns of a dialect: each matches at a place within a line.

    Attributes:
        delimiter: Between values.
        opening: The quote that opens a value.
        inside: What follows it up to the closing quote or the end of the line, and that quote.
        plain: A value that is not quoted; it ends with an end of line only if that is escaped.
        after: What follows a value.
        escaped: What stands for its group 1 within a value.
        escape: As in the dialect.
        quote: As in the dialect.
    """

    delimiter: str
    opening: re.Pattern[str]
    inside: re.Pattern[str]
    plain: re.Pattern[str]
    after: re.Pattern[str]
    escaped: re.Pattern[str]
    escape: str
    quote: str

    @classmethod
    def of(cls, dialect: Dialect) -> _Grammar:
        between, quote, escape, comment = map(
            re.escape, (dialect.delimiter, dialect.quote, dialect.escape, dialect.comment)
        )
        spaces = "" if " " in dialect.delimiter else " *"
        end = r"\r\n|\r|\n"
        special = "|".join(filter(None, (escape, quote, between, end, comment)))
        # Of an escape before any other character, both stand for themselves.
        pair = rf"{escape}(?:{special}|[\s\S]|\Z)" if escape else quote + quote
        unquoted = (
            rf"[^{between}\r\n{escape}]*+"
            if len(dialect.delimiter) == 1
            else rf"(?:(?!{between})[^\r\n{escape}])*+"
        )
        within = f"[^{quote}{escape}]*+"
        return cls(
            dialect.delimiter,
            opening=re.compile(spaces + quote if quote else _NEVER),
            inside=re.compile(f"({within}(?:{pair}{within})*+)({quote}?)" if quote else _NEVER),
            plain=re.compile(f"{unquoted}(?:{pair}{unquoted})*+" if escape else unquoted),
            after=re.compile(rf"{spaces}({between}|(?:{end})?\Z)"),
            escaped=re.compile(f"{escape}({special})" if escape else _NEVER),
            escape=dialect.escape,
            quote=dialect.quote,
        )


class _Malformed(Exception):  # noqa: N818  (never leaves this module)
    """What is malformed in the record being read."""


class _SpecialRecord:
    """Reads one record that has quotes or escapes in it, and takes the lines that it spans."""

    def __init__(self, grammar: _Grammar, line: str, following: Iterator[str]) -> None:
        self._grammar = grammar
        self._following = following
        self._line = line
        self._position = 0
        self._texts = [line]
        self._size = len(line)
        self._lines = 1

    def read(self, number: int) -> CsvRecord:
        """Return the record, which begins at line `number`."""
        values: list[str] = []
        problem = ""
        try:
            while self._value(values):
                pass
        except _Malformed as malformed:
            problem = str(malformed)
        if not problem and self._size >= MAX_RECORD:
            problem = _too_long()
        return CsvRecord(number, self._lines, "".join(self._texts), values, problem)

    def _value(self, values: list[str]) -> bool:
        """Read one value; returns whether another follows."""
        if self._take(self._grammar.opening):
            values.append(self._quoted())
        elif self._grammar.escape:
            values.append(self._escaped())
        elif plain := self._take(self._grammar.plain):
            values.append(plain[0])
        after = self._take(self._grammar.after)
        if after is None:
            raise _Malformed("text after a closing quote")
        return after[1] == self._grammar.delimiter

    def _quoted(self) -> str:
        parts: list[str] = []
        while inside := self._take(self._grammar.inside):
            if self._size < MAX_RECORD:
                parts.append(inside[1])
            if inside[2]:
                break
            if not self._next_line():
                raise _Malformed("a quote is not closed by the end of the file")
        text = "".join(parts)
        if self._grammar.escape:
            return self._grammar.escaped.sub(r"\1", text)
        quote = self._grammar.quote
        return text.replace(quote + quote, quote)

    def _escaped(self) -> str:
        parts: list[str] = []
        while plain := self._take(self._grammar.plain):
            if self._size < MAX_RECORD:
                parts.append(plain[0])
            if not plain[0].endswith(("\r", "\n")) or not self._next_line():
                break
        return self._grammar.escaped.sub(r"\1", "".join(parts))

    def _next_line(self) -> bool:
        """Take the next line; returns whether there is one."""
        line = next(self._following, None)
        if line is None:
            return False
        self._line, self._position = line, 0
        self._lines += 1
        self._size += len(line)
        if self._size < MAX_RECORD:
            self._texts.append(line)
        return True

    def _take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        match = pattern.match(self._line, self._position)
        if match:
            self._position = match.end()
        return match
