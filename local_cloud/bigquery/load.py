"""Load jobs: files of the local bucket become rows of a table, all of them or none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import duckdb

from local_cloud.bigquery.destination import Config, Destination, plan, publish, write_rows
from local_cloud.bigquery.engine import session
from local_cloud.bigquery.readers import PROBLEM, own_schema, select
from local_cloud.bigquery.schema import quoted, text
from local_cloud.bigquery.sources import Source, fetch
from local_cloud.bigquery.store import Json, RowFile, Store
from local_cloud.errors import ServiceError

_FORMATS = ("CSV", "NEWLINE_DELIMITED_JSON", "PARQUET")
_REFUSED = {
    "schemaUpdateOptions": "schemaUpdateOptions",
    "maxBadRecords": "maxBadRecords",
    "hivePartitioningOptions": "hivePartitioningOptions",
    "decimalTargetTypes": "decimalTargetTypes",
    "destinationEncryptionConfiguration": "customer-managed encryption keys",
    "nullMarkers": "nullMarkers",
    "projectionFields": "projectionFields",
    "jsonExtension": "jsonExtension",
}
_SHOWN_ERRORS = 5


class BadRowsError(ServiceError):
    """Rows that cannot be loaded.

    Attributes:
        details: What is wrong with the first of them.
    """

    def __init__(self, message: str, details: Sequence[str]) -> None:
        super().__init__(400, message)
        self.details = details


def check(config: Config) -> None:
    """Refuses a load job that cannot be run, whatever the files hold.

    Raises:
        ServiceError: Says which setting it is.
    """
    if not config.get("sourceUris"):
        raise ServiceError(400, "Required parameter is missing: sourceUris")
    if not config.get("destinationTable"):
        raise ServiceError(400, "Required parameter is missing: destinationTable")
    kind = config.get("sourceFormat") or "CSV"
    if kind not in _FORMATS:
        known = ", ".join(_FORMATS)
        raise ServiceError(501, f"The local BigQuery loads {known}, not {kind}.")
    if (config.get("encoding") or "UTF-8") not in ("UTF-8", "UTF8"):
        raise ServiceError(501, "The local BigQuery reads UTF-8 only.")
    if kind == "CSV" and config.get("ignoreUnknownValues") and config.get("schema"):
        # Airflow's operator always sends it, false mostly.
        raise ServiceError(501, "The local BigQuery does not ignore extra columns of CSV files.")
    for key, what in _REFUSED.items():
        if config.get(key):
            raise ServiceError(501, f"The local BigQuery has no {what} for load jobs.")


def run(store: Store, job: Json, finish: Callable[[Json], None]) -> None:
    """Runs a load job.

    Args:
        store: Gets the rows.
        job: The job's resource.
        finish: Called with the job's statistics in the transaction that makes the rows visible;
            raises if the job was cancelled.

    Raises:
        ServiceError: Why the job fails; nothing was changed.
    """
    config = job["configuration"]["load"]
    check(config)
    project = job["jobReference"]["projectId"]
    with store.scratch() as folder, session() as connection:
        connection.execute(f"SET temp_directory = {text(str(folder))}")
        # The destination is looked at first: what is wrong with it needs no files.
        given = (config.get("schema") or {}).get("fields")
        if given is not None or config.get("sourceFormat") != "PARQUET":
            plan(store, config, project, _schema(store, config, project, given))
        sources = fetch(config["sourceUris"], folder)
        if given is None and config.get("sourceFormat") == "PARQUET":
            given = [field.to_json() for field in own_schema(sources[0])]
        while True:
            to = plan(store, config, project, given)
            files = _convert(store, connection, sources, config, to)
            with store.transaction():
                # The table may be another one by now: then it all begins again.
                now = plan(store, config, project, given)
                if now == to:
                    publish(store, now, files)
                    finish({"load": _statistics(sources, files)})
                    return


def _schema(
    store: Store, config: Config, project: str, given: Sequence[Mapping[str, Any]] | None
) -> Sequence[Mapping[str, Any]] | None:
    if given is not None or not config.get("autodetect"):
        return given
    try:
        plan(store, config, project, None)
    except ServiceError as error:
        if "No schema" not in error.message:
            raise
        raise ServiceError(
            501,
            "The local BigQuery does not detect the schema of CSV and JSON files (autodetect): "
            "give the job a schema, or create the table first.",
        ) from error
    return None


def _convert(
    store: Store,
    connection: duckdb.DuckDBPyConnection,
    sources: Sequence[Source],
    config: Config,
    to: Destination,
) -> list[RowFile]:
    columns = [f"{quoted(field.name)} {field.sql_type}" for field in to.fields]
    extra = [f"{quoted(PROBLEM)} VARCHAR", '"-row" BIGINT', '"-uri" VARCHAR']
    connection.execute(f"CREATE OR REPLACE TABLE loaded ({', '.join(columns + extra)})")
    for source in sources:
        rows = select(source, to.fields, config)
        origin = f"row_number() OVER (), {text(source.uri)}"
        try:
            connection.execute(f"INSERT INTO loaded SELECT *, {origin} FROM ({rows})")  # noqa: S608
        except duckdb.Error as error:
            reason = " ".join(str(error).split("Possible fixes")[0].split())
            reason = reason.replace(str(source.path), source.uri)
            raise ServiceError(
                400, f"Error while reading data, error message: {reason} File: {source.uri}"
            ) from error
    _check_rows(connection, config)
    return write_rows(store, connection, "loaded", to)


def _check_rows(connection: duckdb.DuckDBPyConnection, config: Config) -> None:
    sql = f"FROM loaded WHERE {quoted(PROBLEM)} IS NOT NULL"
    (bad,) = connection.sql(f"SELECT count(*) {sql}").fetchall()[0]
    if not bad:
        return
    (rows,) = connection.sql("SELECT count(*) FROM loaded").fetchall()[0]
    first = connection.sql(
        f'SELECT {quoted(PROBLEM)}, "-row", "-uri" {sql} LIMIT {_SHOWN_ERRORS}'
    ).fetchall()
    skipped = int(config.get("skipLeadingRows") or 0)
    details = [
        f"Error while reading data, error message: {problem} in row {row + skipped} File: {uri}"
        for problem, row, uri in first
    ]
    kind = {"NEWLINE_DELIMITED_JSON": "JSON"}.get(
        str(config.get("sourceFormat")), config.get("sourceFormat") or "CSV"
    )
    raise BadRowsError(
        f"Error while reading data, error message: {kind} processing encountered too many errors, "
        f"giving up. Rows: {rows}; errors: {bad}; max bad: 0; error percent: 0",
        details,
    )


def _statistics(sources: Sequence[Source], files: Sequence[RowFile]) -> Json:
    return {
        "inputFiles": str(len(sources)),
        "inputFileBytes": str(sum(source.path.stat().st_size for source in sources)),
        "outputRows": str(sum(file.rows for file in files)),
        "outputBytes": str(sum(file.size for file in files)),
        "badRecords": "0",
    }
