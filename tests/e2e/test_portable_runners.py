"""Our operator with the runners of Flink and Spark, against the job service that Beam has itself.

It stands in for their job servers, which are Java: the runners' own code submits the pipeline,
waits for it and hears of its end as with those, and Beam's Python runner computes it.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from airflow.sdk.exceptions import AirflowFailException

from demo.local_airflow import ROOT
from tallyflow.beam_job import BeamJobOperator
from tallyflow.job_failure import LauncherError
from tests.e2e.beam_task import Task


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a job service is."""
    folder = tmp_path_factory.mktemp("service")
    port = folder / "port"
    service = subprocess.Popen(
        [
            *(sys.executable, "-m", "apache_beam.runners.portability.local_job_service_main"),
            *(f"--port_file={port}", f"--staging_dir={folder}/staging"),
        ],
        stderr=subprocess.DEVNULL,
    )
    try:
        until = time.monotonic() + 60
        while not (port.exists() and port.read_text()):
            assert service.poll() is None
            assert time.monotonic() < until, "the job service has not started"
            time.sleep(0.1)
        yield f"localhost:{port.read_text()}"
    finally:
        service.kill()
        service.wait()


def operator(runner: str, **options: str | int) -> BeamJobOperator:
    return BeamJobOperator(
        task_id="task",
        runner=runner,
        py_interpreter=sys.executable,
        py_options=["-m"],
        py_file="beam_jobs.aggregate_files",
        # Its workers are threads of the launcher, which has beam_jobs.
        pipeline_options={"environment_type": "LOOPBACK", **options},
        deferrable=True,
    )


def test_flink_runner_computes_a_job_of_ours(
    endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for day in (1, 2):
        (tmp_path / f"{day}.csv").write_text(f"shop,price\na,{day}\nb,{10 * day}\n")
    task = operator(
        "FlinkRunner",
        job_endpoint=endpoint,
        input=f"{tmp_path}/*.csv",
        columns="price BIGINT",
        query="SELECT shop, sum(price) AS price FROM input GROUP BY shop ORDER BY shop",
        output=f"{tmp_path}/out/result.csv",
    )
    assert task.execute(Task("flink", tmp_path / "store").context()) is None
    assert (tmp_path / "out/result.csv").read_text() == "shop,price\na,3\nb,30\n"


def test_spark_runner_fails_the_task_with_the_workers_own_error(
    endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (tmp_path / "a.csv").write_text("price\nnone\n")
    task = operator(
        "SparkRunner",
        job_endpoint=endpoint,
        input=f"{tmp_path}/*.csv",
        columns="price BIGINT",
        query="SELECT sum(price) AS price FROM input",
        output=f"{tmp_path}/out/result.csv",
    )
    with pytest.raises(LauncherError, match="a.csv:2: column price: 'none' is no BIGINT"):
        task.execute(Task("spark", tmp_path / "store").context())


@pytest.mark.parametrize("runner", ["FlinkRunner", "SparkRunner"])
def test_without_a_job_server_nothing_is_started_and_nothing_downloaded(
    runner: str, tmp_path: Path
) -> None:
    task = operator(runner)
    with pytest.raises(AirflowFailException, match="job_endpoint=HOST:PORT.*_job_server_jar"):
        task.execute(Task("none", tmp_path / "store").context())
    assert task._process is None
