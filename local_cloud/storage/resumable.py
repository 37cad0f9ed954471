"""Resumable uploads: begun, continued in chunks, asked about, and cancelled."""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from dataclasses import dataclass, field
from urllib.parse import urlencode

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from local_cloud.storage import checksums, preconditions
from local_cloud.storage.calls import Call, body, json_response, parse_resource
from local_cloud.storage.checksums import Checksums
from local_cloud.storage.contents import Content
from local_cloud.storage.errors import StorageError, answering_disk_errors, invalid
from local_cloud.storage.receiving import receive, skip
from local_cloud.storage.records import Upload
from local_cloud.storage.resources import object_resource
from local_cloud.storage.storing import describe

# What is kept of an interrupted upload is a multiple of this, as the chunks of clients are.
QUANTUM_BYTES = 256 * 1024
_RANGE = re.compile(r"bytes (?:(?P<first>\d+)-(?P<last>\d+)|\*)/(?P<total>\d+|\*)")


@dataclass(frozen=True)
class ChunkRange:
    """Which bytes of an upload a request carries.

    Attributes:
        first: The first one; None for none, in a request that asks for the state.
        last: The last one; None when the request is all of the rest.
        total: The size of the whole; None where the client does not know it yet.
    """

    first: int | None
    last: int | None
    total: int | None

    @property
    def size(self) -> int | None:
        """The bytes that the request must have; None for any number."""
        if self.first is None:
            return 0
        return None if self.last is None else self.last + 1 - self.first


def parse_range(header: str | None) -> ChunkRange:
    """The range in a ``Content-Range``; a request without one carries all.

    Raises:
        StorageError: It is malformed, or no range that a chunk may have.
    """
    if header is None:
        return ChunkRange(0, None, None)
    match = _RANGE.fullmatch(header.strip())
    if not match:
        raise invalid(f"Failed to parse Content-Range header: {header!r}")
    total = None if match["total"] == "*" else int(match["total"])
    if match["first"] is None:
        return ChunkRange(None, None, total)
    first, last = int(match["first"]), int(match["last"])
    if last < first or (total is not None and last >= total):
        raise invalid(f"Invalid Content-Range header: {header!r}")
    if (total is None or last + 1 < total) and (last + 1 - first) % QUANTUM_BYTES:
        raise invalid(
            f"Invalid request. The number of bytes uploaded is required to be equal or greater "
            f"than {QUANTUM_BYTES}, except for the final request (it's recommended to be the "
            f"exact multiple of {QUANTUM_BYTES}). The received request contained "
            f"{last + 1 - first} bytes, which does not meet this requirement."
        )
    return ChunkRange(first, last, total)


@dataclass
class Session:
    """What the process remembers of an upload, so that nothing is hashed twice.

    Attributes:
        lock: Held by the one request that works on the upload.
        checksums: Of what was kept; None after a restart.
    """

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    checksums: Checksums | None = None


class Sessions(defaultdict[str, Session]):
    """The sessions by the ids of their uploads."""

    def __init__(self) -> None:
        super().__init__(Session)


async def begin_upload(request: Request, call: Call) -> Response:
    """Begins an upload and answers where to send its chunks."""
    resource = parse_resource(await body(request))
    name, fields = describe(call, resource, call.headers.get("x-upload-content-type"))
    expected = checksums.expected_in_resource(resource).or_else(
        checksums.expected_in_headers(call.headers, call.hashes)
    )
    conditions = preconditions.from_query(call.query)

    def begin() -> Upload:
        bucket = call.path["bucket"]
        call.store.objects.check(bucket, name, conditions)
        with call.store.writing() as writer:
            return call.store.uploads.begin(
                bucket,
                name,
                fields,
                preconditions=conditions,
                expected=expected,
                content=writer.id,
            )

    with answering_disk_errors():
        upload = await run_in_threadpool(begin)
    parameters = urlencode({"uploadType": "resumable", "name": name, "upload_id": upload.id})
    path = f"/upload/storage/v1/b/{upload.bucket}/o?{parameters}"
    return Response(headers={"Location": f"{call.base}{path}", "X-GUploader-UploadID": upload.id})


