"""Objects in the XML API: read, written, copied, deleted and listed."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import Response

from local_cloud.storage import checksums, preconditions, resources
from local_cloud.storage.calls import Call
from local_cloud.storage.copying import copy
from local_cloud.storage.downloads import hashes, stream
from local_cloud.storage.errors import invalid, not_there
from local_cloud.storage.listing import (
    MAX_PAGE,
    Query,
    after_prefix,
    decode_token,
    encode_token,
    list_page,
)
from local_cloud.storage.names import check_object_name
from local_cloud.storage.records import StoredObject
from local_cloud.storage.storing import store_content
from local_cloud.storage.xml_documents import Fields, document, key, object_fields

_HEADERS = {
    "content-type": "contentType",
    "content-encoding": "contentEncoding",
    "content-disposition": "contentDisposition",
    "content-language": "contentLanguage",
    "cache-control": "cacheControl",
    "x-goog-custom-time": "customTime",
    "x-goog-storage-class": "storageClass",
}
_META = "x-goog-meta-"


def fields_in_headers(headers: Mapping[str, str]) -> dict[str, Any]:
    """The fields of an object that a request's headers carry.

    Raises:
        StorageError: They ask for what is not there.
    """
    if "x-goog-encryption-algorithm" in headers:
        raise not_there("customer-supplied encryption keys")
    fields: dict[str, Any] = {
        field: headers[header] for header, field in _HEADERS.items() if header in headers
    }
    fields["metadata"] = {
        # Headers are latin-1 to the library; what clients mean is UTF-8.
        name.removeprefix(_META): value.encode("latin-1").decode("utf-8", "replace")
        for name, value in headers.items()
        if name.startswith(_META)
    }
    return resources.object_fields(fields)


def get_object(call: Call) -> Response:
    """GET and HEAD of an object."""
    conditions = preconditions.from_headers(call.headers)

    def check(found: StoredObject) -> None:
        conditions.check(found)
        preconditions.check_etags(call.headers, found.xml_etag.strip('"'))

    found, file = call.store.objects.open(
        call.path["bucket"], call.path["object"], call.generation, check
    )
    metadata = found.fields.get("metadata", {})
    own = {f"{_META}{name}": value for name, value in metadata.items()}
    return stream(call, found, file, {"ETag": found.xml_etag, **own})


async def put_object(request: Request, call: Call) -> Response:
    """PUT of an object."""
    stored = await store_content(
        call,
        check_object_name(call.path["object"]),
        fields_in_headers(call.headers),
        request.stream(),
        preconditions=preconditions.from_headers(call.headers),
        expected=checksums.expected_in_headers(call.headers, call.hashes),
    )
    return Response(
        headers={
            "ETag": stored.xml_etag,
            "x-goog-generation": str(stored.generation),
            "x-goog-metageneration": "1",
            "x-goog-hash": hashes(stored),
            "x-goog-stored-content-length": str(stored.content.size),
        }
    )


def copy_object(call: Call) -> Response:
    """PUT of an object with ``x-goog-copy-source``."""
    bucket, _, name = unquote(call.headers["x-goog-copy-source"].lstrip("/")).partition("/")
    if not name:
        raise invalid("x-goog-copy-source names no object.")
    generation = call.headers.get("x-goog-copy-source-generation")
    replaces = call.headers.get("x-goog-metadata-directive", "COPY").upper() == "REPLACE"
    stored = copy(
        call.store,
        (bucket, name, int(generation) if generation else None),
        (call.path["bucket"], call.path["object"]),
        fields_in_headers(call.headers) if replaces else {},
        of_source=preconditions.from_headers(call.headers, "copy-source-"),
        of_target=preconditions.from_headers(call.headers),
    )
    fields = [("LastModified", stored.updated), ("ETag", stored.xml_etag)]
    answer = document("CopyObjectResult", fields)
    answer.headers["x-goog-generation"] = str(stored.generation)
    return answer


def delete_object(call: Call) -> Response:
    """DELETE of an object."""
    call.store.objects.delete(
        call.path["bucket"],
        call.path["object"],
        call.generation,
        preconditions.from_headers(call.headers),
    )
    return Response(status_code=204)


def list_objects(call: Call) -> Response:
    """GET of a bucket, in both versions of the listing."""
    bucket, is_second = call.path["bucket"], call.query.get("list-type") == "2"
    limit = call.number("max-keys")
    after = call.query.get("start-after" if is_second else "marker")
    query = Query(
        prefix=call.query.get("prefix", ""),
        delimiter=call.query.get("delimiter", ""),
        start=_start(after or "", call.query.get("delimiter", "")),
        limit=min(MAX_PAGE if limit is None else limit, MAX_PAGE) or 1,
    )
    call.store.buckets.get(bucket)
    token = call.query.get("continuation-token")
    page = list_page(partial(call.store.objects.scan, bucket), query, decode_token(token))
    encoded = call.query.get("encoding-type") == "url"
    fields: list[tuple[str, str | Fields]] = [
        ("Name", bucket),
        ("Prefix", key(query.prefix, encoded=encoded)),
        ("IsTruncated", "false" if page.following is None else "true"),
        ("KeyCount", str(len(page.objects) + len(page.prefixes))),
    ]
    if page.following is not None:
        last = max([*page.prefixes, *(found.name for found in page.objects)])
        fields.append(
            ("NextContinuationToken", encode_token(page.following) or "")
            if is_second
            else ("NextMarker", key(last, encoded=encoded))
        )
    fields += [("Contents", object_fields(found, encoded=encoded)) for found in page.objects]
    fields += [
        ("CommonPrefixes", [("Prefix", key(prefix, encoded=encoded))]) for prefix in page.prefixes
    ]
    return document("ListBucketResult", fields)


def _start(after: str, delimiter: str) -> str:
    if delimiter and after.endswith(delimiter):  # The last of a page was a common prefix.
        return after_prefix(after) or after
    return f"{after}\0" if after else ""
