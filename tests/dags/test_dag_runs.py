from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from beam_jobs.datasets.partition import Partition
from beam_jobs.publishing.partition_folder import PartitionFolder, read_manifest
from demo.lay_out_flights import days
from demo.local_airflow import airflow_environment

Airflow = Callable[..., str]


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A storage root with the flights of 1 January 2013."""
    root = tmp_path_factory.mktemp("storage")
    day, content = next(days())
    file = root / "flights" / f"date={day}" / "flights.csv"
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    return root


@pytest.fixture(scope="module")
def airflow(storage: Path, tmp_path_factory: pytest.TempPathFactory) -> Airflow:
    """Airflow's command line, with a database of its own."""
    home = tmp_path_factory.mktemp("airflow")

    def run(*arguments: str) -> str:
        result = subprocess.run(
            [sys.executable, "-m", "airflow", *arguments],
            env=airflow_environment(home, str(storage)),
            cwd=home,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stdout
        return result.stdout

    run("db", "migrate")
    return run


def test_the_daily_dag_writes_each_aggregate_of_its_partition(
    airflow: Airflow, storage: Path
) -> None:
    # Run by hand on the second, its data interval is the last complete day: the first.
    airflow("dags", "test", "flights_daily", "2013-01-02")

    folder = PartitionFolder(str(storage), "flights", Partition.parse("2013-01-01", "day"))
    found = read_manifest(folder)
    assert found is not None
    aggregates = found.manifest.version.aggregates
    assert set(aggregates) >= {"by_origin", "by_carrier"}
    result = f"{folder.path}/{aggregates['by_origin'].result}"
    counted = duckdb.execute(
        f"SELECT origin, flights, cancelled FROM '{result}' ORDER BY origin"
    ).fetchall()
    file = storage / "flights" / "date=2013-01-01" / "flights.csv"
    expected = duckdb.execute(
        "SELECT origin, count(*), count(*) FILTER (dep_time IS NULL)"
        f" FROM read_csv('{file}', nullstr='NA') GROUP BY origin ORDER BY origin"
    ).fetchall()
    assert counted == expected