async def continue_upload(request: Request, call: Call) -> Response:
    """Takes a chunk, or answers how much is there."""
    sessions: Sessions = request.app.state.sessions
    upload_id = call.query["upload_id"]
    chunk = parse_range(call.headers.get("content-range"))
    _check_length(call.headers.get("content-length"), chunk)
    with answering_disk_errors():
        found = await run_in_threadpool(call.store.uploads.get, upload_id)
        async with sessions[found.id].lock:
            upload = await run_in_threadpool(call.store.uploads.get, upload_id)
            if upload.generation is not None:
                return await run_in_threadpool(_answer_complete, call, upload)
            return await _take_chunk(request, call, upload, chunk)


async def cancel_upload(request: Request) -> Response:
    """Cancels an upload; the status says that it was the client who did."""
    call = Call.of(request)
    upload_id = call.query.get("upload_id", "")
    sessions: Sessions = request.app.state.sessions
    await run_in_threadpool(call.store.uploads.get, upload_id)
    async with sessions[upload_id].lock:
        await run_in_threadpool(call.store.uploads.drop, upload_id)
        sessions.pop(upload_id, None)
    return Response(status_code=499)


def _check_length(header: str | None, chunk: ChunkRange) -> None:
    if header is not None and chunk.size not in (None, int(header)):
        raise invalid(
            f"Invalid request. There were {header} byte(s) in the request body. There should have "
            f"been {chunk.size} byte(s) (starting at offset {chunk.first} and ending at offset "
            f"{chunk.last}) according to the Content-Range header."
        )


async def _take_chunk(request: Request, call: Call, upload: Upload, chunk: ChunkRange) -> Response:
    session: Session = request.app.state.sessions[upload.id]
    kept = upload.size
    if chunk.first is not None and chunk.first > kept:
        raise invalid(
            f"Invalid request. According to the Content-Range header, the upload offset is "
            f"{chunk.first} byte(s), which exceeds already uploaded size of {kept} byte(s)."
        )
    assert upload.content  # noqa: S101 - the id of a resumable upload, not of one in parts
    writer = await run_in_threadpool(
        call.store.contents.resume, upload.content, kept, session.checksums
    )
    # Until the database knows what is kept, they may be ahead of it.
    session.checksums = None
    try:
        overlap = 0 if chunk.first is None else kept - chunk.first
        complete = await receive(skip(request.stream(), overlap), writer)
        kept = writer.size if complete else writer.size // QUANTUM_BYTES * QUANTUM_BYTES
        await run_in_threadpool(call.store.uploads.keep, upload.id, kept)
    finally:
        writer.close()
    if kept == writer.size:
        session.checksums = writer.checksums
    if not complete:
        raise ClientDisconnect
    is_all = chunk.first is not None and chunk.last is None
    if not is_all and chunk.total != writer.size:
        kept_range = {"Range": f"bytes=0-{writer.size - 1}"} if writer.size else {}
        return Response(status_code=308, headers=kept_range)
    del request.app.state.sessions[upload.id]
    return await run_in_threadpool(_finish, call, upload, writer.content())


def _finish(call: Call, upload: Upload, content: Content) -> Response:
    expected = checksums.expected_in_headers(call.headers, call.hashes)
    try:
        expected.or_else(upload.expected).check(content.md5, content.crc32c)
        stored = call.store.uploads.complete(upload, content, upload.preconditions)
    except StorageError:
        call.store.uploads.drop(upload.id)
        raise
    return json_response(object_resource(stored, call.base))


def _answer_complete(call: Call, upload: Upload) -> Response:
    stored = call.store.objects.get(upload.bucket, upload.name)
    return json_response(object_resource(stored, call.base))
