"""The XML API: which request asks for what, and its errors as documents."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from local_cloud.errors import ServiceError
from local_cloud.storage import xml_objects, xml_uploads
from local_cloud.storage.calls import Call, Endpoint, RawRoute, answer
from local_cloud.storage.errors import not_there
from local_cloud.storage.xml_documents import error_document

Handler = Callable[[Request, Call], Awaitable[Response]]

# What else buckets and objects of the service have.
_NOT_THERE = set(
    "acl billing compose cors delete encryption lifecycle location logging notification policy"
    " storageClass tagging versioning website".split()
)


async def get_object(_: Request, call: Call) -> Response:
    """Reads an object, or lists the parts of an upload."""
    if "uploadId" in call.query:
        return await answer(xml_uploads.list_parts, call)
    return await answer(xml_objects.get_object, call)


async def put_object(request: Request, call: Call) -> Response:
    """Writes an object or a part of one, or copies an object."""
    if "uploadId" in call.query:
        return await xml_uploads.put_part(request, call)
    if "x-goog-copy-source" in call.headers:
        return await answer(xml_objects.copy_object, call)
    return await xml_objects.put_object(request, call)


async def post_object(request: Request, call: Call) -> Response:
    """Begins or completes an upload in parts."""
    if "uploads" in call.query:
        return await answer(xml_uploads.begin_upload, call)
    if "uploadId" in call.query:
        return await xml_uploads.complete_upload(request, call)
    raise not_there("resumable upload or form upload in the XML API")


async def delete_object(_: Request, call: Call) -> Response:
    """Deletes an object, or aborts an upload in parts."""
    if "uploadId" in call.query:
        return await answer(xml_uploads.abort_upload, call)
    return await answer(xml_objects.delete_object, call)


async def get_bucket(_: Request, call: Call) -> Response:
    """Lists objects or uploads."""
    if "uploads" in call.query:
        return await answer(xml_uploads.list_uploads, call)
    return await answer(xml_objects.list_objects, call)


async def refuse(_: Request, __: Call) -> Response:
    """Whatever else there is to do with a bucket."""
    raise not_there("way to change buckets in the XML API")


def _endpoint(handler: Handler) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        try:
            if _NOT_THERE & request.query_params.keys():
                raise not_there(f"{request.url.query!r} in the XML API")
            return await handler(request, Call.of(request))
        except ServiceError as error:
            return error_document(error)

    return endpoint


def _route(method: str, path: str, verb: str, handler: Handler) -> RawRoute:
    return RawRoute(path, _endpoint(handler), methods=[verb], name=f"storage.{method}")


_OBJECT = "/{bucket}/{object:path}"

# Named by the methods of the JSON API that they correspond to.
ROUTES: list[BaseRoute] = [
    *(_route("objects.list", path, "GET", get_bucket) for path in ("/{bucket}", "/{bucket}/")),
    *(
        _route("buckets.update", path, verb, refuse)
        for path in ("/{bucket}", "/{bucket}/")
        for verb in ("PUT", "POST", "DELETE")
    ),
    _route("objects.get", _OBJECT, "GET", get_object),
    _route("objects.insert", _OBJECT, "PUT", put_object),
    _route("objects.insert", _OBJECT, "POST", post_object),
    _route("objects.delete", _OBJECT, "DELETE", delete_object),
]
