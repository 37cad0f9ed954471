"""Parts: the byte ranges of files that make up one worker's unit of work.

Which ranges there are depends on the files' sizes only, so that the same files are cut in the same
way by every runner, and sums of floating-point numbers come out the same.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from beam_jobs.files import InputFile

# Small enough to spread a large file over many workers, large enough that a worker's states of
# the same groups are merged before they travel.
PART_BYTES = 256 * 1024 * 1024
# Of a part, so much is loaded and aggregated at a time.
BLOCK_BYTES = 16 * 1024 * 1024
# How much larger text is than its compressed file, about.
COMPRESSION = 4
# What a file costs beside its bytes.
_FILE_BYTES = 64 * 1024


@dataclass(frozen=True)
class Part:
    """A byte range of a file as it is stored; its records are those that begin within it.

    Attributes:
        number: Of the file among the run's, from 0.
        file: The file.
        start: First byte.
        end: The byte after the last.
    """

    number: int
    file: InputFile
    start: int
    end: int

    @property
    def is_whole(self) -> bool:
        """Whether it is all of its file."""
        return self.start == 0 and self.end == self.file.size


@dataclass(frozen=True)
class Piece:
    """Whole records of one file, as bytes.

    Attributes:
        part: Of the file.
        data: The bytes.
        is_first: Whether it is the file's beginning.
    """

    part: Part
    data: bytearray
    is_first: bool


@dataclass(frozen=True)
class PartEnd:
    """The end of a part whose blocks hold nothing else.

    Attributes:
        part: The part.
        first: Where its first record begins: at the part's beginning or after it.
        last: Where its last record ends: at the part's end or after it.
        is_proven: Whether its blocks hold its records, given that the first one begins there. If
            not, they are to be forgotten.
    """

    part: Part
    first: int
    last: int
    is_proven: bool = True


@dataclass(frozen=True)
class SmallFile:
    """A whole file that shares a block with others.

    Attributes:
        pieces: All of it.
        size: Its bytes.
    """

    pieces: tuple[Piece, ...]
    size: int


Block = Sequence[Piece]


def in_blocks(
    found: Iterable[SmallFile | Piece | PartEnd], most_files: int
) -> Iterator[Block | PartEnd]:
    """Put small files together into blocks; each other piece is a block. The order stays.

    Args:
        found: What a share is cut into.
        most_files: How many files a block may hold.
    """
    block: list[Piece] = []
    size = files = 0
    for one in found:
        fits = isinstance(one, SmallFile) and size + one.size <= BLOCK_BYTES and files < most_files
        if block and not fits:
            yield block
            block, size, files = [], 0, 0
        if isinstance(one, SmallFile):
            block += one.pieces
            size += one.size
            files += 1
        else:
            yield one if isinstance(one, PartEnd) else [one]
    if block:
        yield block


@dataclass(frozen=True)
class Share:
    """What one worker reads at a time: one part of a large file, or several small files.

    Attributes:
        number: Shares sort by it in the order of the input.
        parts: The part, or the files.
    """

    number: int
    parts: tuple[Part, ...]


def share_out(files: Iterable[InputFile], *, splittable: bool) -> list[Share]:
    """Cut files into shares of about the same work, in the order of the files.

    Args:
        files: All files of the run.
        splittable: Whether files of their format can be read from anywhere; compressed ones never
            can.
    """
    return [Share(number, parts) for number, parts in enumerate(_shares(files, splittable))]


def _shares(files: Iterable[InputFile], splittable: bool) -> Iterator[tuple[Part, ...]]:
    bundle: list[Part] = []
    weight = 0
    for number, file in enumerate(files):
        if splittable and file.size > PART_BYTES and not file.is_compressed:
            if bundle:
                yield tuple(bundle)
                bundle, weight = [], 0
            yield from ((part,) for part in _ranges(number, file))
            continue
        cost = _FILE_BYTES + file.size * (COMPRESSION if file.is_compressed else 1)
        if bundle and weight + cost > PART_BYTES:
            yield tuple(bundle)
            bundle, weight = [], 0
        bundle.append(Part(number, file, 0, file.size))
        weight += cost
    if bundle:
        yield tuple(bundle)


def _ranges(number: int, file: InputFile) -> Iterator[Part]:
    count = -(-file.size // PART_BYTES)
    ends = [file.size * n // count for n in range(count + 1)]
    for start, end in itertools.pairwise(ends):
        yield Part(number, file, start, end)
