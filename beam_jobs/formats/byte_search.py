"""Finds bytes in large blocks, some at a time: what stays in the processor's cache is faster.

An array as large as a block would be new memory for each, which the system has to clear first.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

_CACHED_BYTES = 256 * 1024
_NEWLINE = ord("\n")
_LOWER_CASE = 0x20  # the bit that makes a letter of ASCII small


def places(data: npt.NDArray[np.uint8], byte: int) -> npt.NDArray[np.intp]:
    """Return where a byte stands in some bytes."""
    found = [np.flatnonzero(mask) + start for start, mask in _masks(data, byte)]
    return np.concatenate(found) if found else np.empty(0, np.intp)


def count(data: npt.NDArray[np.uint8], byte: int) -> int:
    """Return how often a byte stands in some bytes."""
    return sum(int(np.count_nonzero(mask)) for _, mask in _masks(data, byte))


def line_offsets(data: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Return where each line begins, and the end: one place more than there are lines."""
    ends = places(data, _NEWLINE) + 1
    last = [len(data)] if len(data) and data[-1] != _NEWLINE else []
    return np.concatenate(([0], ends, last)).astype(np.int64)


def places_of_letter(data: npt.NDArray[np.uint8], letter: int) -> npt.NDArray[np.intp]:
    """Return where a small letter of ASCII stands, or the capital."""
    lowered = np.empty(_CACHED_BYTES, np.uint8)
    found = []
    for start in range(0, len(data), _CACHED_BYTES):
        piece = data[start : start + _CACHED_BYTES]
        low = np.bitwise_or(piece, _LOWER_CASE, out=lowered[: len(piece)])
        found.append(places(low, letter) + start)
    return np.concatenate(found) if found else np.empty(0, np.intp)


def _masks(data: npt.NDArray[np.uint8], byte: int) -> Iterator[tuple[int, npt.NDArray[np.bool_]]]:
    mask = np.empty(_CACHED_BYTES, np.bool_)
    for start in range(0, len(data), _CACHED_BYTES):
        piece = data[start : start + _CACHED_BYTES]
        yield start, np.equal(piece, byte, out=mask[: len(piece)])
