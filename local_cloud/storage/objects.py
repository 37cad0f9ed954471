"""The methods of objects in the JSON API, but for uploads, copies and composition."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from starlette.responses import Response

from local_cloud.storage import preconditions
from local_cloud.storage.calls import Call, json_response
from local_cloud.storage.downloads import stream
from local_cloud.storage.errors import invalid, not_there
from local_cloud.storage.listing import (
    MAX_PAGE,
    Query,
    compile_glob,
    decode_token,
    encode_token,
    list_page,
)
from local_cloud.storage.records import StoredObject
from local_cloud.storage.resources import (
    object_fields,
    object_resource,
    patched_object_fields,
    uniform_access,
)


def get_object(call: Call) -> Response:
    """storage.objects.get: the resource, or with alt=media the content."""
    refuse_soft_deleted(call)
    if call.query.get("alt") == "media":
        return _download(call)
    found = call.store.objects.get(call.path["bucket"], call.path["object"], call.generation)
    preconditions.from_query(call.query).check(found, reading=True)
    preconditions.check_etags(call.headers, found.etag)
    return json_response(object_resource(found, call.base))


def _download(call: Call) -> Response:
    def check(found: StoredObject) -> None:
        preconditions.from_query(call.query).check(found, reading=True)
        preconditions.check_etags(call.headers, found.etag)

    found, file = call.store.objects.open(
        call.path["bucket"], call.path["object"], call.generation, check
    )
    return stream(call, found, file, {"ETag": found.etag})


def patch_object(call: Call, patch: dict[str, Any]) -> Response:
    """storage.objects.patch: changes some fields."""
    if "acl" in patch:
        raise uniform_access()

    def change(found: StoredObject) -> Mapping[str, Any]:
        _check_custom_time(found, patch)
        return patched_object_fields(found.fields, patch)

    return _change(call, change)


def update_object(call: Call, resource: dict[str, Any]) -> Response:
    """storage.objects.update: replaces all fields that can be changed."""

    def change(found: StoredObject) -> Mapping[str, Any]:
        _check_custom_time(found, resource)
        return {**object_fields(resource), "storageClass": found.fields["storageClass"]}

    return _change(call, change)


def delete_object(call: Call) -> Response:
    """storage.objects.delete."""
    call.store.objects.delete(
        call.path["bucket"],
        call.path["object"],
        call.generation,
        preconditions.from_query(call.query),
    )
    return Response(status_code=204)


def list_objects(call: Call) -> Response:
    """storage.objects.list."""
    refuse_soft_deleted(call)
    glob = call.query.get("matchGlob")
    limit = call.number("maxResults")
    if limit == 0:
        raise invalid("Invalid value for maxResults: 0", location="maxResults")
    query = Query(
        prefix=call.query.get("prefix", ""),
        delimiter=call.query.get("delimiter", ""),
        includes_trailing=call.flag("includeTrailingDelimiter"),
        start=call.query.get("startOffset", ""),
        end=call.query.get("endOffset") or None,
        glob=compile_glob(glob) if glob else None,
        limit=min(limit or MAX_PAGE, MAX_PAGE),
    )
    bucket = call.path["bucket"]
    call.store.buckets.get(bucket)
    scan = partial(call.store.objects.scan, bucket)
    page = list_page(scan, query, decode_token(call.query.get("pageToken")))
    resource: dict[str, Any] = {"kind": "storage#objects"}
    if page.following is not None:
        resource["nextPageToken"] = encode_token(page.following)
    if page.prefixes:
        resource["prefixes"] = page.prefixes
    if page.objects:
        resource["items"] = [object_resource(found, call.base) for found in page.objects]
    return json_response(resource)


def refuse_lists(_: Call) -> Response:
    """storage.objectAccessControls and the like: there is only uniform bucket-level access."""
    raise uniform_access()


def refuse_soft_deleted(call: Call) -> None:
    """Fails on a call about soft-deleted objects.

    Raises:
        StorageError: It is one.
    """
    if call.flag("softDeleted"):
        raise not_there("soft delete")


def _change(call: Call, change: Any) -> Response:
    changed = call.store.objects.change(
        call.path["bucket"],
        call.path["object"],
        call.generation,
        change,
        preconditions.from_query(call.query),
    )
    return json_response(object_resource(changed, call.base))


def _check_custom_time(found: StoredObject, resource: Mapping[str, Any]) -> None:
    before = found.fields.get("customTime")
    if before and str(resource.get("customTime", before) or "") < before:
        raise invalid("The customTime of an object cannot be removed or set to an earlier time.")
