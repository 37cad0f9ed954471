"""Where the rows of a load or query job go, and how they get there at once."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import duckdb

from local_cloud.bigquery.naming import (
    NULL_PARTITION,
    Partitioning,
    TableId,
    already_exists,
    not_found,
    parse_partitioning,
    parse_reference,
    partition_start,
    unit_of,
)
from local_cloud.bigquery.schema import Field, SchemaError, difference, parse_fields, quoted, text
from local_cloud.bigquery.store import RowFile, Store
from local_cloud.bigquery.tables import new_table
from local_cloud.errors import ServiceError

Config = Mapping[str, Any]

_DISPOSITIONS = ("WRITE_APPEND", "WRITE_TRUNCATE", "WRITE_EMPTY")


@dataclass(frozen=True)
class Destination:
    """A table that rows are about to be written to.

    Attributes:
        table: Its name.
        partition: The partition that was named; None for the whole table.
        fields: The columns of the new rows.
        partitioning: How rows are divided; None if they are not.
        write: ``WRITE_TRUNCATE``, ``WRITE_APPEND`` or ``WRITE_EMPTY``.
        resource: The table as it will be; None if it stays as it is.
    """

    table: TableId
    partition: str | None
    fields: tuple[Field, ...]
    partitioning: Partitioning | None
    write: str
    resource: dict[str, Any] | None = field(compare=False)


def plan(
    store: Store, config: Config, project: str, given: Sequence[Mapping[str, Any]] | None
) -> Destination:
    """What is to be written where, as the tables are now.

    Args:
        store: The tables.
        config: A load's or query's configuration.
        project: The job's.
        given: The schema of the new rows; None if it is the table's.

    Raises:
        ServiceError: The rows cannot be put there.
    """
    table, partition = parse_reference(config["destinationTable"], project)
    if store.dataset(table.project, table.dataset) is None:
        raise not_found("Dataset", f"{table.project}:{table.dataset}")
    existing = store.table(table)
    try:
        new = parse_fields(given) if given is not None else None
        partitioning = parse_partitioning(config)
        write = str(config.get("writeDisposition") or "WRITE_APPEND")
        if write not in _DISPOSITIONS:
            raise ServiceError(400, f"Invalid value for writeDisposition: {write}")
        if existing is None:
            return _new(store, config, table, partition, given=given, write=write)
        known = parse_fields(existing.get("schema", {}).get("fields", ()))
    except SchemaError as error:
        raise ServiceError(400, str(error)) from error
    current = parse_partitioning(existing)
    _check_partition(table, partition, current)
    if partitioning is not None and partitioning != current:
        raise ServiceError(
            400,
            "Incompatible table partitioning specification. Expects partitioning specification "
            f"{_describe(current)}, but input partitioning specification is "
            f"{_describe(partitioning)}",
        )
    if write == "WRITE_EMPTY" and store.files(table, partition):
        raise already_exists("Table", f"{table}${partition}" if partition else table)
    if new is None and not known:
        raise ServiceError(400, "No schema specified on job or table.")
    resource = None
    if new is not None and (not known or (write == "WRITE_TRUNCATE" and partition is None)):
        resource = existing | {"schema": {"fields": list(given or ())}}
        resource = new_table(store, table, resource)
    elif new is not None and (reason := difference(str(table), known, new)):
        raise ServiceError(400, reason)
    return Destination(table, partition, new or known, current, write, resource)


def _new(
    store: Store,
    config: Config,
    table: TableId,
    partition: str | None,
    *,
    given: Sequence[Mapping[str, Any]] | None,
    write: str,
) -> Destination:
    if config.get("createDisposition") == "CREATE_NEVER":
        raise not_found("Table", table)
    if given is None:
        raise ServiceError(400, "No schema specified on job or table.")
    body = {key: config[key] for key in ("timePartitioning", "clustering") if config.get(key)}
    if partition and "timePartitioning" not in body:
        body["timePartitioning"] = {"type": unit_of(partition)}
    body |= config.get("destinationTableProperties") or {}
    resource = new_table(store, table, body | {"schema": {"fields": list(given)}})
    partitioning = parse_partitioning(resource)
    _check_partition(table, partition, partitioning)
    return Destination(table, partition, parse_fields(given), partitioning, write, resource)


def _check_partition(
    table: TableId, partition: str | None, partitioning: Partitioning | None
) -> None:
    if partition is None:
        return
    if partitioning is None:
        raise ServiceError(
            400, f"Cannot write to a partition of {table}: the table is not partitioned."
        )
    partition_start(partition, partitioning)


def _describe(partitioning: Partitioning | None) -> str:
    if partitioning is None:
        return "none"
    by = f",field:{partitioning.field}" if partitioning.field else ""
    return f"interval(type:{partitioning.unit.lower()}{by})"


def write_rows(
    store: Store, connection: duckdb.DuckDBPyConnection, source: str, to: Destination
) -> list[RowFile]:
    """Writes rows to files that no table has yet.

    Args:
        store: Has room for files.
        connection: Can read the source.
        source: A table or view with the destination's columns.
        to: Where the rows will go.

    Raises:
        ServiceError: Some rows are not of the partition that was named.
    """
    partition_of = _partition_sql(to)
    found = connection.sql(
        f"SELECT {partition_of} AS part, count(*) FROM {source} GROUP BY ALL ORDER BY part"  # noqa: S608
    ).fetchall()
    if to.partition is not None and any(part != to.partition for part, _ in found):
        raise ServiceError(
            400,
            "Some rows belong to different partitions rather than destination partition "
            f"{to.partition}",
        )
    columns = ", ".join(quoted(one.name) for one in to.fields)
    files = []
    for part, rows in found:
        path = store.new_file()
        connection.execute(
            f"COPY (SELECT {columns} FROM {source} WHERE {partition_of} = {text(part)}) "  # noqa: S608
            f"TO {text(str(path))} (FORMAT parquet)"
        )
        files.append(RowFile(path, rows, path.stat().st_size, part))
    return files


def _partition_sql(to: Destination) -> str:
    if to.partitioning is None:
        return "''"
    if to.partitioning.field is None:
        now = datetime.datetime.now(datetime.UTC).strftime(to.partitioning.format)
        return text(to.partition or now)
    by = to.partitioning.field.lower()
    column = next((one for one in to.fields if one.name.lower() == by), None)
    if column is None:
        return text(NULL_PARTITION)
    date = f"strftime({quoted(column.name)}, {text(to.partitioning.format)})"
    return f"coalesce({date}, {text(NULL_PARTITION)})"


def publish(store: Store, to: Destination, files: Sequence[RowFile]) -> None:
    """Puts written rows into the table; call it within a transaction."""
    if to.resource is not None:
        store.put_table(to.table, to.resource)
    if to.write == "WRITE_TRUNCATE":
        store.remove_files(to.table, to.partition)
    store.add_files(to.table, files)
