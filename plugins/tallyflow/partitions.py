"""Which partition a DAG run is about, and what its job and its labels are called."""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from beam_jobs.datasets.dataset_model import Dataset
from beam_jobs.datasets.partition import Grain, Partition

if TYPE_CHECKING:
    from airflow.sdk.types import DagRunProtocol

# https://cloud.google.com/dataflow/docs/guides/specifying-networks: as of any label of Google's.
_NOT_IN_LABELS = re.compile(r"[^a-z0-9_-]")
_LONGEST_LABEL = 63


def partition_of(dataset: Dataset, dag_run: DagRunProtocol, params: Mapping[str, Any]) -> Partition:
    """The partition that a run computes.

    The one that its form names; else that in which its data interval starts; else, of a run that
    was triggered by hand or by an asset and has no interval, the last that was complete when it
    could start. All by the clocks of the dataset's time zone.

    Raises:
        UsageError: The form names none.
    """
    if key := params.get("date"):
        return Partition.parse(key, dataset.grain)
    zone = zoneinfo.ZoneInfo(dataset.timezone)
    if dag_run.data_interval_start is not None:
        return Partition.holding(dag_run.data_interval_start.astimezone(zone), dataset.grain)
    return Partition.holding(dag_run.run_after.astimezone(zone), dataset.grain).previous


def partition_of_rollup(
    dataset: Dataset, grain: Grain, dag_run: DagRunProtocol, params: Mapping[str, Any]
) -> Partition:
    """The week or month that a run of a rollup computes.

    The one that its form names; else that whose days are published, which is in the run's partition
    key; else the last that was complete when it could start.

    Raises:
        UsageError: The form names none.
    """
    if key := params.get("date"):
        return Partition.parse(key, grain)
    if dag_run.partition_key:
        # Airflow's keys of weeks are like '2013-01-07 (W02)'.
        return Partition.parse(dag_run.partition_key.split(" ")[0], grain)
    local = dag_run.run_after.astimezone(zoneinfo.ZoneInfo(dataset.timezone))
    return Partition.holding(local, grain).previous


def label(text: str) -> str:
    """A text as the value of a label of Google Cloud's, which cannot have every character."""
    return _NOT_IN_LABELS.sub("-", text.lower())[:_LONGEST_LABEL]
