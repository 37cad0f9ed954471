"""The load jobs that put a partition's published results into BigQuery."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException

from beam_jobs.datasets.dataset_parts import BigQueryLoad

if TYPE_CHECKING:
    from beam_jobs.datasets.dataset_model import Dataset
    from beam_jobs.publishing.manifest import Version
    from beam_jobs.publishing.partition_folder import PartitionFolder

# https://cloud.google.com/bigquery/docs/loading-data-cloud-storage-parquet#parquet_conversions:
# the types of DuckDB whose Parquet BigQuery loads without changing a value.
_TYPES = {
    "BOOLEAN": "BOOLEAN",
    "TINYINT": "INTEGER",
    "SMALLINT": "INTEGER",
    "INTEGER": "INTEGER",
    "BIGINT": "INTEGER",
    "UTINYINT": "INTEGER",
    "USMALLINT": "INTEGER",
    "UINTEGER": "INTEGER",
    "FLOAT": "FLOAT",
    "DOUBLE": "FLOAT",
    "VARCHAR": "STRING",
    "BLOB": "BYTES",
    "DATE": "DATE",
    "TIMESTAMP WITH TIME ZONE": "TIMESTAMP",
}
_DECIMAL = re.compile(r"DECIMAL\((\d+),(\d+)\)")
# Of a NUMERIC: digits before and after the point.
_NUMERIC = (29, 9)


def load_jobs(
    dataset: Dataset,
    folder: PartitionFolder,
    version: Version,
    load: BigQueryLoad,
    project: str | None,
) -> list[dict[str, Any]]:
    """The configuration of a load job for each aggregate of a dataset that is to be loaded.

    Each replaces the partition of its table, so that a second load changes nothing.

    Args:
        dataset: The dataset.
        folder: Of the partition.
        version: What is published of it.
        load: What the dataset says about BigQuery.
        project: Of the tables, where the dataset does not name another.

    Raises:
        AirflowFailException: The results are not in Cloud Storage, no project is known, or a column
            has a type that BigQuery would change.
    """
    from beam_jobs.engine.run_report import RunReport  # noqa: PLC0415
    from beam_jobs.filesystems import join_path  # noqa: PLC0415
    from beam_jobs.publishing.stored_documents import read_document  # noqa: PLC0415

    if not folder.storage.startswith("gs://"):
        raise AirflowFailException(
            f"BigQuery loads from Cloud Storage only, and the results are in {folder.storage}: set "
            "TALLYFLOW_STORAGE to a gs:// URL, or delete `bigquery` in the dataset's file"
        )
    if not (load.project or project):
        raise AirflowFailException(
            "BigQuery's project is not known: set TALLYFLOW_PROJECT, or `project` below `bigquery` "
            "in the dataset's file"
        )
    report = read_document(RunReport, folder.path, version.report)
    columns = {one.name: one.columns for one in report.aggregates}
    return [
        {
            "load": {
                "sourceUris": [join_path(folder.path, version.aggregates[name].result)],
                "sourceFormat": "PARQUET",
                "destinationTable": {
                    "projectId": load.project or project,
                    "datasetId": load.dataset,
                    "tableId": f"{dataset.name}_{name}${_decorator(folder)}",
                },
                "schema": {"fields": _fields(name, columns[name])},
                "timePartitioning": {"type": dataset.grain.upper()},
                "writeDisposition": "WRITE_TRUNCATE",
            }
        }
        for name in load.aggregates or dataset.aggregates
    ]


def _decorator(folder: PartitionFolder) -> str:
    return re.sub("[-T]", "", folder.partition.key)


def _fields(aggregate: str, columns: Mapping[str, str]) -> list[dict[str, str]]:
    return [
        {"name": name, "type": _type(aggregate, name, kind), "mode": "NULLABLE"}
        for name, kind in columns.items()
    ]


def _type(aggregate: str, column: str, kind: str) -> str:
    if found := _TYPES.get(kind):
        return found
    if decimal := _DECIMAL.fullmatch(kind):
        precision, scale = map(int, decimal.groups())
        fits = precision - scale <= _NUMERIC[0] and scale <= _NUMERIC[1]
        return "NUMERIC" if fits else "BIGNUMERIC"
    raise AirflowFailException(
        f"aggregate {aggregate}: BigQuery would change values of {column}, of type {kind}: cast it "
        f"in the query, to one of {', '.join(_TYPES)}, or a DECIMAL"
    )
