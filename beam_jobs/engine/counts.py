"""Counts the lines and bytes of files, whatever is in them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import cast

import numpy as np
import pyarrow as pa

from beam_jobs.engine.parts import Part, PartEnd, Piece, Share, SmallFile
from beam_jobs.engine.reports import BlockReport
from beam_jobs.files import check_unchanged, open_input
from beam_jobs.formats.byte_search import count

_PIECE_BYTES = 32 * 1024 * 1024
_READ_BYTES = 1024 * 1024


def cut(share: Share) -> Iterator[SmallFile | Piece | PartEnd]:
    """Cut parts into pieces without reading them: whoever counts a piece reads it."""
    for part in share.parts:
        if part.is_whole and (part.file.is_compressed or part.file.size <= _PIECE_BYTES):
            yield SmallFile((Piece(part, bytearray(), is_first=True),), part.file.size)
            continue
        for start in range(part.start, part.end, _PIECE_BYTES):
            end = min(start + _PIECE_BYTES, part.end)
            piece = Part(part.number, part.file, start, end)
            yield Piece(piece, bytearray(), is_first=start == 0)
        yield PartEnd(part, part.start, part.end)


def load(piece: Piece) -> tuple[pa.Table, BlockReport]:
    """Load one row: how many files begin in a piece, and how many lines end and bytes are in it.

    A last line without an end counts, too.

    Raises:
        InputError: The file cannot be read.
    """
    part = piece.part
    lines = size = 0
    last = b"\n"
    buffer = bytearray(_READ_BYTES)
    everything = part.file.is_compressed
    with open_input(part.file) as stream:
        if part.start:
            stream.seek(part.start)
        left = part.end - part.start
        while left or everything:
            view = memoryview(buffer) if everything else memoryview(buffer)[:left]
            found = cast("io.BufferedReader", stream).readinto(view)
            if not found:
                break
            size += found
            left -= min(found, left)
            lines += count(np.frombuffer(view[:found], np.uint8), ord("\n"))
            last = bytes(view[found - 1 : found])
    check_unchanged(part.file)
    if part.end == part.file.size:
        lines += last != b"\n"
    counts = {"files": int(piece.is_first), "lines": lines, "bytes": size}
    table = pa.table({name: pa.array([number], pa.int64()) for name, number in counts.items()})
    return table, BlockReport(part.file.path, lines, lines=lines)
