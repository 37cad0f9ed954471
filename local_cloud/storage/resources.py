"""The JSON of buckets and objects, and which of its fields a client may set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from local_cloud.storage import errors
from local_cloud.storage.records import Bucket, StoredObject

# Kept and shown; only the first five have an effect, on downloads.
_OBJECT_FIELDS = frozenset(
    "contentType contentEncoding contentDisposition contentLanguage cacheControl customTime"
    " metadata storageClass".split()
)
# Kept and shown, without an effect.
_BUCKET_FIELDS = frozenset(
    "labels location storageClass lifecycle cors website logging billing rpo".split()
)
_STORAGE_CLASSES = frozenset(
    "STANDARD NEARLINE COLDLINE ARCHIVE REGIONAL MULTI_REGIONAL DURABLE_REDUCED_AVAILABILITY"
    " RAPID".split()
)


def object_fields(resource: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of the resource that a client sends for an object.

    Raises:
        StorageError: It asks for what is not there, or is malformed.
    """
    for field in ("temporaryHold", "eventBasedHold", "retention", "kmsKeyName"):
        if resource.get(field):
            raise errors.not_there(f"{field} of objects")
    if resource.get("acl"):
        raise uniform_access()
    fields = {
        key: value for key, value in resource.items() if key in _OBJECT_FIELDS and value is not None
    }
    metadata = fields.get("metadata", {})
    if not isinstance(metadata, dict):
        raise errors.invalid("Invalid value for: metadata is no map of strings.")
    fields["metadata"] = {key: str(text) for key, text in metadata.items() if text is not None}
    if not fields["metadata"]:
        del fields["metadata"]
    if fields.get("storageClass", "STANDARD") not in _STORAGE_CLASSES:
        raise errors.invalid(f"Invalid storage class: {fields['storageClass']}")
    return fields


def patched_object_fields(fields: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of an object after a patch: null removes a field, or an entry of `metadata`.

    Raises:
        StorageError: The patch asks for what is not there, or is malformed.
    """
    if "storageClass" in patch and patch["storageClass"] != fields["storageClass"]:
        raise errors.invalid("The storage class of an object is changed by rewriting it.")
    patch = dict(patch)
    if isinstance(patch.get("metadata"), dict):
        patch["metadata"] = {**fields.get("metadata", {}), **patch["metadata"]}
    return object_fields({**fields, **patch})


def bucket_fields(resource: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of the resource that a client sends for a bucket.

    Raises:
        StorageError: It asks for what is not there, or is malformed.
    """
    for what, asked in (
        ("object versioning", _inner(resource, "versioning", "enabled")),
        ("soft delete", int(_inner(resource, "softDeletePolicy", "retentionDurationSeconds") or 0)),
        ("retention policies", resource.get("retentionPolicy")),
        ("hierarchical namespace", _inner(resource, "hierarchicalNamespace", "enabled")),
        ("default encryption keys", _inner(resource, "encryption", "defaultKmsKeyName")),
        ("autoclass", _inner(resource, "autoclass", "enabled")),
    ):
        if asked:
            raise errors.not_there(what)
    fields = {
        key: value for key, value in resource.items() if key in _BUCKET_FIELDS and value is not None
    }
    fields["location"] = str(fields.get("location", "US")).upper()
    fields.setdefault("storageClass", "STANDARD")
    if fields["storageClass"] not in _STORAGE_CLASSES:
        raise errors.invalid(f"Invalid storage class: {fields['storageClass']}")
    if not fields.get("labels"):
        fields.pop("labels", None)
    return fields


def patched_bucket_fields(fields: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a bucket after a patch: null removes a field, or an entry of `labels`.

    Raises:
        StorageError: The patch asks for what is not there, or is malformed.
    """
    patch = {key: value for key, value in patch.items() if key != "location"}
    if isinstance(patch.get("labels"), dict):
        labels = {**fields.get("labels", {}), **patch["labels"]}
        patch["labels"] = {key: text for key, text in labels.items() if text is not None}
    return bucket_fields({**fields, **patch})


def uniform_access() -> errors.StorageError:
    """The error for access control lists: all buckets have uniform bucket-level access."""
    return errors.invalid(
        "Cannot use ACL API to update bucket policy when uniform bucket-level access is enabled. "
        "Read more at https://cloud.google.com/storage/docs/uniform-bucket-level-access"
    )


def object_resource(found: StoredObject, base: str) -> dict[str, Any]:
    """The JSON of an object.

    Args:
        found: The object.
        base: How the client reaches the service: scheme, host and port.
    """
    path = f"/storage/v1/b/{found.bucket}/o/{quote(found.name, safe='')}"
    resource: dict[str, Any] = {
        "kind": "storage#object",
        "id": f"{found.bucket}/{found.name}/{found.generation}",
        "selfLink": f"{base}{path}",
        "mediaLink": f"{base}/download{path}?generation={found.generation}&alt=media",
        "name": found.name,
        "bucket": found.bucket,
        "generation": str(found.generation),
        "metageneration": str(found.metageneration),
        "size": str(found.content.size),
        "crc32c": found.content.crc32c,
        "etag": found.etag,
        "timeCreated": found.created,
        "updated": found.updated,
        "timeStorageClassUpdated": found.created,
        "timeFinalized": found.created,
        **found.fields,
    }
    if found.content.md5:
        resource["md5Hash"] = found.content.md5
    if found.components:
        resource["componentCount"] = found.components
    return resource


def bucket_resource(bucket: Bucket, base: str) -> dict[str, Any]:
    """The JSON of a bucket.

    Args:
        bucket: The bucket.
        base: How the client reaches the service: scheme, host and port.
    """
    regions = {"US", "EU", "ASIA"}
    return {
        "kind": "storage#bucket",
        "id": bucket.name,
        "selfLink": f"{base}/storage/v1/b/{bucket.name}",
        "name": bucket.name,
        "projectNumber": "1",
        "generation": "1",
        "metageneration": str(bucket.metageneration),
        "etag": bucket.etag,
        "timeCreated": bucket.created,
        "updated": bucket.updated,
        "locationType": "multi-region" if bucket.fields["location"] in regions else "region",
        "iamConfiguration": {
            "bucketPolicyOnly": {"enabled": True},
            "uniformBucketLevelAccess": {"enabled": True},
            "publicAccessPrevention": "inherited",
        },
        "softDeletePolicy": {"retentionDurationSeconds": "0"},
        **bucket.fields,
    }


def _inner(resource: Mapping[str, Any], field: str, key: str) -> Any:
    value = resource.get(field)
    return value.get(key) if isinstance(value, dict) else None
