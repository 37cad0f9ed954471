"""MD5 and CRC32C of contents: computed while they arrive, compared with what the client sent."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import google_crc32c

from local_cloud.storage.errors import invalid


@dataclass(frozen=True)
class Expected:
    """The checksums that a client says its content has, in base64; None where it does not say."""

    md5: str | None = None
    crc32c: str | None = None

    def check(self, md5: str | None, crc32c: str) -> None:
        """Compares with the checksums of what was received.

        Raises:
            StorageError: One differs.
        """
        for kind, expected, computed in (
            ("MD5", self.md5, md5),
            ("CRC32C", self.crc32c, crc32c),
        ):
            if expected is not None and expected != computed:
                raise invalid(
                    f"Provided {kind} hash {expected!r} doesn't match calculated {kind} hash "
                    f"{computed!r}.",
                    xml_code="BadDigest",
                )

    def or_else(self, other: Expected) -> Expected:
        """These checksums, and the other ones where these do not say."""
        return Expected(self.md5 or other.md5, self.crc32c or other.crc32c)


def expected_in_headers(headers: Mapping[str, str], hashes: list[str]) -> Expected:
    """The checksums in a request's ``Content-MD5`` and ``x-goog-hash``.

    Args:
        headers: The request's headers.
        hashes: The values of ``x-goog-hash``, of which there may be several.

    Raises:
        StorageError: One is no checksum.
    """
    found = {"md5": headers.get("content-md5")}
    for part in ",".join(hashes).split(","):
        kind, _, value = part.strip().partition("=")
        if kind in ("md5", "crc32c"):
            found[kind] = value
    return _checked(Expected(found["md5"], found.get("crc32c")))


def expected_in_resource(resource: Mapping[str, Any]) -> Expected:
    """The checksums in an object's metadata, as an upload may carry them.

    Raises:
        StorageError: One is no checksum.
    """
    return _checked(Expected(resource.get("md5Hash"), resource.get("crc32c")))


def _checked(expected: Expected) -> Expected:
    for value, size in ((expected.md5, 16), (expected.crc32c, 4)):
        if value is not None and not _is_base64(value, size):
            raise invalid(f"Invalid checksum: {value!r}", xml_code="InvalidDigest")
    return expected


def _is_base64(value: object, size: int) -> bool:
    try:
        return isinstance(value, str) and len(base64.b64decode(value, validate=True)) == size
    except binascii.Error:
        return False


class Checksums:
    """MD5 and CRC32C of bytes that come in blocks; what is put together has no MD5."""

    def __init__(self, *, with_md5: bool = True) -> None:
        self._md5 = hashlib.md5(usedforsecurity=False) if with_md5 else None
        self._crc32c = 0

    def update(self, block: bytes) -> None:
        """Takes the next bytes."""
        if self._md5:
            self._md5.update(block)
        self._crc32c = google_crc32c.extend(self._crc32c, block)

    @property
    def md5(self) -> str | None:
        """The MD5 so far, in base64."""
        return base64.b64encode(self._md5.digest()).decode() if self._md5 else None

    @property
    def crc32c(self) -> str:
        """The CRC32C so far, big-endian in base64."""
        return base64.b64encode(self._crc32c.to_bytes(4)).decode()


def md5_as_hex(md5: str) -> str:
    """An MD5 as the XML API's ETags have it."""
    return base64.b64decode(md5).hex()
