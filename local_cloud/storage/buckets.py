"""The methods of buckets in the JSON API."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from local_cloud.storage import preconditions
from local_cloud.storage.calls import Call, json_response
from local_cloud.storage.errors import not_there, required
from local_cloud.storage.listing import MAX_PAGE, decode_token, encode_token
from local_cloud.storage.names import check_bucket_name
from local_cloud.storage.resources import bucket_fields, bucket_resource, patched_bucket_fields


def insert_bucket(call: Call, resource: dict[str, Any]) -> Response:
    """storage.buckets.insert."""
    name = check_bucket_name(resource.get("name"))
    bucket = call.store.buckets.create(name, _project(call), bucket_fields(resource))
    return json_response(bucket_resource(bucket, call.base))


def get_bucket(call: Call) -> Response:
    """storage.buckets.get."""
    bucket = call.store.buckets.get(call.path["bucket"])
    preconditions.from_query(call.query).check(bucket, reading=True)
    return json_response(bucket_resource(bucket, call.base))


def list_buckets(call: Call) -> Response:
    """storage.buckets.list."""
    project = _project(call)
    call.store.buckets.check_project(project)
    limit = min(call.number("maxResults") or MAX_PAGE, MAX_PAGE)
    after = decode_token(call.query.get("pageToken")) or ""
    found = call.store.buckets.list(project, call.query.get("prefix", ""), after, limit + 1)
    resource: dict[str, Any] = {"kind": "storage#buckets"}
    if found:
        resource["items"] = [bucket_resource(bucket, call.base) for bucket in found[:limit]]
    if len(found) > limit:
        resource["nextPageToken"] = encode_token(found[limit - 1].name)
    return json_response(resource)


def patch_bucket(call: Call, patch: dict[str, Any]) -> Response:
    """storage.buckets.patch: changes some fields."""
    return _change(call, lambda fields: patched_bucket_fields(fields, patch))


def update_bucket(call: Call, resource: dict[str, Any]) -> Response:
    """storage.buckets.update: replaces all fields that can be changed."""
    return _change(call, lambda fields: bucket_fields({**resource, "location": fields["location"]}))


def delete_bucket(call: Call) -> Response:
    """storage.buckets.delete."""
    call.store.buckets.delete(call.path["bucket"], preconditions.from_query(call.query))
    return Response(status_code=204)


def get_storage_layout(call: Call) -> Response:
    """storage.buckets.getStorageLayout: what clients ask to learn of folders, of which none are."""
    bucket = call.store.buckets.get(call.path["bucket"])
    resource = bucket_resource(bucket, call.base)
    return json_response(
        {
            "kind": "storage#storageLayout",
            "bucket": bucket.name,
            "location": resource["location"],
            "locationType": resource["locationType"],
            "hierarchicalNamespace": {"enabled": False},
        }
    )


def list_folders(call: Call) -> Response:
    """storage.folders.list and storage.managedFolders.list: what clients ask before they delete."""
    call.store.buckets.get(call.path["bucket"])
    return json_response({"kind": "storage#folders"})


def get_policy(call: Call) -> Response:
    """storage.buckets.getIamPolicy: everybody may do everything."""
    bucket = call.store.buckets.get(call.path["bucket"])
    binding = {"role": "roles/storage.admin", "members": ["allUsers"]}
    return json_response(
        {
            "kind": "storage#policy",
            "resourceId": f"projects/_/buckets/{bucket.name}",
            "version": 1,
            "etag": "CAE=",
            "bindings": [binding],
        }
    )


def test_permissions(call: Call, permissions: list[str]) -> Response:
    """storage.buckets.testIamPermissions: all that are asked about are there."""
    call.store.buckets.get(call.path["bucket"])
    return json_response({"kind": "storage#testIamPermissionsResponse", "permissions": permissions})


def refuse_policies(_: Call) -> Response:
    """storage.buckets.setIamPolicy, and whatever else buckets have and these have not."""
    raise not_there("IAM policies, notifications or other configuration below a bucket")


def _change(call: Call, change: Any) -> Response:
    changed = call.store.buckets.change(
        call.path["bucket"], change, preconditions.from_query(call.query)
    )
    return json_response(bucket_resource(changed, call.base))


def _project(call: Call) -> str:
    project = call.query.get("project")
    if not project:
        raise required("project")
    return project
