"""Decompresses gzip, bzip2 and Zstandard files to their very end, or says that they are broken.

The libraries' own file objects are lenient where data is lost: python-zstandard ends a truncated
file without an error, and bz2 takes a broken second stream for the end of the file.
"""

from __future__ import annotations

import bz2
import io
import re
import zlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import IO, TYPE_CHECKING, NamedTuple, Protocol, cast

import zstandard

from beam_jobs.formats.encodings import kind_of

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

# Small, as the decompressed bytes may be a thousand times more.
_READ_BYTES = 64 * 1024
_GZIP_WINDOW = 31


class _Decompressor(Protocol):
    """Decompresses one stream of the several that a file may be made of."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, /) -> bytes: ...


def _zstandard_frame() -> _Decompressor:
    return cast("_Decompressor", zstandard.ZstdDecompressor().decompressobj())


def _gzip_member() -> _Decompressor:
    return cast("_Decompressor", zlib.decompressobj(_GZIP_WINDOW))


class _Kind(NamedTuple):
    """A compression: its name, the beginning of its files, and how one stream is read."""

    name: str
    beginning: bytes
    new_stream: Callable[[], _Decompressor]


# By the last ending of the name, as gzip and its like put it there. Of Zstandard, frames that hold
# no data may stand first.
_KINDS: Mapping[str, _Kind] = MappingProxyType(
    {
        ".gz": _Kind("gzip", rb"\x1f\x8b", _gzip_member),
        ".bz2": _Kind("bzip2", rb"BZh", bz2.BZ2Decompressor),
        ".zst": _Kind("Zstandard", rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18", _zstandard_frame),
    }
)
ENDINGS = frozenset(_KINDS)
_MAGIC_BYTES = 4


def decompressed(raw: IO[bytes], ending: str) -> IO[bytes]:
    """Return a file object over the decompressed bytes of a file.

    Args:
        raw: The compressed bytes.
        ending: One of `ENDINGS`.

    Returns:
        A file whose reads raise EOFError where the compressed data ends too early, and OSError,
        zlib.error or zstandard.ZstdError where it is broken.
    """
    return io.BufferedReader(_Decompressed(raw, _KINDS[ending]), _READ_BYTES)


class _Decompressed(io.RawIOBase):
    """The streams of a compressed file, one after another."""

    def __init__(self, raw: IO[bytes], kind: _Kind) -> None:
        self._raw = raw
        self._kind = kind
        self._stream = kind.new_stream()
        self._begun = False  # of this stream, something was read
        self._read_any = False
        self._output = memoryview(b"")

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill a buffer; returns how many bytes, 0 at the end."""
        while not self._output and self._decompress():
            pass
        target = memoryview(buffer).cast("B")
        size = min(len(target), len(self._output))
        target[:size] = self._output[:size]
        self._output = self._output[size:]
        return size

    def _decompress(self) -> bool:
        """Decompress some more; returns False at the end of the file."""
        data = b""
        if self._stream.eof:
            data = self._stream.unused_data
            self._stream, self._begun = self._kind.new_stream(), False
        data = data or self._raw.read(_READ_BYTES)
        if not data:
            if self._begun or not self._read_any:
                raise EOFError
            return False
        if not self._read_any:
            self._check_kind(data)
        if self._read_any and not self._begun:
            data = data.lstrip(b"\0")  # Files that were on a tape may be padded.
        if data:
            self._begun = self._read_any = True
            self._output = memoryview(self._stream.decompress(data))
        return True

    def _check_kind(self, head: bytes) -> None:
        if len(head) < _MAGIC_BYTES or re.match(self._kind.beginning, head):
            return
        other, remedy = kind_of(head) or ("", "take the ending off its name")
        but = f" but {other}" if other else ""
        raise OSError(f"is no {self._kind.name} data{but}; {remedy}")
