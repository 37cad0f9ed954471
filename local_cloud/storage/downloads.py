"""Downloads: whole, in ranges, and decompressed for clients that do not take gzip."""

from __future__ import annotations

import gzip
import re
from collections.abc import AsyncIterator
from datetime import datetime
from email.utils import format_datetime
from typing import BinaryIO, cast

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from local_cloud.storage.calls import Call
from local_cloud.storage.contents import BLOCK_BYTES, read_block
from local_cloud.storage.errors import StorageError
from local_cloud.storage.records import StoredObject

_RANGE = re.compile(r"bytes=(?:(\d+)-(\d*)|-(\d+))")
_PLAIN_HEADERS = {
    "contentDisposition": "Content-Disposition",
    "contentLanguage": "Content-Language",
    "contentEncoding": "Content-Encoding",
    "storageClass": "x-goog-storage-class",
    "customTime": "x-goog-custom-time",
}


def stream(call: Call, found: StoredObject, file: BinaryIO, headers: dict[str, str]) -> Response:
    """The answer with a content, or the part of it that the client asks for.

    Args:
        call: The call.
        found: The object.
        file: Its open content; the answer closes it.
        headers: Of the answer, beside those that all downloads have.

    Raises:
        StorageError: The range begins after the end.
    """
    headers |= _headers(found)
    size = found.content.size
    if found.is_gzipped and "gzip" not in call.headers.get("accept-encoding", ""):
        del headers["Content-Encoding"]
        headers["Warning"] = "214 UploadServer gunzipped"
        # As documented, a range of a content that is decompressed on the way is ignored.
        return _response(call, file, _decompressed(file), 200, headers)
    headers["Accept-Ranges"] = "bytes"
    start, end, status = 0, size, 200
    wanted = _RANGE.fullmatch(call.headers.get("range", ""))
    if wanted:
        first, last, tail = wanted.groups()
        start = max(0, size - int(tail)) if tail else int(first)
        end = min(size, int(last) + 1) if last else size
        if start >= size:
            file.close()
            message = f"Request range not satisfiable; the object has {size} bytes."
            raise StorageError(416, message)
        if start < end:
            status = 206
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        else:  # Its end is before its beginning: no range at all.
            start, end = 0, size
    headers["Content-Length"] = str(end - start)
    return _response(call, file, _range(file, start, end), status, headers)


def _response(
    call: Call,
    file: BinaryIO,
    chunks: AsyncIterator[bytes],
    status: int,
    headers: dict[str, str],
) -> Response:
    # Headers are latin-1 to the library; what clients stored, and get back, is UTF-8.
    encoded = {key: value.encode().decode("latin-1") for key, value in headers.items()}
    if call.method == "HEAD":
        file.close()
        return Response(None, status, encoded)
    return StreamingResponse(chunks, status, encoded)


def hashes(found: StoredObject) -> str:
    """The checksums of an object as headers have them."""
    md5 = f",md5={found.content.md5}" if found.content.md5 else ""
    return f"crc32c={found.content.crc32c}{md5}"


def _headers(found: StoredObject) -> dict[str, str]:
    headers = {
        "Content-Type": found.content_type,
        "Cache-Control": str(found.fields.get("cacheControl") or "private, max-age=0"),
        "Last-Modified": format_datetime(datetime.fromisoformat(found.updated), usegmt=True),
        "x-goog-generation": str(found.generation),
        "x-goog-metageneration": str(found.metageneration),
        "x-goog-hash": hashes(found),
        "x-goog-stored-content-encoding": str(found.fields.get("contentEncoding") or "identity"),
        "x-goog-stored-content-length": str(found.content.size),
    }
    if found.components:
        headers["x-goog-component-count"] = str(found.components)
    for field, header in _PLAIN_HEADERS.items():
        if field in found.fields:
            headers[header] = str(found.fields[field])
    return headers


async def _range(file: BinaryIO, start: int, end: int) -> AsyncIterator[bytes]:
    with file:
        while start < end:
            block = await run_in_threadpool(read_block, file, start, end)
            start += len(block)
            yield block


async def _decompressed(file: BinaryIO) -> AsyncIterator[bytes]:
    with file, cast("BinaryIO", gzip.open(file)) as plain:
        while block := await run_in_threadpool(plain.read, BLOCK_BYTES):
            yield block
