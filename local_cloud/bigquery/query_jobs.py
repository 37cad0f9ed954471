"""Query jobs: which tables a query reads, and where its result goes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import duckdb

from local_cloud.bigquery.destination import plan, publish, write_rows
from local_cloud.bigquery.engine import lock, scan, session
from local_cloud.bigquery.googlesql import invalid, respell, unsupported
from local_cloud.bigquery.naming import (
    TableId,
    not_found,
    parse_partitioning,
    partition_start,
)
from local_cloud.bigquery.query import Relation, constant, errors, prepare
from local_cloud.bigquery.schema import Field, parse_fields
from local_cloud.bigquery.store import Json, RowFile, Store
from local_cloud.bigquery.tables import partitions_summary
from local_cloud.errors import ServiceError

# Holds the results of queries that name no table for theirs; never listed.
RESULTS = "_local_cloud_results"
_PSEUDO_COLUMNS = ("_partitiontime", "_partitiondate")


def check(config: Mapping[str, Any]) -> None:
    """Refuses a query job whose settings cannot be followed.

    Raises:
        ServiceError: Says which setting it is.
    """
    if not config.get("query"):
        raise ServiceError(400, "Required parameter is missing: query")
    if config.get("useLegacySql", True):
        raise unsupported("Legacy SQL (useLegacySql is true unless it is set to false)")
    for key in ("tableDefinitions", "userDefinedFunctionResources", "schemaUpdateOptions"):
        if config.get(key):
            raise unsupported(f"The setting {key}")


def dry_run(store: Store, config: Mapping[str, Any], project: str) -> Json:
    """What is known of a query's result without running it: its statistics.

    Raises:
        ServiceError: The query is refused.
    """
    with store.reading(), session() as connection:
        fields, size = _prepare(store, connection, config, project)
    return _statistics(fields, size)


def run(store: Store, job: Json, finish: Callable[[Json], None]) -> None:
    """Runs a query job.

    Args:
        store: Has the tables, and gets the result.
        job: The job's resource, with a destination.
        finish: Called with the job's statistics in the transaction that makes the result visible;
            raises if the job was cancelled.

    Raises:
        ServiceError: Why the job fails; nothing was changed.
    """
    config = job["configuration"]["query"]
    project = job["jobReference"]["projectId"]
    with store.reading():
        # The session that runs the query cannot write files; its result passes through Arrow.
        with session() as connection:
            fields, size = _prepare(store, connection, config, project)
            with errors():
                result = connection.sql("FROM result").to_arrow_table()
        given = [field.to_json() for field in fields]
        with session() as connection:
            connection.register("result", result)
            while True:
                to = plan(store, config, project, given)
                files = write_rows(store, connection, "result", to)
                with store.transaction():
                    now = plan(store, config, project, given)
                    if now == to:
                        publish(store, now, files)
                        finish(_statistics(fields, size))
                        return


def anonymous_table(project: str, job_id: str) -> TableId:
    """Where the result of a job goes that names no table."""
    return TableId(project, RESULTS, "anon" + hashlib.sha256(job_id.encode()).hexdigest()[:40])


def _prepare(
    store: Store, connection: duckdb.DuckDBPyConnection, config: Mapping[str, Any], project: str
) -> tuple[tuple[Field, ...], int]:
    check(config)
    sql = respell(str(config["query"]), config.get("queryParameters") or ())
    read: list[Path] = []

    def find(name: str) -> Relation:
        relation = _relation(store, config, name, project, sql)
        read.extend(relation.files)
        return relation

    with store.transaction():  # All tables are read as they are at one time.
        fields = prepare(connection, sql, find, lock)
    return fields, sum(path.stat().st_size for path in read)


def _statistics(fields: tuple[Field, ...], size: int) -> Json:
    return {
        "totalBytesProcessed": str(size),
        "query": {
            "statementType": "SELECT",
            "totalBytesProcessed": str(size),
            "totalBytesBilled": "0",
            "cacheHit": False,
            "schema": {"fields": [field.to_json() for field in fields]},
        },
    }


def _relation(
    store: Store, config: Mapping[str, Any], name: str, project: str, sql: str
) -> Relation:
    parts = name.split(".")
    if "$" in name:
        raise invalid(
            f"Table name '{name}' is invalid: a partition decorator can be used in load jobs and "
            "tabledata.list, not in GoogleSQL; filter on the partitioning column instead"
        )
    if len(parts) >= 2 and parts[-2].upper() == "INFORMATION_SCHEMA":  # noqa: PLR2004
        return _information_schema(store, parts, project)
    default = config.get("defaultDataset") or {}
    if len(parts) == 1:
        if not default:
            raise invalid(f'Table "{name}" must be qualified with a dataset (e.g. dataset.table).')
        parts = [default["datasetId"], *parts]
    if len(parts) == 2:  # noqa: PLR2004
        parts = [default.get("projectId") or project, *parts]
    table = TableId(*parts[:3])
    resource = store.table(table)
    if resource is None or len(parts) > 3:  # noqa: PLR2004
        raise not_found("Table", f"{table} was not found in location US")
    fields = parse_fields(resource.get("schema", {}).get("fields", ()))
    if not fields:
        raise invalid(f"Table {table} does not have a schema.")
    files = store.files(table)
    select = scan(files, fields)
    if any(column in sql.lower() for column in _PSEUDO_COLUMNS):
        select = _with_pseudo_columns(resource, files, fields, sql)
    return Relation(select, tuple(file.path for file in files))


def _with_pseudo_columns(
    resource: Json, files: list[RowFile], fields: tuple[Field, ...], sql: str
) -> str:
    partitioning = parse_partitioning(resource)
    if partitioning is None or partitioning.field is not None:
        return scan(files, fields)
    if "*" in sql.replace("(*)", ""):
        raise unsupported("A query with both * and _PARTITIONTIME or _PARTITIONDATE")
    selects = []
    for partition in sorted({file.partition for file in files}) or [""]:
        start = partition and partition_start(partition, partitioning).isoformat()
        time = f"TIMESTAMPTZ '{start}'" if start else "NULL::TIMESTAMPTZ"
        rows = scan([file for file in files if file.partition == partition], fields)
        columns = f"{time} AS _PARTITIONTIME, CAST({time} AS DATE) AS _PARTITIONDATE"
        selects.append(f"SELECT *, {columns} FROM ({rows})")  # noqa: S608
    return " UNION ALL ".join(selects)


def _information_schema(store: Store, parts: list[str], project: str) -> Relation:
    dataset, view = parts[-3] if len(parts) > 2 else "", parts[-1].upper()  # noqa: PLR2004
    owner = ".".join(parts[:-3]) or project
    if view != "PARTITIONS" or not dataset:
        raise unsupported(f"INFORMATION_SCHEMA.{view}")
    if store.dataset(owner, dataset) is None:
        raise not_found("Dataset", f"{owner}:{dataset}")
    fields = (
        Field("table_catalog", "STRING"),
        Field("table_schema", "STRING"),
        Field("table_name", "STRING"),
        Field("partition_id", "STRING"),
        Field("total_rows", "INTEGER"),
    )
    rows: list[dict[str, object]] = []
    for table in store.tables(owner, dataset):
        name = TableId(owner, dataset, table["tableReference"]["tableId"])
        files = store.files(name)
        _, partitions = partitions_summary(name, files, 0)
        rows += [
            {
                "table_catalog": owner,
                "table_schema": dataset,
                "table_name": name.table,
                "partition_id": one["partition_id"] or None,
                "total_rows": sum(f.rows for f in files if f.partition == one["partition_id"]),
            }
            for one in partitions
        ]
    return Relation(constant(rows, fields))
