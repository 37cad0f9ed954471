"""Proves where the records of a CSV block begin and end, without parsing it.

A newline ends a record unless it stands within quotes, and whether it does depends on every quote
before it. So the end of a block is only known to be the end of a record when all quotes of the
block are known to open and close values as RFC 4180 says.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_QUOTE = ord('"')
_NEWLINE = ord("\n")
_RETURN = ord("\r")


def _table(delimiter: str, *others: int) -> npt.NDArray[np.bool_]:
    allowed = np.zeros(256, np.bool_)
    allowed[[ord(delimiter), _NEWLINE, _QUOTE, *others]] = True
    return allowed


def whole_records(block: bytes, delimiter: str) -> int | None:
    """Return how many bytes of a block are whole records, None where that cannot be proven.

    The block has to begin at the beginning of a record. Its quotes are taken in pairs: the first
    of a pair has to follow a delimiter, a newline, or the second of another (``""``, an escaped
    quote), and the second has to stand before one of these. By induction, the first of each pair
    then opens a value, or is the second half of an escaped quote, and the second closes it or
    begins one.

    Args:
        block: Bytes from the beginning of a record.
        delimiter: Between values, one character of ASCII.

    Returns:
        The end of the last newline outside of quotes, 0 if there is none; None if a quote stands
        where none may, or a carriage return stands without a newline.
    """
    data = np.frombuffer(block, np.uint8)
    if b"\r" in block and block.count(b"\r") != block.count(b"\r\n"):
        return None
    quotes = np.flatnonzero(data == _QUOTE)
    end = block.rfind(b"\n") + 1
    if not len(quotes):
        return end
    first, second = quotes[::2], quotes[1::2]
    if first[0] == 0:
        first = first[1:]
    if not _table(delimiter)[data[first - 1]].all():
        return None
    if len(second) and second[-1] == len(data) - 1:
        second = second[:-1]  # Of what follows it nothing is known yet; the cut below is before it.
    if not _table(delimiter, _RETURN)[data[second + 1]].all():
        return None
    while end and np.searchsorted(quotes, end) % 2:
        # The newline stands within quotes: the next one to try is before the quote that opens them.
        opening = quotes[np.searchsorted(quotes, end) - 1]
        end = block.rfind(b"\n", 0, int(opening)) + 1
    return end
