"""storage.objects.insert: uploads in one request, and the way to resumable ones."""

from __future__ import annotations

from collections.abc import AsyncIterable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from local_cloud.storage import checksums, preconditions, resumable
from local_cloud.storage.calls import Call, json_response, parse_resource
from local_cloud.storage.errors import not_there
from local_cloud.storage.receiving import RelatedBody
from local_cloud.storage.resources import object_resource
from local_cloud.storage.storing import describe, store_content


async def insert(request: Request) -> Response:
    """Begins an upload, continues one, or takes all of it."""
    call = Call.of(request)
    if "upload_id" in call.query:
        return await resumable.continue_upload(request, call)
    kind = call.query.get("uploadType")
    if kind == "resumable":
        return await resumable.begin_upload(request, call)
    resource: dict[str, Any] = {}
    headers: Mapping[str, str] = call.headers
    chunks: AsyncIterable[bytes] = request.stream()
    if kind == "multipart":
        body = RelatedBody(call.headers.get("content-type", ""), chunks)
        head, headers = await body.head()
        resource, chunks = parse_resource(head), body.content()
    elif kind != "media":
        raise not_there(f"upload of type {kind!r}")
    name, fields = describe(call, resource, headers.get("content-type"))
    stored = await store_content(
        call,
        name,
        fields,
        chunks,
        preconditions=preconditions.from_query(call.query),
        expected=checksums.expected_in_resource(resource).or_else(
            checksums.expected_in_headers(call.headers, call.hashes)
        ),
    )
    return json_response(object_resource(stored, call.base))
