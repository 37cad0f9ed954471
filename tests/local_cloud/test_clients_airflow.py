"""Airflow's hooks, sensors, triggers and operators, unchanged."""

from __future__ import annotations

from pathlib import Path

from tests.local_cloud.clients import RunClient

_STORAGE = """
import asyncio, sys
from airflow.providers.google.cloud.hooks.gcs import GCSAsyncHook, GCSHook
from airflow.providers.google.cloud.sensors.gcs import (
    GCSObjectExistenceSensor, GCSObjectsWithPrefixExistenceSensor,
)
from airflow.providers.google.cloud.triggers.gcs import GCSBlobTrigger

bucket = sys.argv[1]
hook = GCSHook()
hook.upload(bucket, "day=1/a.csv", data="1,2")
said["project"] = hook.project_id
said["text"] = hook.download(bucket, "day=1/a.csv").decode()
said["list"] = hook.list(bucket, prefix="day=1/")
sensor = GCSObjectExistenceSensor(task_id="a", bucket=bucket, object="day=1/a.csv")
said["sensor"] = sensor.poke({})
said["sensor_not_yet"] = GCSObjectExistenceSensor(
    task_id="b", bucket=bucket, object="day=2/a.csv").poke({})
said["prefix"] = GCSObjectsWithPrefixExistenceSensor(
    task_id="c", bucket=bucket, prefix="day=1/").poke({})

async def wait():
    trigger = GCSBlobTrigger(
        bucket=bucket, object_name="day=1/a.csv", poke_interval=0.1, use_glob=False,
        google_cloud_conn_id="google_cloud_default", hook_params={},
    )
    async for event in trigger.run():
        return event.payload

said["trigger"] = asyncio.run(wait())
"""

_BIGQUERY = """
import sys
from airflow.providers.google.cloud.hooks.bigquery import BigQueryHook
from airflow.providers.google.cloud.hooks.gcs import GCSHook

bucket = sys.argv[1]
GCSHook().upload(bucket, "rows.json", data='{"day": "2013-01-01", "n": 3}\\n')
hook = BigQueryHook(use_legacy_sql=False, location="US")
hook.create_empty_dataset(dataset_id="airflow", exists_ok=True)
said["datasets"] = [one.dataset_id for one in hook.get_datasets_list()]
job = hook.insert_job(configuration={"load": {
    "sourceUris": [f"gs://{bucket}/rows.json"],
    "sourceFormat": "NEWLINE_DELIMITED_JSON",
    "destinationTable": {
        "projectId": "local-project", "datasetId": "airflow", "tableId": bucket.replace("-", "_")},
    "schema": {"fields": [{"name": "day", "type": "DATE"}, {"name": "n", "type": "INT64"}]},
    "writeDisposition": "WRITE_TRUNCATE",
}}, project_id="local-project", location="US")
said["state"] = job.state
table = f"airflow.{bucket.replace('-', '_')}"
said["rows"] = [list(map(str, row)) for row in hook.get_records(f"SELECT day, n FROM {table}")]
"""


def test_hooks_sensors_and_triggers_of_storage(
    run_client: RunClient, local_bucket: str, tmp_path: Path
) -> None:
    assert run_client(_STORAGE, local_bucket, AIRFLOW_HOME=str(tmp_path)) == {
        "project": "local-project",
        "text": "1,2",
        "list": ["day=1/a.csv"],
        "sensor": True,
        "sensor_not_yet": False,
        "prefix": True,
        "trigger": {"message": "success", "status": "success"},
    }


def test_hook_of_bigquery(run_client: RunClient, local_bucket: str, tmp_path: Path) -> None:
    said = run_client(_BIGQUERY, local_bucket, AIRFLOW_HOME=str(tmp_path))
    assert "airflow" in said["datasets"]
    assert said["state"] == "DONE"
    assert said["rows"] == [["2013-01-01", "3"]]
