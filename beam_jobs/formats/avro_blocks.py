"""The frame of an Avro file: its header, and its blocks, read from anywhere in the file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from beam_jobs.errors import InputError
from beam_jobs.formats.avro_codecs import DECOMPRESS, DIGITS, MORE, VARINT_BYTES, DamagedError

# So many stored bytes are read into memory at a time; compressed, they become several times more.
RUN_BYTES = 16 * 1024 * 1024
_COMPRESSED_RUN_BYTES = 4 * 1024 * 1024
_MAGIC = b"Obj\x01"
_SYNC_BYTES = 16
_SEARCHED_BYTES = 1024 * 1024
_LARGEST_HEADER = 64 * 1024 * 1024


class ChainError(Exception):
    """What follows a sync marker amid the file is no block: the file has to be read as a whole."""


@dataclass(frozen=True)
class AvroHeader:
    """The header of a file.

    Attributes:
        schema: The schema of the records, JSON.
        codec: How the blocks are compressed.
        sync: The marker after each block.
        size: Where the first block begins.
    """

    schema: str
    codec: str
    sync: bytes
    size: int


@dataclass(frozen=True)
class AvroBlock:
    """A block as it is stored: its place in the file, its records' number, its compressed data."""

    offset: int
    count: int
    data: bytes


@dataclass(frozen=True)
class AvroRun:
    """Blocks of a file that follow each other.

    Attributes:
        first: Where the first of them begins.
        last: Where the block after them begins, or the end of the file.
        blocks: The blocks; none where none begins in a range.
        is_first: Whether they are the file's beginning.
    """

    first: int
    last: int
    blocks: tuple[AvroBlock, ...]
    is_first: bool


def read_header(stream: IO[bytes], path: str) -> AvroHeader:
    """Read the header of a file, and nothing beyond it.

    Args:
        stream: At the file's beginning.
        path: The file.

    Raises:
        InputError: It is no Avro file, or its header is broken.
    """
    if (magic := stream.read(len(_MAGIC))) != _MAGIC:
        what = "is no Avro file" if magic else "the file is empty, and no Avro file"
        raise InputError(f"{path}: {what}; write it again, or say its format with --format")
    frame = _Frame(stream, len(_MAGIC))
    found: dict[bytes, bytes] = {}
    try:
        while count := frame.varint():
            if count < 0:
                frame.varint()  # The size of the entries, for those who skip them.
            for _ in range(abs(count)):
                key = frame.sized(_LARGEST_HEADER)
                found[key] = frame.sized(_LARGEST_HEADER)
        sync = frame.take(_SYNC_BYTES)
        schema = found[b"avro.schema"].decode()
        codec = found.get(b"avro.codec", b"null").decode()
    except KeyError as error:
        raise InputError(f"{path}: the Avro header has no schema; write the file again") from error
    except ValueError as error:
        raise InputError(
            f"{path}: byte {frame.position}: the Avro header is broken: {error}; write the file "
            "again"
        ) from error
    if codec not in DECOMPRESS:
        raise InputError(
            f"{path}: the Avro codec {codec!r} is none of {', '.join(DECOMPRESS)}; write the file "
            "with one of them"
        )
    return AvroHeader(schema, codec, sync, frame.position)


