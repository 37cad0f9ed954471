"""Making an object of what one request brings."""

from __future__ import annotations

from collections.abc import AsyncIterable, Mapping
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from local_cloud.storage.calls import Call
from local_cloud.storage.checksums import Expected
from local_cloud.storage.errors import answering_disk_errors, not_there
from local_cloud.storage.names import check_object_name
from local_cloud.storage.object_store import NewObject
from local_cloud.storage.preconditions import Preconditions
from local_cloud.storage.receiving import receive
from local_cloud.storage.records import StoredObject
from local_cloud.storage.resources import object_fields


def describe(
    call: Call, resource: Mapping[str, Any], content_type: str | None
) -> tuple[str, dict[str, Any]]:
    """The name and the fields of the object that an upload is to make.

    Args:
        call: The call, whose parameters override the resource.
        resource: As the client sent it.
        content_type: As the headers have it, for where the resource has none.

    Raises:
        StorageError: The name is not allowed, or the resource asks for what is not there.
    """
    name = check_object_name(call.query.get("name", resource.get("name")))
    fields = object_fields(resource)
    if content_type:
        fields.setdefault("contentType", content_type)
    if "contentEncoding" in call.query:
        fields["contentEncoding"] = call.query["contentEncoding"]
    if "x-goog-encryption-algorithm" in call.headers:
        raise not_there("customer-supplied encryption keys")
    return name, fields


async def store_content(
    call: Call,
    name: str,
    fields: Mapping[str, Any],
    chunks: AsyncIterable[bytes],
    *,
    preconditions: Preconditions,
    expected: Expected,
) -> StoredObject:
    """Receives a content and makes it an object.

    Args:
        call: The call, whose path has the bucket.
        name: Of the object.
        fields: Of its resource.
        chunks: The content.
        preconditions: That must hold when it is complete.
        expected: The checksums that it must have.

    Raises:
        ClientDisconnect: The connection was lost, and nothing was stored.
        StorageError: The bucket does not exist, a precondition does not hold, a checksum differs,
            or the disk is full.
    """
    store, bucket = call.store, call.path["bucket"]
    with answering_disk_errors():
        # Before the content comes, so that none is sent in vain; the commit checks again.
        await run_in_threadpool(store.objects.check, bucket, name, preconditions)
        with store.writing() as writer:
            if not await receive(chunks, writer):
                raise ClientDisconnect
            content = writer.content()
            expected.check(content.md5, content.crc32c)
            new = NewObject(bucket, name, content, fields)
            return await run_in_threadpool(store.objects.commit, new, preconditions)
