"""Cuts Avro files into pieces of whole blocks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from beam_jobs.engine import parts
from beam_jobs.engine.parts import Part, PartEnd, Piece, Share, SmallFile
from beam_jobs.files import check_unchanged, open_input
from beam_jobs.formats.avro_blocks import AvroHeader, AvroRun, ChainError, cut, read_header


@dataclass(frozen=True)
class AvroPiece(Piece):
    """Blocks of an Avro file, in `run`; `data` is empty."""

    header: AvroHeader
    run: AvroRun


def cut_share(share: Share) -> Iterator[SmallFile | Piece | PartEnd]:
    """Cut parts into pieces.

    Raises:
        InputError: A file is no Avro file or is broken.
    """
    for part in share.parts:
        if part.is_whole and part.file.size <= parts.BLOCK_BYTES:
            pieces = (found for found in _cut_part(part) if isinstance(found, Piece))
            yield SmallFile(tuple(pieces), part.file.size)
        else:
            yield from _cut_part(part)


def _cut_part(part: Part) -> Iterator[Piece | PartEnd]:
    path = part.file.path
    first = last = part.start
    try:
        with open_input(part.file) as stream:
            header = read_header(stream, path)
            for run in cut(stream, header, part.start, part.end, path):
                if last == part.start and part.start:
                    first = run.first
                yield AvroPiece(part, bytearray(), run.is_first, header, run)
                last = run.last
    except ChainError:
        yield PartEnd(part, first, last, is_proven=False)
    else:
        yield PartEnd(part, first, last)
    check_unchanged(part.file)
