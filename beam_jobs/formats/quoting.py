"""Proves where the records of a CSV block begin and end, without parsing it.

A newline ends a record unless it stands within quotes, and whether it does depends on every quote
before it. So the end of a block is only known to be the end of a record when all quotes of the
block are known to open and close values as RFC 4180 says.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from beam_jobs.formats.byte_search import places
from beam_jobs.formats.formats import Dialect


def _table(allowed: str) -> npt.NDArray[np.bool_]:
    table = np.zeros(256, np.bool_)
    table[list(allowed.encode())] = True
    return table


@dataclass(frozen=True, eq=False)
class RecordEnds:
    """Where the records of a block end, whose quotes are known to be regular.

    Attributes:
        block: The bytes, from the beginning of a record.
        quotes: Positions of its quotes.
    """

    block: bytes | bytearray
    quotes: npt.NDArray[np.intp]

    @property
    def last(self) -> int:
        """The end of the last whole record, 0 if there is none."""
        end = self.block.rfind(b"\n") + 1
        while end and (before := self._quotes_before(end)) % 2:
            # The newline stands within quotes: the next to try is before the one that opens them.
            end = self.block.rfind(b"\n", 0, int(self.quotes[before - 1])) + 1
        return end

    def at_or_after(self, position: int) -> int | None:
        """Return the first end of a record that is not before a position, which is 1 or more."""
        newline = self.block.find(b"\n", position - 1)
        while newline >= 0 and (before := self._quotes_before(newline)) % 2:
            if before == len(self.quotes):
                return None  # The quotes are closed beyond the block.
            newline = self.block.find(b"\n", int(self.quotes[before]))
        return newline + 1 if newline >= 0 else None

    def _quotes_before(self, position: int) -> int:
        return int(np.searchsorted(self.quotes, position))


def record_ends(block: bytes | bytearray, dialect: Dialect) -> RecordEnds | None:
    """Return where the records of a block end, None where that cannot be proven.

    The block has to begin at the beginning of a record. Its quotes are taken in pairs: the first
    of a pair has to follow a delimiter, a newline, or the second of another (``""``, an escaped
    quote), and the second has to stand before one of these. By induction, the first of each pair
    then opens a value, or is the second half of an escaped quote, and the second closes it or
    begins one. Where a dialect has an escape, a block has to be without any, and quotes are not
    doubled.

    Args:
        block: Bytes from the beginning of a record.
        dialect: Of the file.

    Returns:
        None if a quote or an escape stands where none may, or a carriage return without a newline;
        or if the delimiter is not one character of ASCII.
    """
    if not _ends_at_newlines(block, dialect):
        return None
    if not dialect.quote:
        return RecordEnds(block, np.empty(0, np.intp))
    data = np.frombuffer(block, np.uint8)
    quotes = places(data, ord(dialect.quote))
    return RecordEnds(block, quotes) if _are_regular(quotes, data, dialect) else None


def _ends_at_newlines(block: bytes | bytearray, dialect: Dialect) -> bool:
    """Whether all that may end a record, quotes left aside, is a newline."""
    if len(dialect.delimiter) != 1 or not dialect.delimiter.isascii():
        return False
    if dialect.escape and dialect.escape.encode() in block:
        return False
    if dialect.comment and dialect.quote and _has_quoted_comment(block, dialect):
        return False
    return b"\r" not in block or block.count(b"\r") == block.count(b"\r\n")


def _are_regular(
    quotes: npt.NDArray[np.intp], data: npt.NDArray[np.uint8], dialect: Dialect
) -> bool:
    """Whether all quotes stand where one opens a value or closes it."""
    around = dialect.delimiter + "\n" + ("" if dialect.escape else dialect.quote)
    first, second = quotes[::2], quotes[1::2]
    if len(first) and first[0] == 0:
        first = first[1:]
    if not _table(around)[data[first - 1]].all():
        return False
    if len(second) and second[-1] == len(data) - 1:
        second = second[:-1]  # What follows it is not known yet; no record ends after it here.
    return bool(_table(around + "\r")[data[second + 1]].all())


def _has_quoted_comment(block: bytes | bytearray, dialect: Dialect) -> bool:
    """Whether a line that may be a comment holds a quote, which then is none."""
    mark, quote = re.escape(dialect.comment.encode()), re.escape(dialect.quote.encode())
    pattern = rb"(?m:^)" + mark + rb"[^\n" + quote + rb"]*" + quote
    return re.search(pattern, block) is not None


def guess_record(window: bytes, dialect: Dialect) -> int | None:
    """Guess where a record begins in bytes that begin anywhere: the first after a newline.

    The bytes may begin within quotes. Of the two ways to read them, seldom more than one puts all
    quotes where they may stand. Nothing may depend on the guess but speed: whoever reads what is
    before has to find the same place.

    Returns:
        The place, 1 or more; None if neither way fits, or there is no newline.
    """
    for before in (b"", dialect.quote.encode()):
        ends = record_ends(before + window, dialect)
        if ends and (place := ends.at_or_after(len(before) + 1)) is not None:
            return place - len(before)
    return None
