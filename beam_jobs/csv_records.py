r"""The CSV dialect, spelled out: how a file falls into records, and which are malformed.

A record ends at ``\n``, ``\r\n`` or ``\r``, also where a file mixes them. A value that begins with
a quote runs to the closing one; two quotes within stand for one; spaces around a quoted value are
no part of it. A quote amid an unquoted value is a character like any other.

This is the careful reader: exact about every record, but some ten times slower than Arrow's,
which is asked first (see `beam_jobs.csv_load`).
"""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO, NamedTuple

from beam_jobs.errors import InputError

# The longest record, in characters; one that is longer is a reject.
MAX_RECORD = 16 * 1024 * 1024
# So much of a file tells that it is UTF-16, and so little does not.
HEAD_BYTES = 1024
_SMALL_HEAD_BYTES = 6
_SHOWN_NAMES = 10


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


def read_records(stream: IO[bytes], delimiter: str) -> Iterator[CsvRecord]:
    """Yield every record of a file of plain bytes, the header included."""
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")
    grammar = _Grammar.of(delimiter)
    lines = _bounded_lines(text)
    number = 1
    for line in lines:
        record = (
            _QuotedRecord(grammar, line, lines).read(number)
            if '"' in line
            else CsvRecord(number, 1, line, line.rstrip("\r\n").split(delimiter))
        )
        number += record.lines
        yield _checked(record)
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


def read_header(stream: IO[bytes], delimiter: str, source: str) -> Header:
    """Return the names in the first record that is not blank.

    Args:
        stream: The plain bytes of the file's beginning.
        delimiter: Between the names.
        source: What to call the file in an error.

    Raises:
        InputError: A name is missing or stands twice, or the record is malformed or UTF-16.
    """
    header = next((one for one in read_records(stream, delimiter) if not one.is_blank), None)
    if header is None:
        return Header([])
    check_encoding(header.text.encode(errors="surrogateescape"), source)
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


def check_encoding(head: bytes, source: str) -> None:
    """Fail on the beginning of a file that is UTF-16: it marks itself, or every other byte is NUL.

    Raises:
        InputError: It is.
    """
    head = head[:HEAD_BYTES]
    halves = head[::2], head[1::2]
    fewer, more = sorted(half.count(0) / max(1, len(half)) for half in halves)
    unmarked = len(head) >= _SMALL_HEAD_BYTES and not fewer and more > 1 / 2
    if unmarked or head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise InputError(f"{source}: line 1: the file is UTF-16 ({head[:8]!r}…); save it as UTF-8")


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


def _checked(record: CsvRecord) -> CsvRecord:
    if record.problem:
        return record
    if len(record.text) >= MAX_RECORD:
        return record._replace(problem=_too_long())
    if not record.text.isascii():
        try:
            record.text.encode()
        except UnicodeEncodeError:
            return record._replace(problem="not UTF-8")
    return record


def _too_long() -> str:
    return f"longer than {MAX_RECORD:,} characters"


@dataclass(frozen=True)
class _Grammar:
    """The patterns of a dialect: each matches at a place within a line."""

    delimiter: str
    opening: re.Pattern[str]
    inside: re.Pattern[str]
    plain: re.Pattern[str]
    after: re.Pattern[str]

    @classmethod
    def of(cls, delimiter: str) -> _Grammar:
        between = re.escape(delimiter)
        spaces = "" if " " in delimiter else " *"
        return cls(
            delimiter,
            opening=re.compile(f'{spaces}"'),
            inside=re.compile('([^"]*+(?:""[^"]*+)*+)("?)'),
            plain=re.compile(f"(?:(?!{between})[^\r\n])*"),
            after=re.compile(f"{spaces}({between}|(?:\r\n|\r|\n)?\\Z)"),
        )


class _Malformed(Exception):  # noqa: N818  (never leaves this module)
    """What is malformed in the record being read."""


class _QuotedRecord:
    """Reads one record that has quotes in it, and takes the lines that they span."""

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
        else:
            plain = self._take(self._grammar.plain)
            values.append(plain[0] if plain else "")
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
            self._next_line()
        return "".join(parts).replace('""', '"')

    def _next_line(self) -> None:
        line = next(self._following, None)
        if line is None:
            raise _Malformed("a quote is not closed by the end of the file")
        self._line, self._position = line, 0
        self._lines += 1
        self._size += len(line)
        if self._size < MAX_RECORD:
            self._texts.append(line)

    def _take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        match = pattern.match(self._line, self._position)
        if match:
            self._position = match.end()
        return match
