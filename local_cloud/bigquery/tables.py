"""Tables as the API shows them, and the checks of what a client wants one to be."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from local_cloud.bigquery.naming import (
    PARTITIONS_SUMMARY,
    TableId,
    not_found,
    parse_partitioning,
)
from local_cloud.bigquery.schema import Field, SchemaError, normalized, parse_fields
from local_cloud.bigquery.store import RowFile, Store, now_ms
from local_cloud.errors import ServiceError

_KEPT = (
    "friendlyName description labels schema timePartitioning clustering expirationTime "
    "requirePartitionFilter resourceTags"
).split()
_REFUSED = {
    "view": "views",
    "materializedView": "materialized views",
    "externalDataConfiguration": "external tables",
    "snapshotDefinition": "snapshots",
    "cloneDefinition": "clones",
    "encryptionConfiguration": "customer-managed encryption keys",
}
_SUMMARY_FIELDS = (
    Field("project_id", "STRING"),
    Field("dataset_id", "STRING"),
    Field("table_id", "STRING"),
    Field("partition_id", "STRING"),
    Field("creation_time", "INTEGER"),
    Field("creation_timestamp", "TIMESTAMP"),
    Field("last_modified_time", "INTEGER"),
    Field("last_modified_timestamp", "TIMESTAMP"),
)


def new_table(store: Store, name: TableId, body: Mapping[str, Any]) -> dict[str, Any]:
    """The resource of a table that a client describes.

    Args:
        store: Has the table's dataset.
        name: The table's name.
        body: The client's resource.

    Raises:
        ServiceError: It cannot be such.
    """
    dataset = store.dataset(name.project, name.dataset)
    if dataset is None:
        raise not_found("Dataset", f"{name.project}:{name.dataset}")
    for key, what in _REFUSED.items():
        if body.get(key):
            raise ServiceError(501, f"The local BigQuery has no {what}.")
    found = {key: body[key] for key in _KEPT if body.get(key) is not None}
    fields = body.get("schema", {}).get("fields", [])
    try:
        checked = parse_fields(fields)
    except SchemaError as error:
        raise ServiceError(400, str(error)) from error
    _check_partitioning(found, checked)
    if fields:
        found["schema"] = {"fields": [normalized(field) for field in fields]}
    created = body.get("creationTime") or str(now_ms())
    return found | {
        "kind": "bigquery#table",
        "id": str(name),
        "tableReference": name.to_json(),
        "type": "TABLE",
        "location": dataset["location"],
        "creationTime": created,
    }


def _check_partitioning(found: Mapping[str, Any], fields: tuple[Field, ...]) -> None:
    partitioning = parse_partitioning(found)
    if partitioning is None or partitioning.field is None:
        return
    name = partitioning.field.lower()
    column = next((one for one in fields if one.name.lower() == name), None)
    if column is None:
        raise ServiceError(
            400,
            f"The field specified for partitioning cannot be found in the schema: {name}",
        )
    allowed = ("TIMESTAMP", "DATETIME") + (("DATE",) if partitioning.unit != "HOUR" else ())
    if column.type not in allowed or column.is_repeated:
        raise ServiceError(
            400,
            f"The field specified for partitioning by {partitioning.unit} must be of type "
            f"{' or '.join(allowed)}: {column.name} is {column.mode} {column.type}",
        )


def shown(
    store: Store, resource: Mapping[str, Any], *, partition: str | None = None
) -> dict[str, Any]:
    """A table as the API answers with it, sizes and times included.

    Args:
        store: Has the table.
        resource: The table.
        partition: The partition that was asked for; None for all.
    """
    name = table_id(resource)
    own: dict[str, Any] = {}
    if partition:
        decorated = f"{name.table}${partition}"
        own = {
            "id": f"{name}${partition}",
            "tableReference": name.to_json() | {"tableId": decorated},
        }
    if partition == PARTITIONS_SUMMARY:
        own["schema"] = {"fields": [one.to_json() for one in _SUMMARY_FIELDS]}
        return {key: resource[key] for key in ("kind", "type", "location", "creationTime")} | own
    files = store.files(name, partition)
    changed = store.changed(name)
    size = str(sum(file.size for file in files))
    found = (
        dict(resource)
        | {
            "numRows": str(sum(file.rows for file in files)),
            "numBytes": size,
            "numLongTermBytes": "0",
            "numTotalLogicalBytes": size,
            "lastModifiedTime": str(changed),
        }
        | own
    )
    return found | {"etag": etag(found)}


def table_id(resource: Mapping[str, Any]) -> TableId:
    """The name of a table."""
    found = resource["tableReference"]
    return TableId(found["projectId"], found["datasetId"], found["tableId"])


def etag(resource: Mapping[str, Any]) -> str:
    """A word that changes when the resource does."""
    digest = hashlib.sha256(repr(sorted(resource.items())).encode()).hexdigest()
    return f'"{digest[:22]}"'


def partitions_summary(
    name: TableId, files: list[RowFile], created: int
) -> tuple[tuple[Field, ...], list[dict[str, object]]]:
    """The rows of the table's ``$__PARTITIONS_SUMMARY__``.

    Args:
        name: The table's name.
        files: Its files.
        created: When it was made, in milliseconds since 1970.
    """
    rows: list[dict[str, object]] = [
        {
            "project_id": name.project,
            "dataset_id": name.dataset,
            "table_id": name.table,
            "partition_id": partition,
            "creation_time": created,
            "last_modified_time": max(one.changed for one in files if one.partition == partition),
        }
        for partition in sorted({file.partition for file in files})
    ]
    return _SUMMARY_FIELDS, rows
