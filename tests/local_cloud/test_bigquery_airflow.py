"""Airflow's BigQuery operators, sensors and triggers on the local BigQuery, unpatched.

All of these go by google-cloud-bigquery, which finds the service by BIGQUERY_EMULATOR_HOST.
"""

from __future__ import annotations

import asyncio
import datetime
import json
from typing import Any
from unittest import mock

import aiohttp
import httplib2  # type: ignore[import-untyped]
import pyarrow as pa
import pytest
from airflow.providers.common.compat.sdk import AirflowException, TaskDeferred
from airflow.providers.google.cloud.hooks.bigquery import (
    BigQueryAsyncHook,
    BigQueryConnection,
    BigQueryHook,
)
from airflow.providers.google.cloud.operators.bigquery import (
    BigQueryCreateEmptyDatasetOperator,
    BigQueryCreateTableOperator,
    BigQueryDeleteDatasetOperator,
    BigQueryDeleteTableOperator,
    BigQueryGetDataOperator,
    BigQueryInsertJobOperator,
)
from airflow.providers.google.cloud.sensors.bigquery import (
    BigQueryTableExistenceSensor,
    BigQueryTablePartitionExistenceSensor,
)
from airflow.providers.google.cloud.transfers.gcs_to_bigquery import GCSToBigQueryOperator
from gcloud.aio.bigquery import Job, Table
from googleapiclient.discovery import build

from tests.local_cloud.bigquery_server import (
    PROJECT,
    Service,
    bucket,
    client,
    dataset,
    service,
    storage_service,
    upload,
)

__all__ = ["bucket", "client", "dataset", "service", "storage_service"]

DAY = datetime.date(2013, 1, 1)
FIELDS = [{"name": "day", "type": "DATE"}, {"name": "n", "type": "INTEGER", "mode": "REQUIRED"}]


