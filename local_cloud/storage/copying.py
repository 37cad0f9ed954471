"""Copies of objects, and objects composed of others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from local_cloud.storage import preconditions
from local_cloud.storage.calls import Call, json_response
from local_cloud.storage.contents import Content
from local_cloud.storage.errors import invalid
from local_cloud.storage.names import check_object_name
from local_cloud.storage.object_store import NewObject
from local_cloud.storage.preconditions import Preconditions
from local_cloud.storage.records import StoredObject
from local_cloud.storage.resources import object_fields, object_resource
from local_cloud.storage.store import Store

_MAX_SOURCES = 32


def rewrite_object(call: Call, resource: dict[str, Any]) -> Response:
    """storage.objects.rewrite: always done in one call, whatever the size."""
    stored = _copy_called(call, resource)
    size = str(stored.content.size)
    return json_response(
        {
            "kind": "storage#rewriteResponse",
            "totalBytesRewritten": size,
            "objectSize": size,
            "done": True,
            "resource": object_resource(stored, call.base),
        }
    )


def copy_object(call: Call, resource: dict[str, Any]) -> Response:
    """storage.objects.copy."""
    return json_response(object_resource(_copy_called(call, resource), call.base))


def move_object(call: Call, _: dict[str, Any]) -> Response:
    """storage.objects.move: renames an object within its bucket."""
    source, target = call.path["object"], check_object_name(call.path["to_object"])
    if source == target:
        raise invalid("The source and the destination of a move must have different names.")
    stored = call.store.objects.move(
        (call.path["bucket"], source, call.number("sourceGeneration")),
        target,
        of_source=preconditions.from_query(call.query, "Source"),
        of_target=preconditions.from_query(call.query),
    )
    return json_response(object_resource(stored, call.base))


def compose_object(call: Call, request: dict[str, Any]) -> Response:
    """storage.objects.compose: up to 32 objects of a bucket, one after the other."""
    bucket, name = call.path["bucket"], check_object_name(call.path["object"])
    sources = request.get("sourceObjects", [])
    if not 1 <= len(sources) <= _MAX_SOURCES:
        raise invalid(
            f"The number of source components provided ({len(sources)}) must be between 1 and "
            f"{_MAX_SOURCES}."
        )
    fields = object_fields(request.get("destination", {}))
    conditions = preconditions.from_query(call.query)
    store = call.store
    components = 0
    with store.writing(with_md5=False) as writer:
        for source in sources:
            condition = source.get("objectPreconditions", {}).get("ifGenerationMatch")
            wanted = Preconditions(generation_match=None if condition is None else int(condition))
            generation = source.get("generation")
            found, file = store.objects.open(
                bucket, source["name"], generation and int(generation), wanted.check
            )
            with file:
                writer.append(file)
            components += found.components or 1
            # As documented, what the request leaves out is that of the first source.
            fields.setdefault("contentType", found.fields.get("contentType", ""))
        fields = {key: value for key, value in fields.items() if value}
        new = NewObject(bucket, name, writer.content(), fields, components)
        stored = store.objects.commit(new, conditions)
    return json_response(object_resource(stored, call.base))


def copy(
    store: Store,
    source: tuple[str, str, int | None],
    target: tuple[str, str],
    fields: Mapping[str, Any],
    *,
    of_source: Preconditions,
    of_target: Preconditions,
) -> StoredObject:
    """Copies an object; the two share the bytes on disk.

    Args:
        store: The data.
        source: Bucket, name and, if one is asked for, generation of the object.
        target: Bucket and name of the copy.
        fields: Of the copy; where there are none, those of the source are.
        of_source: Must hold for the source.
        of_target: Must hold for what is at the target when the copy is committed.

    Raises:
        StorageError: The source or the target's bucket does not exist, or a precondition does not
            hold.
    """
    bucket, name = target[0], check_object_name(target[1])
    found, linked = store.objects.link(*source, of_source)
    content = Content(linked, found.content.size, found.content.md5, found.content.crc32c)
    try:
        new = NewObject(bucket, name, content, fields or found.fields, found.components)
        return store.objects.commit(new, of_target)
    except BaseException:
        store.contents.remove([linked])
        raise


def _copy_called(call: Call, resource: dict[str, Any]) -> StoredObject:
    return copy(
        call.store,
        (call.path["bucket"], call.path["object"], call.number("sourceGeneration")),
        (call.path["to_bucket"], call.path["to_object"]),
        object_fields(resource),
        of_source=preconditions.from_query(call.query, "Source"),
        of_target=preconditions.from_query(call.query),
    )
