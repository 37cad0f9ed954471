"""Decompresses the blocks of Avro files."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import pyarrow as pa
import zstandard

_CRC_BYTES = 4
# Of a byte of a number: that more follow, and the digits.
VARINT_BYTES = 10
MORE, DIGITS = 0x80, 0x7F


class DamagedError(ValueError):
    """Bytes are not what they should be; the message says why."""


def decompress(codec: str, data: bytes) -> bytes:
    """Return the plain data of a block.

    Raises:
        DamagedError: It is damaged.
    """
    try:
        return DECOMPRESS[codec](data)
    except (
        zlib.error,
        OSError,
        EOFError,
        lzma.LZMAError,
        zstandard.ZstdError,
        pa.ArrowException,
    ) as error:
        raise DamagedError(f"its {codec} data is damaged: {error}") from error


def _stream_decompress(new: Callable[[], Any], more: int = 0) -> Callable[[bytes], bytes]:
    """Return a function that decompresses data that is one whole stream, and so many bytes."""

    def function(data: bytes) -> bytes:
        decompressor = new()
        found: bytes = decompressor.decompress(data)
        if not decompressor.eof or len(decompressor.unused_data) > more:
            raise EOFError("it ends too early, or too late")
        return found

    return function


def _snappy(data: bytes) -> bytes:
    size = 0
    for place, byte in enumerate(data[:VARINT_BYTES]):
        size |= (byte & DIGITS) << 7 * place
        if byte < MORE:
            break
    body, crc = data[:-_CRC_BYTES], data[-_CRC_BYTES:]
    # Snappy makes at most 64 bytes of 3.
    if not body or size > len(body) * 64:
        raise EOFError("its size is wrong")
    found: bytes = pa.decompress(body, decompressed_size=size, codec="snappy", asbytes=True)
    if zlib.crc32(found).to_bytes(_CRC_BYTES, "big") != crc:
        raise EOFError("its checksum is another")
    return found


DECOMPRESS: Mapping[str, Callable[[bytes], bytes]] = MappingProxyType(
    {
        "null": lambda data: data,
        # fastavro leaves a part of zlib's checksum behind the data.
        "deflate": _stream_decompress(lambda: zlib.decompressobj(-zlib.MAX_WBITS), more=3),
        "snappy": _snappy,
        "zstandard": _stream_decompress(lambda: zstandard.ZstdDecompressor().decompressobj()),
        "bzip2": _stream_decompress(bz2.BZ2Decompressor),
        "xz": _stream_decompress(lzma.LZMADecompressor),
    }
)
