"""What the tasks of a dataset's DAG do, called as Airflow calls them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from beam_jobs.datasets.dataset_model import Dataset
from beam_jobs.publishing.partition_folder import read_manifest
from beam_jobs.publishing.partition_store import begin, publish
from tallyflow import bigquery, partition_tasks
from tests.unit.runs_to_publish import DAY, finished_run, folder_in, runs_there

DATASET = """
description: Flights
owner: tests
start_date: 2013-01-01
pattern: "in/{date}.csv"
aggregates: {total: SELECT count(*) AS n FROM input}
"""


class Events(dict[Any, Any]):
    """Airflow's outlet events, of which nothing is kept."""

    def __missing__(self, _: Any) -> Any:
        return self

    def add_partitions(self, _: Any) -> None:
        """Nobody waits for them."""


def declared(folder: Path, fields: str = "") -> Path:
    path = folder / "flights.yaml"
    path.write_text(DATASET + fields)
    return path


def test_clean_up_deletes_what_killed_attempts_left(tmp_path: Path) -> None:
    folder = folder_in(tmp_path)
    for number in (1, 2, 3, 4):
        begin(folder, f"scheduled.{number}")
    begin(folder, "other.1")
    path = declared(tmp_path)
    partition_tasks.discard_run(path, str(tmp_path), DAY.key, "None")
    assert len(runs_there(folder)) == 5
    partition_tasks.discard_run(path, str(tmp_path), DAY.key, "scheduled.3")
    assert runs_there(folder) == {"scheduled.4", "other.1"}


def test_bigquery_gets_what_readers_see_though_an_older_run_is_cleared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load_jobs(_: Dataset, *arguments: Any) -> list[Mapping[str, str]]:
        return [{"run": arguments[1].run_id}]

    monkeypatch.setattr(bigquery, "load_jobs", load_jobs)
    folder = folder_in(tmp_path)
    for run_id in ("old.1", "new.1"):
        publish(folder, run_id, 3, finished_run(folder, run_id))
    loads = partition_tasks.publish_partition(
        declared(tmp_path, "bigquery: {dataset: d}\n"),
        *(str(tmp_path), DAY.key, "old.1", None),
        outlet_events=Events(),
    )
    found = read_manifest(folder)
    assert found is not None
    assert found.manifest.version.run_id == "new.1"
    assert loads == [{"run": "new.1"}]
