"""Cuts Avro files into pieces of whole blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from beam_jobs.avro_blocks import AvroHeader, AvroRun, ChainError, cut, read_header
from beam_jobs.files import check_unchanged, open_input
from beam_jobs.parts import Part, PartEnd, Piece, Share

_BLOCK_BYTES = 16 * 1024 * 1024
_BLOCK_FILES = 1000


@dataclass(frozen=True)
class AvroPiece(Piece):
    """Blocks of an Avro file, in `run`; `data` is empty."""

    header: AvroHeader
    run: AvroRun


def cut_share(share: Share) -> Iterator[Sequence[Piece] | PartEnd]:
    """Cut parts into blocks.

    Raises:
        InputError: A file is no Avro file or is broken.
    """
    small: list[Piece] = []
    size = 0
    for part in share.parts:
        if not part.is_whole or part.file.size > _BLOCK_BYTES:
            yield from _cut_part(part)
            continue
        if small and (len(small) >= _BLOCK_FILES or size + part.file.size > _BLOCK_BYTES):
            yield small
            small, size = [], 0
        small += [
            piece for block in _cut_part(part) if not isinstance(block, PartEnd) for piece in block
        ]
        size += part.file.size
    if small:
        yield small


def _cut_part(part: Part) -> Iterator[Sequence[Piece] | PartEnd]:
    path = part.file.path
    first = last = part.start
    try:
        with open_input(part.file) as stream:
            header = read_header(stream, path)
            for run in cut(stream, header, part.start, part.end, path):
                if last == part.start and part.start:
                    first = run.first
                yield [AvroPiece(part, bytearray(), run.is_first, header, run)]
                last = run.last
    except ChainError:
        yield PartEnd(part, first, last, is_proven=False)
    else:
        yield PartEnd(part, first, last)
    check_unchanged(part.file)
