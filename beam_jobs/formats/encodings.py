"""Encodings of text files: what a file's beginning tells of them, and UTF-8 of all of them.

All readers read UTF-8. Bytes that are no text in a file's encoding become a byte that is none in
UTF-8 either, so that the record they stand in is a reject, and only that one.
"""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import IO, TYPE_CHECKING

from beam_jobs.errors import InputError
from beam_jobs.formats.formats import Encoding

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

# So much of a file tells that it is UTF-16, and so little does not.
HEAD_BYTES = 1024
_SMALL_HEAD_BYTES = 6
_SHOWN_BYTES = 8
_READ_BYTES = 1024 * 1024
_MARKS: Mapping[bytes, Encoding] = MappingProxyType(
    {
        codecs.BOM_UTF8: "utf-8",
        codecs.BOM_UTF16_LE: "utf-16-le",
        codecs.BOM_UTF16_BE: "utf-16-be",
    }
)
# What is no text, by its first bytes: what it is, and what to do. Long enough that no text begins
# so: PAR1 may be the name of a column.
_KINDS: Mapping[bytes, tuple[str, str]] = MappingProxyType(
    {
        rb"PAR1\x15": ("a Parquet file", "rename it to .parquet, or say --format parquet"),
        rb"Obj\x01": ("an Avro file", "rename it to .avro, or say --format avro"),
        rb"\x1f\x8b\x08": ("gzip data", "let its name end in .gz, or say --compression gzip"),
        rb"BZh[1-9]1AY&SY": ("bzip2 data", "let its name end in .bz2, or say --compression bzip2"),
        rb"\x28\xb5\x2f\xfd": (
            "Zstandard data",
            "let its name end in .zst, or say --compression zstd",
        ),
        rb"\xff\xfe\x00\x00|\x00\x00\xfe\xff": ("UTF-32 text", "save it as UTF-8"),
        rb"PK\x03\x04": ("a ZIP archive, or a spreadsheet", "unpack it, or save it as CSV"),
    }
)
# So much of a file tells the order of its bytes.
_ORDER_BYTES = 64 * 1024
_ASCII = re.compile(r"[\t -~]")
_NO_TEXT = "tallyflow.no_text"
# An escaped 0xFF, a byte that stands nowhere in UTF-8.
codecs.register_error(_NO_TEXT, lambda error: ("\udcff", getattr(error, "end", 0)))


def kind_of(head: bytes) -> tuple[str, str] | None:
    """Return what a file is that is no plain text, and what to do; None if it may be text."""
    return next((kind for magic, kind in _KINDS.items() if re.match(magic, head)), None)


def detected_encoding(head: bytes) -> Encoding | None:
    """Return ``utf-16`` of a file that marks itself so, or of which every other byte is NUL.

    Args:
        head: The file's beginning; `HEAD_BYTES` of it are looked at.

    Returns:
        ``utf-8`` of other files, None of those that are too short to tell.
    """
    head = head[:HEAD_BYTES]
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if len(head) < _SMALL_HEAD_BYTES:
        return None
    halves = head[::2], head[1::2]
    fewer, more = sorted(half.count(0) / len(half) for half in halves)
    return "utf-16" if not fewer and more > 1 / 2 else "utf-8"


def check_encoding(head: bytes, source: str) -> None:
    """Fail on the beginning of a file that is read as UTF-8 text and is not.

    Args:
        head: The file's beginning.
        source: What to call the file in an error.

    Raises:
        InputError: It is UTF-16, compressed, or a file of another format.
    """
    check_kind(head, source)
    if detected_encoding(head) == "utf-16":
        raise InputError(
            f"{source}: line 1: the file is UTF-16 ({head[:_SHOWN_BYTES]!r}…), and the run's files "
            "are read as UTF-8; say --encoding utf-16 where all are, or save it as UTF-8"
        )


def check_kind(head: bytes, source: str) -> None:
    """Fail on the beginning of a file that is no plain text in any encoding.

    Raises:
        InputError: It is compressed, or a file of another format.
    """
    if kind := kind_of(head):
        raise InputError(f"{source}: is {kind[0]}; {kind[1]}")


def transcoded(stream: IO[bytes], encoding: Encoding, source: str) -> IO[bytes]:
    """Return a file object over the text of a file as UTF-8, its byte order mark left out.

    Args:
        stream: The file's bytes, decompressed.
        encoding: Of the text.
        source: What to call the file in an error.

    Returns:
        A file whose reads raise InputError where its beginning is of another encoding.
    """
    return io.BufferedReader(_Transcoded(stream, encoding, source), _READ_BYTES)


class _Transcoded(io.RawIOBase):
    """The text of a file as UTF-8."""

    def __init__(self, stream: IO[bytes], encoding: Encoding, source: str) -> None:
        self._stream = stream
        self._encoding = encoding
        self._source = source
        self._decoder: codecs.IncrementalDecoder | None = None
        self._at_end = False
        self._output = memoryview(b"")

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill a buffer; returns how many bytes, 0 at the end."""
        while not self._output and not self._at_end:
            self._output = memoryview(self._decode())
        target = memoryview(buffer).cast("B")
        size = min(len(target), len(self._output))
        target[:size] = self._output[:size]
        self._output = self._output[size:]
        return size

    def _decode(self) -> bytes:
        data = self._stream.read(_READ_BYTES)
        self._at_end = not data
        if self._decoder is None:
            encoding, data = _begun(data, self._encoding, self._source)
            self._decoder = codecs.getincrementaldecoder(encoding)(_NO_TEXT)
        text = self._decoder.decode(data, final=self._at_end)
        return text.encode(errors="surrogateescape")


def _begun(head: bytes, declared: Encoding, source: str) -> tuple[Encoding, bytes]:
    """Return the encoding of a file from its beginning, the byte order told, and what follows.

    Raises:
        InputError: The file is of another encoding, or does not tell the order of its bytes.
    """
    check_kind(head, source)
    for mark, marked in _MARKS.items():
        if head.startswith(mark):
            if not marked.startswith(declared):
                raise InputError(
                    f"{source}: line 1: the file marks itself as {marked.upper()}, and the run's "
                    f"files are read as {declared.upper()}; say the encoding with --encoding, or "
                    "give files of another kind a pattern of their own"
                )
            return marked, head[len(mark) :]
    if declared != "utf-16":
        return declared, head
    return _byte_order(head[:_ORDER_BYTES], source), head


def _byte_order(head: bytes, source: str) -> Encoding:
    """Return the encoding of UTF-16 without a mark, which must have a line end or be ASCII mostly.

    An end of line in the other order is no character, or a rare one. Of ASCII, that is not so: N is
    the most frequent character of Chinese.

    Raises:
        InputError: It does not tell.
    """
    orders: tuple[Encoding, Encoding] = ("utf-16-le", "utf-16-be")
    texts = {order: head[: len(head) // 2 * 2].decode(order, "replace") for order in orders}
    ends = [order for order, text in texts.items() if "\n" in text or "\r" in text]
    ascii_ = [order for order, text in texts.items() if len(_ASCII.findall(text)) > len(text) / 2]
    found = ends or ascii_
    if head and len(found) != 1:
        raise InputError(
            f"{source}: line 1: the file begins with {head[:_SHOWN_BYTES]!r}…, which does not tell "
            "UTF-16 and the order of its bytes; say --encoding utf-16-le or utf-16-be, or what "
            "else it is"
        )
    return found[0] if found else "utf-16"