def cut(
    stream: IO[bytes], header: AvroHeader, start: int, end: int, path: str
) -> Iterator[AvroRun]:
    """Yield the blocks that begin in a byte range of a file.

    A marker may stand within data by accident. So only if the ranges of a file chain, each one's
    first block beginning where the last of the range before it ended, were they read rightly.

    Args:
        stream: Just behind the header; it has to be seekable unless `start` is 0.
        header: Of the file.
        start: First byte of the range. A range from 0 begins at the first block.
        end: The byte after the last.
        path: The file.

    Yields:
        At least one run; in the chain, each begins where the one before it ended.

    Raises:
        ChainError: What was found amid the file is no block.
        InputError: It begins at the header, and the file is broken.
    """
    begin = header.size if start == 0 else _find_block(stream, header, start)
    frame = _Frame(stream, begin)
    limit = RUN_BYTES if header.codec == "null" else _COMPRESSED_RUN_BYTES
    blocks: list[AvroBlock] = []
    first, size, is_first = begin, 0, start == 0
    try:
        while frame.position < end and (block := frame.block(header.sync)):
            blocks.append(block)
            size += len(block.data)
            if size >= limit:
                yield AvroRun(first, frame.position, tuple(blocks), is_first)
                blocks, size, first, is_first = [], 0, frame.position, False
    except DamagedError as error:
        if start:
            raise ChainError(path) from error
        raise InputError(
            f"{path}: byte {frame.begin}: the Avro block is broken: {error}; write the file again"
        ) from error
    if blocks or first == begin:
        yield AvroRun(first, frame.position, tuple(blocks), is_first)


def zigzag(number: int) -> bytes:
    """Return a number as Avro writes it."""
    rest = number << 1 if number >= 0 else (-number << 1) - 1
    found = bytearray()
    while rest > DIGITS:
        found.append(rest & DIGITS | MORE)
        rest >>= 7
    found.append(rest)
    return bytes(found)


def mini_file(schema: str, count: int, data: bytes) -> bytes:
    """Return a file of one block, not compressed."""
    sync = bytes(_SYNC_BYTES)
    metadata = (b"avro.schema", schema.encode(), b"avro.codec", b"null")
    header = b"".join(zigzag(len(item)) + item for item in metadata)
    block = zigzag(count) + zigzag(len(data))
    return b"".join((_MAGIC, zigzag(2), header, b"\0", sync, block, data, sync))


class _Frame:
    """Reads the frame of a file from a stream, and knows where it is.

    Attributes:
        position: Of the next byte.
        begin: Of the last block that was begun.
    """

    def __init__(self, stream: IO[bytes], position: int) -> None:
        self._stream = stream
        self.position = self.begin = position

    def take(self, count: int) -> bytes:
        """Read so many bytes."""
        found = self._stream.read(count)
        while len(found) < count and (more := self._stream.read(count - len(found))):
            found += more
        self.position += len(found)
        if len(found) < count:
            raise DamagedError("it is truncated")
        return found

    def varint(self, first: bytes = b"") -> int:
        """Read a number, of which the first byte may have been read already."""
        number = 0
        for place in range(VARINT_BYTES):
            (byte,) = first if first and not place else self.take(1)
            number |= (byte & DIGITS) << 7 * place
            if byte < MORE:
                return number >> 1 ^ -(number & 1)
        raise DamagedError("a number has too many digits")

    def sized(self, limit: int) -> bytes:
        """Read bytes that are preceded by their number."""
        size = self.varint()
        if not 0 <= size <= limit:
            raise DamagedError(f"it claims {size} bytes")
        return self.take(size)

    def block(self, sync: bytes) -> AvroBlock | None:
        """Read a block; None at the end of the file."""
        self.begin = self.position
        first = self._stream.read(1)
        if not first:
            return None
        self.position += 1
        count = self.varint(first)
        size = self.varint()
        if count < 0 or size < 0:
            raise DamagedError(f"it claims {count} records and {size} bytes")
        data = self.take(size)
        if self.take(_SYNC_BYTES) != sync:
            raise DamagedError("the sync marker after it is another than the header's")
        return AvroBlock(self.begin, count, data)


def _find_block(stream: IO[bytes], header: AvroHeader, start: int) -> int:
    """Return the place behind the first marker that ends at `start` or later, or the file's end."""
    begin = max(start, header.size) - _SYNC_BYTES
    stream.seek(begin)
    tail = b""
    while chunk := stream.read(_SEARCHED_BYTES):
        found = (tail + chunk).find(header.sync)
        if found >= 0:
            begin += found - len(tail) + _SYNC_BYTES
            stream.seek(begin)
            return begin
        begin += len(chunk)
        tail = (tail + chunk)[-_SYNC_BYTES + 1 :]
    return begin
