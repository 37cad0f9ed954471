"""Reads files of lines: texts, JSON lines, and files of which only the lines are counted.

A line ends at a newline, whatever the format makes of its text, so that a file can be read from
anywhere: the lines of a part are those that begin in it.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_jobs.engine import parts
from beam_jobs.engine.parts import Part, PartEnd, Piece
from beam_jobs.engine.reports import KEPT_REJECTS, TEXT_CHARACTERS, BlockReport, Reject
from beam_jobs.files import read_after
from beam_jobs.formats.byte_search import count, line_offsets
from beam_jobs.formats.encodings import HEAD_BYTES, check_encoding
from beam_jobs.formats.formats import Encoding

_LOOK_BYTES = 64 * 1024


class LineCutter:
    """Cuts files into blocks of whole lines; a byte order mark is left out."""

    def whole(self, part: Part, data: bytearray) -> Piece:
        """Return a small file as one piece."""
        return Piece(part, data.removeprefix(codecs.BOM_UTF8), is_first=True)

    def sections(self, part: Part, stream: IO[bytes], head: bytearray) -> Iterator[Piece | PartEnd]:
        """Cut a part of a large file, or a large file as a whole.

        Args:
            part: The part.
            stream: The file's plain bytes, those in `head` read already.
            head: Its first bytes; none for a part that begins amid the file.
        """
        at, data = part.start, head
        first = at
        if part.start:
            at = first = _next_line(stream, part.start)
        elif head.startswith(codecs.BOM_UTF8):
            at, data = len(codecs.BOM_UTF8), head.removeprefix(codecs.BOM_UTF8)
        is_first = part.start == 0
        limit = None if part.is_whole else part.end
        for lines in _lines_before(stream, at, data, limit):
            yield Piece(part, lines, is_first)
            at += len(lines)
            is_first = False
        yield PartEnd(part, first, at)


def _next_line(stream: IO[bytes], start: int) -> int:
    """Return where the first line begins at or after a place in a file, and go there."""
    at = start - 1
    stream.seek(at)
    while window := stream.read(_LOOK_BYTES):
        newline = window.find(b"\n")
        if newline >= 0:
            at += newline + 1
            stream.seek(at)
            break
        at += len(window)
    return at


def _lines_before(
    stream: IO[bytes], at: int, data: bytearray, limit: int | None
) -> Iterator[bytearray]:
    """Yield the lines that begin before a limit, in blocks.

    Args:
        stream: The bytes after `data`.
        at: Where `data` begins in the file.
        data: What was read already.
        limit: Place in the file; None for its end.
    """
    while limit is None or at < limit:
        if limit is not None and at + len(data) >= limit:
            end = data.find(b"\n", limit - at - 1) + 1
        else:
            end = data.rfind(b"\n") + 1
        if end:
            rest = data[end:]
            del data[end:]
            yield data
            at += end
            data = rest
            continue
        size = parts.BLOCK_BYTES
        if limit is not None:
            # Beyond the limit the line that is begun ends soon, or takes twice as much each time.
            beyond = at + len(data) - limit
            size = min(size, max(_LOOK_BYTES, beyond if beyond > 0 else -beyond))
        before = len(data)
        data = read_after(stream, data, size)
        if len(data) == before:
            if data:
                yield data
            return


def count_lines(data: bytearray) -> int:
    """Return how many lines end in some bytes."""
    return count(np.frombuffer(data, np.uint8), ord("\n"))


def load_text(piece: Piece, encoding: Encoding = "utf-8") -> tuple[pa.Table, BlockReport]:
    """Load lines as texts, in the one column ``line``; their ends are no part of them.

    Args:
        piece: The lines, as UTF-8.
        encoding: Of the file.

    Raises:
        InputError: It is the beginning of a file that is UTF-16.
    """
    path = piece.part.file.path
    if piece.is_first:
        check_encoding(bytes(piece.data[:HEAD_BYTES]), path)
    lines = _lines(piece.data)
    rejects: list[Reject] = []
    try:
        lines.cast(pa.large_string()).validate(full=True)
    except pa.ArrowInvalid:
        lines, rejects = _without_bad_lines(lines, path, encoding)
    # Two ends are taken off in turn, so that \r\n and \n are one line end and \r within stays.
    for end in ("\n", "\r"):
        if end.encode() in piece.data:
            shorter = pc.binary_slice(lines, 0, -1)
            lines = pc.if_else(pc.ends_with(lines, pattern=end), shorter, lines)
    table = pa.table({"line": lines.cast(pa.large_string())})
    kept = tuple(rejects[:KEPT_REJECTS])
    taken = len(lines) + len(rejects)
    return table, BlockReport(path, len(lines), len(rejects), kept, lines=taken)


def _lines(block: bytearray) -> pa.Array[Any]:
    """Return the lines of a block as bytes, their ends included, without copying them."""
    offsets = line_offsets(np.frombuffer(block, np.uint8))
    buffers = [None, pa.py_buffer(offsets.tobytes()), pa.py_buffer(block)]
    return pa.Array.from_buffers(pa.large_binary(), len(offsets) - 1, buffers)


def _without_bad_lines(
    lines: pa.Array[Any], path: str, encoding: Encoding
) -> tuple[pa.Array[Any], list[Reject]]:
    """Take out the lines that are not UTF-8, one by one: this path is for broken files only."""
    good: list[bytes] = []
    rejects: list[Reject] = []
    for number, raw in enumerate(lines, 1):
        line: bytes = raw.as_py()
        try:
            line.decode()
            good.append(line)
        except UnicodeDecodeError:
            text = line.rstrip(b"\r\n").decode(errors="replace")[:TEXT_CHARACTERS]
            rejects.append(Reject(path, number, text, f"not {encoding.upper()}"))
    return pa.array(good, pa.large_binary()), rejects
