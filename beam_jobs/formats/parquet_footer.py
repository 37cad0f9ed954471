"""The footer of a Parquet file: where its row groups are, and which bytes some of them take."""

from __future__ import annotations

import itertools
import os
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from beam_jobs.errors import InputError
from beam_jobs.files import InputFile, changed, open_input

_MAGIC = b"PAR1"
_ENCRYPTED = b"PARE"
# The length of the footer and the magic.
_TAIL_BYTES = 8
# Read at once, in the hope that the footer is not longer.
_FIRST_READ = 64 * 1024
# Some writers do not count the header of a dictionary page.
_PADDING = 100
# Reading on costs less than another request.
_GAP = 128 * 1024


# Of a column's pages in a row group: its name; where its dictionary and its data begin; their
# size; where its Bloom filter begins, and that one's size.
Chunk = tuple[str, int | None, int, int, int | None, int | None]


@dataclass(frozen=True)
class Group:
    """A row group of a file.

    Attributes:
        offset: About where it begins, from the sizes of those before it.
        first_row: Number of its first row.
        rows: How many rows it has.
    """

    offset: int
    first_row: int
    rows: int


@dataclass(frozen=True)
class Footer:
    """The footer of a file, as it is stored.

    Attributes:
        file: The file.
        data: The file's last bytes, from the footer's beginning.
    """

    file: InputFile
    data: bytes

    @property
    def stamp(self) -> int:
        """A checksum of the footer, which is another when the file was replaced."""
        return zlib.crc32(self.data)

    def groups(self) -> list[Group]:
        """Return the file's row groups in their order.

        Raises:
            InputError: The footer is broken, or the file has no columns.
        """
        metadata = self._metadata()
        if not metadata.num_columns:
            raise InputError(f"{self.file.path}: the Parquet file has no columns")
        # Of the columns' places pyarrow is not asked: on some damaged footers it ends the process.
        found = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
        sizes = [max(0, group.total_byte_size) for group in found]
        data, total = self.file.size - len(self.data), max(1, sum(sizes))
        groups: list[Group] = []
        before = row = 0
        for group, size in zip(found, sizes, strict=True):
            groups.append(Group(data * before // total, row, group.num_rows))
            before += size
            row += group.num_rows
        if row != metadata.num_rows or any(group.rows < 0 for group in groups):
            raise self.broken(f"it counts {metadata.num_rows} rows, but its row groups {row}")
        return groups

    def spans(self, chunks: Iterable[Chunk]) -> Iterator[tuple[int, int]]:
        """Yield the bytes of some columns' chunks, in order and apart from each other.

        Args:
            chunks: What the footer says of each.

        Yields:
            First byte and the byte after the last.

        Raises:
            InputError: A chunk is outside of the file.
        """
        size = self.file.size
        found: list[tuple[int, int]] = []
        for name, dictionary, first, length, bloom, bloom_length in chunks:
            start = min(first, dictionary) if dictionary else first
            if not 0 <= start <= start + length <= size:
                raise self.broken(f"column {name} is outside of the file")
            found.append((start, min(start + length + _PADDING, size)))
            if bloom is not None:
                # Without its length, up to the end: a filter cut short would lose rows.
                end = size if bloom_length is None else bloom + bloom_length + _PADDING
                found.append((max(0, bloom), min(end, size)))
        yield from _joined(found)

    def _metadata(self) -> pq.FileMetaData:
        try:
            return pq.read_metadata(pa.BufferReader(_MAGIC + self.data))
        except (pa.ArrowException, OSError, ValueError) as error:
            raise self.broken(str(error).splitlines()[0]) from error

    def broken(self, reason: str) -> InputError:
        """Return the error for a footer that says what cannot be."""
        return _error(self.file, f"the Parquet footer is broken: {reason}; write the file again")


def read_footer(file: InputFile) -> Footer:
    """Read the footer of a file.

    Args:
        file: With the size it had when it was matched.

    Raises:
        InputError: The file cannot be read, was changed since, or is no Parquet file.
    """
    if file.is_compressed:
        raise _error(file, "a Parquet file is compressed within; decompress it")
    with open_input(file) as stream:
        size = stream.seek(0, os.SEEK_END)
        if size != file.size:
            raise changed(file.path)
        data = _read(stream, max(0, size - _FIRST_READ), size)
        length = _footer_bytes(file, data)
        if length > len(data):
            data = _read(stream, size - length, size)
    return Footer(file, data[len(data) - length :])


def _footer_bytes(file: InputFile, data: bytes) -> int:
    """Return how many bytes the footer takes, its length and the magic included."""
    if not data:
        raise _error(file, "the file is empty, and no Parquet file; delete it, or write it again")
    if data.endswith(_ENCRYPTED):
        raise _error(file, "the Parquet file is encrypted; write it without encryption")
    if not data.endswith(_MAGIC):
        raise _error(
            file,
            "is truncated, or no Parquet file; write it again, or say its format with --format",
        )
    length = int.from_bytes(data[-_TAIL_BYTES:-4], "little") + _TAIL_BYTES
    if length + len(_MAGIC) > file.size:
        raise _error(
            file,
            f"the Parquet footer is broken: it claims {length} of the file's {file.size} bytes; "
            "write the file again",
        )
    return length


def _error(file: InputFile, problem: str) -> InputError:
    return InputError(f"{file.path}: {problem}")


def _joined(spans: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Join spans that overlap or lie close together."""
    start = end = None
    for first, last in sorted(spans):
        if start is None or end is None:
            start, end = first, last
        elif first <= end + _GAP:
            end = max(end, last)
        else:
            yield start, end
            start, end = first, last
    if start is not None and end is not None:
        yield start, end


def copy_spans(
    source: IO[bytes], target: IO[bytes], spans: Iterable[tuple[int, int]], piece: int
) -> bool:
    """Copy bytes to the same places of another file, a piece at a time; False if some are gone."""
    for start, end in spans:
        for first, last in itertools.pairwise([*range(start, end, piece), end]):
            data = _read(source, first, last)
            if len(data) != last - first:
                return False
            target.seek(first)
            target.write(data)
    return True


def _read(stream: IO[bytes], start: int, end: int) -> bytes:
    """Read a range of bytes; fewer where the file ends."""
    stream.seek(start)
    data = stream.read(end - start)
    while len(data) < end - start and (more := stream.read(end - start - len(data))):
        data += more
    return data
