"""Contents: immutable files, written once, that rows of the database refer to.

A file is whole before the transaction that refers to it. What no row refers to, since the process
was killed in between, is removed by `Contents.sweep` at the next start.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from local_cloud.storage.checksums import Checksums

BLOCK_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Content:
    """A complete content.

    Attributes:
        id: The name of its file.
        size: Bytes.
        md5: In base64; None for what was put together from others, as in the service.
        crc32c: In base64.
    """

    id: str
    size: int
    md5: str | None
    crc32c: str


class Contents:
    """The folder of contents."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, content: str) -> Path:
        """The file of a content."""
        return self._folder / content

    def new(self, *, with_md5: bool) -> ContentWriter:
        """A new, empty content."""
        checksums = Checksums(with_md5=with_md5)
        return ContentWriter(self.path(secrets.token_hex(16)), checksums)

    def resume(self, content: str, size: int, checksums: Checksums | None) -> ContentWriter:
        """Continues a content that is not complete yet.

        Args:
            content: Its id.
            size: The bytes of it that count; those after are dropped.
            checksums: Of these bytes; None computes them anew.
        """
        path = self.path(content)
        if checksums is None:
            checksums = Checksums()
            with path.open("rb") as file:
                for block in read_blocks(file, 0, size):
                    checksums.update(block)
        return ContentWriter(path, checksums, size)

    def link(self, content: str) -> str:
        """A second content of the same bytes, without copying them; returns its id."""
        linked = secrets.token_hex(16)
        os.link(self.path(content), self.path(linked))
        return linked

    def open(self, content: str) -> BinaryIO:
        """Opens a content; it stays readable when it is removed."""
        return self.path(content).open("rb", buffering=0)

    def remove(self, contents: Iterable[str]) -> None:
        """Removes contents that no row refers to any more."""
        for content in contents:
            self.path(content).unlink(missing_ok=True)

    def sweep(self, referred: set[str]) -> None:
        """Removes every content but those that rows refer to."""
        self.remove({path.name for path in self._folder.iterdir()} - referred)


class ContentWriter:
    """Writes a content and computes its checksums; used by one thread at a time.

    Attributes:
        size: The bytes written.
        checksums: Of these bytes.
    """

    def __init__(self, path: Path, checksums: Checksums, size: int = 0) -> None:
        self.checksums = checksums
        self.size = size
        self._path = path
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
        os.ftruncate(self._file, size)
        os.lseek(self._file, size, os.SEEK_SET)

    @property
    def id(self) -> str:
        """The content's id."""
        return self._path.name

    def write(self, block: bytes) -> None:
        """Appends bytes."""
        rest = memoryview(block)
        while rest:
            rest = rest[os.write(self._file, rest) :]
        self.checksums.update(block)
        self.size += len(block)

    def append(self, source: BinaryIO) -> None:
        """Appends all of an open content."""
        for block in read_blocks(source, 0, os.fstat(source.fileno()).st_size):
            self.write(block)

    def content(self) -> Content:
        """What was written so far."""
        return Content(self.id, self.size, self.checksums.md5, self.checksums.crc32c)

    def close(self) -> None:
        """Closes the file and keeps it."""
        os.close(self._file)

    def discard(self) -> None:
        """Closes the file and removes it."""
        self.close()
        self._path.unlink(missing_ok=True)


def read_blocks(file: BinaryIO, start: int, end: int) -> Iterator[bytes]:
    """The bytes of an open content from `start` to before `end`, in blocks."""
    while start < end:
        block = read_block(file, start, end)
        start += len(block)
        yield block


def read_block(file: BinaryIO, start: int, end: int) -> bytes:
    """The bytes of an open content from `start` to before `end`, or the first of them.

    Raises:
        EOFError: The file ends before; somebody else has changed it.
    """
    block = os.pread(file.fileno(), min(BLOCK_BYTES, end - start), start)
    if not block:
        raise EOFError(f"{file.name} is shorter than the {end} bytes that it had.")
    return block