@pytest.fixture(autouse=True)
def airflow(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection of Airflow's hooks, and the client's environment."""
    assert client
    extra = {"is_anonymous": True, "project": PROJECT}
    connection = {"conn_type": "google_cloud_platform", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", json.dumps(connection))


def context() -> Any:
    """As much of a task's context as these operators look at."""
    start = datetime.datetime(2013, 1, 2, tzinfo=datetime.UTC)
    dag_run = mock.MagicMock(run_after=start, start_date=start)
    return {"ti": mock.MagicMock(try_number=1), "params": {}, "dag_run": dag_run, "run_id": "r"}


def run(operator: Any) -> Any:
    """Executes an operator, deferred or not, as a worker and a triggerer would."""
    try:
        return operator.execute(context())
    except TaskDeferred as deferred:
        if hasattr(deferred.trigger, "poll_interval"):
            deferred.trigger.poll_interval = 0.05
        event = asyncio.run(anext(deferred.trigger.run()))
        return getattr(operator, deferred.method_name)(context(), event.payload)


def rows_to_load(count: int) -> pa.Table:
    return pa.table({"day": [DAY] * count, "n": list(range(count))})


def load_job(uri: str, dataset: str, **settings: Any) -> dict[str, Any]:
    to = {"projectId": PROJECT, "datasetId": dataset, "tableId": "t$20130101"}
    load = {"sourceUris": [uri], "destinationTable": to, "sourceFormat": "PARQUET"}
    partitioning = {"type": "DAY", "field": "day"}
    load |= {"schema": {"fields": FIELDS}, "timePartitioning": partitioning}
    return {"load": load | {"writeDisposition": "WRITE_TRUNCATE"} | settings}


def insert(
    uri: str, dataset: str, job_id: str = "load", **settings: Any
) -> BigQueryInsertJobOperator:
    return BigQueryInsertJobOperator(
        task_id="load",
        configuration=load_job(uri, dataset),
        job_id=f"{job_id}-{dataset}",
        project_id=PROJECT,
        poll_interval=0.05,
        **settings,
    )


@pytest.mark.parametrize("deferrable", [False, True])
def test_insert_job_loads_a_partition(
    bucket: Any, client: Any, dataset: str, deferrable: bool
) -> None:
    uri = upload(bucket, rows_to_load(3))
    job_id = run(insert(uri, dataset, deferrable=deferrable))
    assert client.get_job(job_id).output_rows == 3
    assert client.get_table(f"{dataset}.t$20130101").num_rows == 3


@pytest.mark.parametrize("deferrable", [False, True])
def test_insert_job_fails_with_the_jobs_error(bucket: Any, dataset: str, deferrable: bool) -> None:
    uri = upload(bucket, pa.table({"day": [DAY], "n": ["x"]}))
    with pytest.raises(Exception, match="does not match the target cpp_type INTEGER"):
        run(insert(uri, dataset, deferrable=deferrable))


def test_insert_job_attaches_to_a_running_job_of_its_id(
    bucket: Any, client: Any, dataset: str, storage_service: Service
) -> None:
    uri = upload(bucket, rows_to_load(1))
    settings: dict[str, Any] = {"force_rerun": False, "reattach_states": {"PENDING", "RUNNING"}}
    storage_service.fault(method="storage.objects.list", delay=1)  # so that it is still running
    with pytest.raises(TaskDeferred):
        insert(uri, dataset, deferrable=True, **settings).execute(context())
    attached = run(insert(uri, dataset, **settings))
    assert client.get_job(attached).output_rows == 1
    assert len([one for one in client.list_jobs() if dataset in one.job_id]) == 1
    with pytest.raises(AirflowException, match="already in state DONE|already exists"):
        run(insert(uri, dataset, **settings))


@pytest.mark.parametrize("deferrable", [False, True])
def test_gcs_to_bigquery_loads_files(
    bucket: Any, client: Any, dataset: str, deferrable: bool
) -> None:
    upload(bucket, b"day,n\n2013-01-01,1\n2013-01-01,2\n", f"{dataset}/a.csv")
    operator = GCSToBigQueryOperator(
        task_id="load",
        bucket=bucket.name,
        source_objects=[f"{dataset}/*.csv"],
        destination_project_dataset_table=f"{PROJECT}.{dataset}.t",
        schema_fields=FIELDS,
        skip_leading_rows=1,
        time_partitioning={"type": "DAY", "field": "day"},
        write_disposition="WRITE_TRUNCATE",
        max_id_key=None if deferrable else "n",
        deferrable=deferrable,
    )
    assert run(operator) == (None if deferrable else "2")
    assert client.get_table(f"{dataset}.t$20130101").num_rows == 2


def test_datasets_and_tables_are_created_read_and_deleted(
    bucket: Any, client: Any, dataset: str
) -> None:
    name = f"{dataset}_of_airflow"
    for _ in range(2):
        run(BigQueryCreateEmptyDatasetOperator(task_id="a", dataset_id=name, if_exists="ignore"))
    table: dict[str, Any] = {"dataset_id": name, "table_id": "t", "project_id": PROJECT}
    resource = {"schema": {"fields": FIELDS}}
    run(BigQueryCreateTableOperator(task_id="b", table_resource=resource, **table))
    run(insert(upload(bucket, rows_to_load(2)), dataset))
    source: dict[str, Any] = {"dataset_id": dataset, "table_id": "t", "use_legacy_sql": False}
    found = run(BigQueryGetDataOperator(task_id="c", table_project_id=PROJECT, **source))
    assert found == [("2013-01-01", "0"), ("2013-01-01", "1")]
    run(BigQueryDeleteTableOperator(task_id="d", deletion_dataset_table=f"{PROJECT}.{name}.t"))
    assert list(client.list_tables(name)) == []
    run(BigQueryDeleteDatasetOperator(task_id="e", dataset_id=name, delete_contents=True))
    assert name not in [one.dataset_id for one in client.list_datasets()]


def test_queries_run_and_table_sensors_poke(bucket: Any, dataset: str) -> None:
    run(insert(upload(bucket, rows_to_load(2)), dataset))
    sql = f"SELECT COUNT(*) AS n FROM `{PROJECT}.{dataset}.t`"
    query = {"query": {"query": sql, "useLegacySql": False}}
    job = BigQueryInsertJobOperator(task_id="q", configuration=query, project_id=PROJECT)
    rows = BigQueryHook(use_legacy_sql=False).get_query_results(job_id=run(job), location="US")
    assert rows == [{"n": 2}]
    table: dict[str, Any] = {"project_id": PROJECT, "dataset_id": dataset, "table_id": "t"}
    assert BigQueryTableExistenceSensor(task_id="s", **table).poke({})
    assert not BigQueryTableExistenceSensor(task_id="s", **table | {"table_id": "u"}).poke({})


def test_check_operators_cursor_reads_rows(service: Service, bucket: Any, dataset: str) -> None:
    # The hook builds this service itself, for www.googleapis.com: on the whole local cloud its
    # calls go through the gateway.
    run(insert(upload(bucket, rows_to_load(2)), dataset))
    options = {"api_endpoint": f"{service.url}/bigquery/v2/"}
    api = build("bigquery", "v2", http=httplib2.Http(), client_options=options)
    hook = BigQueryHook(use_legacy_sql=False, location="US")
    cursor = BigQueryConnection(
        service=api, project_id=PROJECT, use_legacy_sql=False, location="US", hook=hook
    ).cursor()
    cursor.execute(f"SELECT n, day FROM `{dataset}.t` ORDER BY n")
    assert [list(row) for row in cursor.fetchall()] == [[0, "2013-01-01"], [1, "2013-01-01"]]


def test_triggers_async_client_works(service: Service, bucket: Any, dataset: str) -> None:
    async def calls() -> None:
        async with aiohttp.ClientSession() as session:
            settings: dict[str, Any] = {"project": PROJECT, "session": session}
            settings |= {"api_root": f"{service.url}/bigquery/v2"}
            sql = (
                f"SELECT partition_id FROM `{PROJECT}.{dataset}.INFORMATION_SCHEMA.PARTITIONS`"
                " WHERE table_name='t'"
            )
            answer = await Job(**settings).query({"query": sql, "useLegacySql": False})
            job = Job(answer["jobReference"]["jobId"], **settings)
            records = BigQueryAsyncHook().get_records(await job.get_query_results())
            assert records == [["20130101"]]
            assert (await job.cancel())["job"]["status"]["state"] == "DONE"
            table = await Table(dataset, "t", **settings).get()
            assert table["numRows"] == "2"
            with pytest.raises(aiohttp.ClientResponseError, match="404"):
                await Table(dataset, "u", **settings).get()

    run(insert(upload(bucket, rows_to_load(2)), dataset))
    asyncio.run(calls())


def test_partition_sensor_sees_partitions(bucket: Any, dataset: str) -> None:
    run(insert(upload(bucket, rows_to_load(1)), dataset))
    table: dict[str, Any] = {"project_id": PROJECT, "dataset_id": dataset, "table_id": "t"}
    for partition, is_there in (("20130101", True), ("20130102", False)):
        sensor = BigQueryTablePartitionExistenceSensor(task_id="s", partition_id=partition, **table)
        assert sensor.poke({}) is is_there
