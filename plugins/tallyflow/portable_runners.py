"""Flink and Spark run pipelines by a job server, which Beam would download: here it is not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow.sdk.exceptions import AirflowFailException

_JARS = {"flinkrunner": "flink_job_server_jar", "sparkrunner": "spark_job_server_jar"}


def require_job_server(runner: str, options: Mapping[str, Any]) -> None:
    """Refuses a pipeline for Flink or Spark that does not say which job server it has.

    A download would be of any size, from a host that a worker of Airflow has no business with, and
    fail after minutes where there is no way there.

    Args:
        runner: Of Beam.
        options: Of the pipeline.

    Raises:
        AirflowFailException: There is no job server; names the options that say which.
    """
    jar = _JARS.get(runner.lower())
    if jar is None or options.get("job_endpoint") or options.get(jar):
        return
    raise AirflowFailException(
        f"runner={runner}: no job server; give the pipeline option job_endpoint=HOST:PORT of one "
        f"that runs, or {jar}=PATH, the jar of one to start. Without, Beam would download a jar"
    )
