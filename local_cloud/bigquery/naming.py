"""Names of datasets, tables and partitions, and the errors of the real service about them."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from local_cloud.errors import ServiceError

_DATASET = re.compile(r"\w{1,1024}", re.ASCII)
_TABLE = re.compile(r"[\w\- ]{1,1024}")
# Of each kind of partitioning, how the partitions are named.
PARTITION_FORMATS = {"HOUR": "%Y%m%d%H", "DAY": "%Y%m%d", "MONTH": "%Y%m", "YEAR": "%Y"}
NULL_PARTITION = "__NULL__"
PARTITIONS_SUMMARY = "__PARTITIONS_SUMMARY__"


@dataclass(frozen=True)
class TableId:
    """A table's full name."""

    project: str
    dataset: str
    table: str

    def __str__(self) -> str:
        return f"{self.project}:{self.dataset}.{self.table}"

    def to_json(self) -> dict[str, str]:
        """The reference as the API has it."""
        return {"projectId": self.project, "datasetId": self.dataset, "tableId": self.table}


@dataclass(frozen=True)
class Partitioning:
    """How a table's rows are divided.

    Attributes:
        unit: ``HOUR``, ``DAY``, ``MONTH`` or ``YEAR``.
        field: The column whose value tells the partition; None for the time of the load.
    """

    unit: str
    field: str | None

    @property
    def format(self) -> str:
        """How its partitions are named, as for strftime."""
        return PARTITION_FORMATS[self.unit]


def parse_reference(found: Mapping[str, Any], project: str) -> tuple[TableId, str | None]:
    """A table reference of the API, and the partition that its decorator names."""
    table, _, decorator = str(found.get("tableId", "")).partition("$")
    name = TableId(found.get("projectId") or project, str(found.get("datasetId", "")), table)
    check_dataset(name.dataset)
    if not _TABLE.fullmatch(table):
        raise ServiceError(
            400,
            f'Invalid table ID "{table}". Table IDs must be alphanumeric (plus underscores, dashes '
            "and spaces) and must be at most 1024 characters long.",
        )
    return name, decorator or None


def check_dataset(dataset: str) -> None:
    """Refuses what is no name of a dataset.

    Raises:
        ServiceError: It is none.
    """
    if not _DATASET.fullmatch(dataset):
        raise ServiceError(
            400,
            f'Invalid dataset ID "{dataset}". Dataset IDs must be alphanumeric (plus underscores) '
            "and must be at most 1024 characters long.",
        )


def parse_partitioning(resource: Mapping[str, Any]) -> Partitioning | None:
    """How a table or a load job says that rows are to be divided.

    Raises:
        ServiceError: In a way that BigQuery, or the local one, does not have.
    """
    if resource.get("rangePartitioning"):
        raise ServiceError(501, "The local BigQuery does not partition by integer range; use time.")
    found = resource.get("timePartitioning")
    if not found:
        return None
    unit = str(found.get("type", "")).upper()
    if unit not in PARTITION_FORMATS:
        raise ServiceError(400, f"Invalid time partitioning type: {unit or 'none given'}")
    return Partitioning(unit, found.get("field"))


def partition_start(partition: str, partitioning: Partitioning) -> datetime.datetime:
    """When a partition begins.

    Raises:
        ServiceError: It is not the name of a partition of such a table.
    """
    try:
        start = datetime.datetime.strptime(f"{partition}+0000", f"{partitioning.format}%z")
    except ValueError:
        start = None
    if start is None or start.strftime(partitioning.format) != partition:
        raise ServiceError(
            400,
            f"Invalid time partition id {partition}: the table is partitioned by "
            f"{partitioning.unit}, and its partitions are named as {partitioning.format}",
        )
    return start


def unit_of(partition: str) -> str:
    """The partitioning that a partition's name speaks of."""
    return {10: "HOUR", 6: "MONTH", 4: "YEAR"}.get(len(partition), "DAY")


def not_found(kind: str, name: object) -> ServiceError:
    """The error for what does not exist: ``Not found: Table local-project:d.t``."""
    return ServiceError(404, f"Not found: {kind} {name}")


def already_exists(kind: str, name: object) -> ServiceError:
    """The error for what exists already."""
    return ServiceError(409, f"Already Exists: {kind} {name}", reason="duplicate")
