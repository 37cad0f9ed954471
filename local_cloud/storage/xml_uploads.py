"""The XML API's uploads in parts: begun, sent, listed, completed and aborted."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from local_cloud.storage import checksums, preconditions
from local_cloud.storage.calls import Call, body
from local_cloud.storage.errors import answering_disk_errors, invalid
from local_cloud.storage.names import check_object_name
from local_cloud.storage.preconditions import Preconditions
from local_cloud.storage.receiving import receive
from local_cloud.storage.records import Part
from local_cloud.storage.xml_documents import document, parse_parts, part_fields, upload_fields
from local_cloud.storage.xml_objects import fields_in_headers

_MAX_PARTS = 10_000
_MIN_PART_BYTES = 5 * 1024 * 1024


def begin_upload(call: Call) -> Response:
    """POST of an object with ``?uploads``."""
    upload = call.store.uploads.begin(
        call.path["bucket"],
        check_object_name(call.path["object"]),
        fields_in_headers(call.headers),
        preconditions=Preconditions(),
        expected=checksums.Expected(),
        content=None,
    )
    fields = [("Bucket", upload.bucket), ("Key", upload.name), ("UploadId", upload.id)]
    return document("InitiateMultipartUploadResult", fields)


async def put_part(request: Request, call: Call) -> Response:
    """PUT of an object with ``?uploadId=…&partNumber=…``."""
    upload, number = call.query["uploadId"], call.number("partNumber")
    if not number or number > _MAX_PARTS:
        raise invalid(f"Part number must be an integer between 1 and {_MAX_PARTS}, inclusive.")
    expected = checksums.expected_in_headers(call.headers, call.hashes)
    with answering_disk_errors():
        await run_in_threadpool(call.store.uploads.get, upload)
        with call.store.writing() as writer:
            if not await receive(request.stream(), writer):
                raise ClientDisconnect
            content = writer.content()
            expected.check(content.md5, content.crc32c)
            part = await run_in_threadpool(call.store.uploads.put_part, upload, number, content)
    hashes = f"crc32c={content.crc32c},md5={content.md5}"
    return Response(headers={"ETag": part.etag, "x-goog-hash": hashes})


async def complete_upload(request: Request, call: Call) -> Response:
    """POST of an object with ``?uploadId=…``: the parts that its body names become the object."""
    wanted = parse_parts(await body(request))
    with answering_disk_errors():
        return await run_in_threadpool(_complete, call, wanted)


def _complete(call: Call, wanted: Sequence[tuple[int, str]]) -> Response:
    store = call.store
    upload = store.uploads.get(call.query["uploadId"])
    parts = _chosen(store.uploads.parts(upload.id), wanted)
    with store.writing(with_md5=False) as writer:
        for part in parts:
            with store.contents.open(part.content.id) as file:
                writer.append(file)
        conditions = preconditions.from_headers(call.headers)
        stored = store.uploads.complete(upload, writer.content(), conditions)
    fields = [
        ("Location", f"{call.base}/{stored.bucket}/{stored.name}"),
        ("Bucket", stored.bucket),
        ("Key", stored.name),
        ("ETag", stored.xml_etag),
    ]
    answer = document("CompleteMultipartUploadResult", fields)
    answer.headers["x-goog-generation"] = str(stored.generation)
    answer.headers["x-goog-hash"] = f"crc32c={stored.content.crc32c}"
    return answer


def _chosen(parts: Sequence[Part], wanted: Sequence[tuple[int, str]]) -> Sequence[Part]:
    numbers = [number for number, _ in wanted]
    if not numbers or sorted(set(numbers)) != numbers:
        message = "The list of parts was not in ascending order."
        raise invalid(message, xml_code="InvalidPartOrder")
    there = {(part.number, part.etag): part for part in parts}
    if not there.keys() >= set(wanted):
        message = "One or more of the specified parts could not be found, or its ETag differs."
        raise invalid(message, xml_code="InvalidPart")
    chosen = [there[number, etag] for number, etag in wanted]
    if any(part.content.size < _MIN_PART_BYTES for part in chosen[:-1]):
        message = "Your proposed upload is smaller than the minimum allowed object size."
        raise invalid(message, xml_code="EntityTooSmall")
    return chosen


def list_parts(call: Call) -> Response:
    """GET of an object with ``?uploadId=…``."""
    upload = call.store.uploads.get(call.query["uploadId"])
    parts = call.store.uploads.parts(upload.id)
    fields = [("Bucket", upload.bucket), ("Key", upload.name), ("UploadId", upload.id)]
    listed = [("Part", part_fields(part)) for part in parts]
    return document("ListPartsResult", [*fields, ("IsTruncated", "false"), *listed])


def list_uploads(call: Call) -> Response:
    """GET of a bucket with ``?uploads``."""
    uploads = call.store.uploads.list(call.path["bucket"])
    listed = [("Upload", upload_fields(upload)) for upload in uploads]
    fields = [("Bucket", call.path["bucket"]), ("IsTruncated", "false")]
    return document("ListMultipartUploadsResult", [*fields, *listed])


def abort_upload(call: Call) -> Response:
    """DELETE of an object with ``?uploadId=…``."""
    call.store.uploads.drop(call.query["uploadId"])
    return Response(status_code=204)
