"""The service: the routes of the JSON API, each named by the id of its method, then the XML API."""

from __future__ import annotations

from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from local_cloud.faults import Faults
from local_cloud.serving import build_app
from local_cloud.storage import buckets, copying, objects, xml_api
from local_cloud.storage.batch import run_batch
from local_cloud.storage.calls import Call, Endpoint, RawRoute, answer, reading, with_resource
from local_cloud.storage.errors import StorageError
from local_cloud.storage.resumable import Sessions, cancel_upload
from local_cloud.storage.store import Store
from local_cloud.storage.uploads import insert

_APIS = ("storage", "upload", "download", "resumable", "batch")
_B = "/storage/v1/b"
_BUCKET = f"{_B}/{{bucket}}"
_OBJECTS = f"{_BUCKET}/o"
_OBJECT = f"{_OBJECTS}/{{object}}"
_TO_OBJECT = "b/{to_bucket}/o/{to_object}"


def _route(method: str, path: str, verb: str, endpoint: Endpoint) -> RawRoute:
    return RawRoute(path, endpoint, methods=[verb], name=f"storage.{method}")


async def _test_permissions(request: Request) -> Response:
    permissions = request.query_params.getlist("permissions")
    return await answer(buckets.test_permissions, Call.of(request), permissions)


async def _no_method(_: Request) -> Response:
    raise StorageError(404, "Not Found")


_BUCKET_ROUTES = [
    _route("buckets.list", _B, "GET", reading(buckets.list_buckets)),
    _route("buckets.insert", _B, "POST", with_resource(buckets.insert_bucket)),
    _route("buckets.get", _BUCKET, "GET", reading(buckets.get_bucket)),
    _route("buckets.patch", _BUCKET, "PATCH", with_resource(buckets.patch_bucket)),
    _route("buckets.update", _BUCKET, "PUT", with_resource(buckets.update_bucket)),
    _route("buckets.delete", _BUCKET, "DELETE", reading(buckets.delete_bucket)),
    _route(
        "buckets.getStorageLayout",
        f"{_BUCKET}/storageLayout",
        "GET",
        reading(buckets.get_storage_layout),
    ),
    _route("folders.list", f"{_BUCKET}/folders", "GET", reading(buckets.list_folders)),
    _route(
        "managedFolders.list", f"{_BUCKET}/managedFolders", "GET", reading(buckets.list_folders)
    ),
    _route("buckets.getIamPolicy", f"{_BUCKET}/iam", "GET", reading(buckets.get_policy)),
    _route("buckets.setIamPolicy", f"{_BUCKET}/iam", "PUT", reading(buckets.refuse_policies)),
    _route(
        "buckets.testIamPermissions", f"{_BUCKET}/iam/testPermissions", "GET", _test_permissions
    ),
]

_OBJECT_ROUTES = [
    _route("objects.list", _OBJECTS, "GET", reading(objects.list_objects)),
    _route("objects.get", _OBJECT, "GET", reading(objects.get_object)),
    _route("objects.patch", _OBJECT, "PATCH", with_resource(objects.patch_object)),
    _route("objects.update", _OBJECT, "PUT", with_resource(objects.update_object)),
    _route("objects.delete", _OBJECT, "DELETE", reading(objects.delete_object)),
    _route(
        "objects.rewrite",
        f"{_OBJECT}/rewriteTo/{_TO_OBJECT}",
        "POST",
        with_resource(copying.rewrite_object),
    ),
    _route(
        "objects.copy", f"{_OBJECT}/copyTo/{_TO_OBJECT}", "POST", with_resource(copying.copy_object)
    ),
    _route(
        "objects.move",
        f"{_OBJECT}/moveTo/o/{{to_object}}",
        "POST",
        with_resource(copying.move_object),
    ),
    _route("objects.compose", f"{_OBJECT}/compose", "POST", with_resource(copying.compose_object)),
    _route("objects.get", f"/download{_OBJECT}", "GET", reading(objects.get_object)),
    *(
        _route("objects.insert", f"{prefix}/upload{_OBJECTS}", verb, endpoint)
        for prefix in ("", "/resumable")
        for verb, endpoint in (("POST", insert), ("PUT", insert), ("DELETE", cancel_upload))
    ),
]


_ANY_VERB = ["GET", "POST", "PUT", "PATCH", "DELETE"]
_OTHER_ROUTES = [
    _route("batch", "/batch/storage/v1", "POST", run_batch),
    # What buckets and objects of the service have beside these; without them the paths below
    # would be those of the XML API.
    RawRoute(f"{_OBJECT}/acl{{rest:path}}", reading(objects.refuse_lists), methods=_ANY_VERB),
    RawRoute(f"{_BUCKET}/{{rest:path}}", reading(buckets.refuse_policies), methods=_ANY_VERB),
    *(RawRoute(f"/{api}/{{rest:path}}", _no_method, methods=_ANY_VERB) for api in _APIS),
]


def storage_app(directory: Path, projects: list[str], bucket_names: list[str]) -> Starlette:
    """The service over a directory.

    Args:
        directory: Where all data is.
        projects: The projects that exist.
        bucket_names: Buckets to create in the first project, where they are not there yet.
    """
    store = Store(directory, set(projects))
    for name in bucket_names:
        store.buckets.ensure(name, projects[0])
    app = build_app([*_BUCKET_ROUTES, *_OBJECT_ROUTES, *_OTHER_ROUTES, *xml_api.ROUTES], Faults())
    app.state.store = store
    app.state.sessions = Sessions()
    return app
