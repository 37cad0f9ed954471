"""Clients of Dataflow, unchanged: a job that Beam submits, as Airflow and gcloud see it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from local_cloud import LocalCloud
from local_cloud.loopback import make_bucket
from tests.local_cloud.clients import RunClient

_BUCKET = "dataflow-clients"
_IMAGE = "tests/python:local"
# Says nothing of where it runs: no endpoint, no --no_auth.
_PIPELINE = f"""
import logging, sys
import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

logging.basicConfig(level=logging.INFO)
with beam.Pipeline(options=PipelineOptions(sys.argv[1:])) as pipeline:
    (pipeline
     | beam.Create(["a", "b", "a"])
     | "Count words" >> beam.combiners.Count.PerElement()
     | beam.MapTuple(lambda word, count: f"{{word}} {{count}}")
     | beam.io.WriteToText("gs://{_BUCKET}/out/counts", shard_name_template=""))
"""
_HOOKS = """
import asyncio, sys
from airflow.providers.google.cloud.hooks.dataflow import AsyncDataflowHook, DataflowHook
from airflow.providers.google.cloud.sensors.dataflow import (
    DataflowJobMetricsSensor, DataflowJobStatusSensor,
)
from airflow.providers.google.cloud.triggers.dataflow import DataflowJobStatusTrigger

job_id, name = sys.argv[1:]
place = {"project_id": "local-project", "location": "us-central1"}
hook = DataflowHook()
said["state"] = hook.get_job(job_id=job_id, **place)["currentState"]
said["running"] = hook.is_job_dataflow_running(name=name, **place)
said["messages"] = len(hook.fetch_job_messages_by_id(job_id=job_id, **place)) > 0
sensed = {"task_id": "x", "job_id": job_id, **place}
said["sensor"] = DataflowJobStatusSensor(expected_statuses="JOB_STATE_DONE", **sensed).poke({})
said["metrics"] = bool(DataflowJobMetricsSensor(
    callback=lambda found: len(found) > 0, fail_on_terminal_state=False, **sensed).poke({}))

async def look():
    said["async_state"] = (await AsyncDataflowHook().get_job_status(job_id=job_id, **place)).name
    trigger = DataflowJobStatusTrigger(
        job_id=job_id, expected_statuses={"JOB_STATE_DONE"}, poll_sleep=0, impersonation_chain=None,
        gcp_conn_id="google_cloud_default", **place)
    async for event in trigger.run():
        return event.payload["status"]

said["trigger"] = asyncio.run(look())
"""


@dataclass(frozen=True)
class _Job:
    id: str
    log: str


@pytest.fixture(scope="module")
def job(local_cloud: LocalCloud, tmp_path_factory: pytest.TempPathFactory) -> _Job:
    """A job that was submitted with Beam's own runner, and is done."""
    make_bucket(local_cloud.settings, _BUCKET)
    # In place of the environment that is made for Beam's own image, which takes a while.
    local_cloud.add_image(_IMAGE, python=sys.executable)
    path = tmp_path_factory.mktemp("pipeline") / "pipeline.py"
    path.write_text(_PIPELINE)
    done = subprocess.run(
        [sys.executable, path, "--runner=DataflowRunner", "--project=local-project",
         "--region=us-central1", f"--temp_location=gs://{_BUCKET}/temp", "--job_name=count-words",
         f"--sdk_container_image={_IMAGE}"],
        env={**os.environ, **local_cloud.environment}, cwd=path.parent,
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-6000:]
    job_id = done.stderr.split("Created job with id: [", 1)[1].split("]", 1)[0]
    return _Job(job_id, done.stderr)


def test_a_job_of_beams_runner_is_done_and_its_result_is_there(
    job: _Job, run_client: RunClient
) -> None:
    assert f"Job {job.id} is in state JOB_STATE_DONE" in job.log
    said = run_client(
        "from google.cloud import storage\n"
        f"blob = storage.Client().bucket('{_BUCKET}').blob('out/counts')\n"
        "said['lines'] = sorted(blob.download_as_text().split('\\n'))"
    )
    assert said["lines"] == ["", "a 2", "b 1"]


def test_hooks_sensors_and_triggers_of_airflow(
    job: _Job, run_client: RunClient, tmp_path: Path
) -> None:
    assert run_client(_HOOKS, job.id, "count-words", AIRFLOW_HOME=str(tmp_path)) == {
        "state": "JOB_STATE_DONE",
        "running": False,
        "messages": True,
        "sensor": True,
        "metrics": True,
        "async_state": "JOB_STATE_DONE",
        "trigger": "success",
    }


@pytest.mark.skipif(not shutil.which("gcloud"), reason="the gcloud command is not installed")
def test_gcloud_dataflow(local_cloud: LocalCloud, job: _Job) -> None:
    script = f"""
        gcloud dataflow jobs list --region us-central1 --format 'value(id, name, state)'
        gcloud dataflow jobs describe {job.id} --region us-central1 --format 'value(currentState)'
        gcloud dataflow jobs cancel {job.id} --region us-central1
    """
    done = subprocess.run(
        ["/bin/bash", "-c", script], check=False, capture_output=True, text=True,
        env={"PATH": "/usr/bin:/bin", **local_cloud.environment},
    )  # fmt: skip
    assert f"{job.id}\tcount-words\tDone\n" in done.stdout, done.stderr
    assert "\nJOB_STATE_DONE\n" in done.stdout
    # What is over cannot be cancelled, and gcloud says so.
    assert f"Failed to cancel job [{job.id}]" in done.stderr
