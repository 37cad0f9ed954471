"""Load jobs of the local BigQuery, by google-cloud-bigquery."""

from __future__ import annotations

import datetime
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pytest
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from tests.local_cloud.bigquery_server import (
    PROJECT,
    Service,
    bucket,
    client,
    dataset,
    finished,
    load_config,
    schema,
    service,
    storage_service,
    upload,
)

__all__ = ["bucket", "client", "dataset", "service", "storage_service"]

DAY = datetime.date(2013, 1, 1)


def create_daily(client: Any, dataset: str, *, field: str | None = "day") -> str:
    table = bigquery.Table(f"{PROJECT}.{dataset}.flights", schema("day DATE", "n INTEGER"))
    table.time_partitioning = bigquery.TimePartitioning(field=field)
    client.create_table(table)
    return f"{dataset}.flights"


def day_rows(n: int, count: int = 1, day: datetime.date = DAY) -> pa.Table:
    return pa.table({"day": [day] * count, "n": [n] * count})


def values(client: Any, table: str, column: str = "n") -> list[Any]:
    return [row[column] for row in client.list_rows(client.get_table(table))]


def load(client: Any, uri: str | list[str], table: str, **settings: Any) -> Any:
    destination = bigquery.TableReference.from_string(f"{PROJECT}.{table}")
    job = client.load_table_from_uri(uri, destination, job_config=load_config(**settings))
    return finished(job).result()


def test_parquet_makes_a_table_with_its_own_schema(client: Any, bucket: Any, dataset: str) -> None:
    moment = datetime.datetime(2013, 1, 1, 5, 15, 0, 123456, tzinfo=datetime.UTC)
    row = {
        "i": -(2**63), "f": 0.1, "s": "ñ", "b": b"\x00\xff", "t": moment, "d": DAY, "o": True,
        "c": datetime.time(1, 2, 3, 4), "n": Decimal("1.500000001"),
        "w": moment.replace(tzinfo=None), "r": {"x": 1},
    }  # fmt: skip
    source = pa.Table.from_pylist([row, dict.fromkeys(row)])
    job = load(client, upload(bucket, source), f"{dataset}.t")
    first, second = client.list_rows(client.get_table(f"{dataset}.t"))
    assert dict(first) == row
    assert set(second.values()) == {None}
    assert (job.output_rows, job.input_files, job.state) == (2, 1, "DONE")
    rows = client.list_rows(client.get_table(f"{dataset}.t"))
    # Without this the client asks the BigQuery Storage API, and does not come back to REST.
    arrow = rows.to_arrow(create_bqstorage_client=False)
    assert arrow.column("i").to_pylist() == [-(2**63), None]


@pytest.mark.parametrize("field", ["day", None])
def test_truncate_replaces_one_partition_only(
    client: Any, bucket: Any, dataset: str, field: str | None
) -> None:
    table = create_daily(client, dataset, field=field)
    for n, day in ((1, DAY), (2, DAY + datetime.timedelta(1)), (3, DAY)):
        uri = upload(bucket, day_rows(n, n, day))
        load(client, uri, f"{table}${day:%Y%m%d}", write_disposition="WRITE_TRUNCATE")
    assert sorted(values(client, table)) == [2, 2, 3, 3, 3]
    assert values(client, f"{table}$20130101") == [3, 3, 3]
    assert client.list_partitions(f"{PROJECT}.{table}") == ["20130101", "20130102"]


def test_append_adds_and_empty_refuses(client: Any, bucket: Any, dataset: str) -> None:
    table = create_daily(client, dataset)
    uri = upload(bucket, day_rows(1))
    load(client, uri, f"{table}$20130101", write_disposition="WRITE_EMPTY")
    load(client, uri, f"{table}$20130101", write_disposition="WRITE_APPEND")
    with pytest.raises(exceptions.Conflict, match="Already Exists: Table"):
        load(client, uri, f"{table}$20130101", write_disposition="WRITE_EMPTY")
    assert values(client, table) == [1, 1]


def test_rows_without_decorator_go_to_the_partition_of_their_column(
    client: Any, bucket: Any, dataset: str
) -> None:
    table = create_daily(client, dataset)
    rows = pa.table({"day": [DAY, datetime.date(2013, 2, 3), None], "n": [1, 2, 3]})
    load(client, upload(bucket, rows), table)
    assert values(client, f"{table}$20130203") == [2]
    assert client.list_partitions(table) == ["20130101", "20130203", "__NULL__"]


def test_hours_are_partitions_too(client: Any, bucket: Any, dataset: str) -> None:
    moment = datetime.datetime(2013, 1, 1, 5, tzinfo=datetime.UTC)
    uri = upload(bucket, pa.table({"t": [moment], "n": [1]}))
    hourly = bigquery.TimePartitioning(type_="HOUR", field="t")
    load(client, uri, f"{dataset}.t$2013010105", time_partitioning=hourly)
    assert values(client, f"{dataset}.t$2013010105") == [1]
    with pytest.raises(exceptions.BadRequest, match="Some rows belong to different partitions"):
        load(client, uri, f"{dataset}.t$2013010106")


def test_a_wildcard_matches_also_over_slashes(client: Any, bucket: Any, dataset: str) -> None:
    folder = uuid4().hex
    for n in range(3):
        upload(bucket, pa.table({"n": [n]}), f"{folder}/{n}/part.parquet")
    upload(bucket, b"no parquet", f"{folder}/0/_SUCCESS")
    job = load(client, f"gs://{bucket.name}/{folder}/*.parquet", f"{dataset}.t")
    assert job.input_files == 3
    assert values(client, f"{dataset}.t") == [0, 1, 2]
    with pytest.raises(exceptions.NotFound, match="Not found: URI gs://"):
        load(client, f"gs://{bucket.name}/{folder}/*.csv", f"{dataset}.t")


CSV = {"source_format": "CSV", "skip_leading_rows": 1}
JSON = {"source_format": "NEWLINE_DELIMITED_JSON"}


def test_csv_values_become_the_schemas_types(client: Any, bucket: Any, dataset: str) -> None:
    data = (
        b'i,s,f,b,t,d,n\n 7,"a,\n""b""",1e3,yes,2013-01-01 05:15:00 UTC,2013-01-01,1.25\n,"",,,,,\n'
    )
    fields = schema(
        "i INT64", "s STRING", "f FLOAT64", "b BOOL", "t TIMESTAMP", "d DATE", "n NUMERIC"
    )
    load(client, upload(bucket, data), f"{dataset}.t", schema=fields, **CSV)
    moment = datetime.datetime(2013, 1, 1, 5, 15, tzinfo=datetime.UTC)
    first, second = client.list_rows(client.get_table(f"{dataset}.t"))
    assert first.values() == (7, 'a,\n"b"', 1000.0, True, moment, DAY, Decimal("1.25"))
    assert second.values() == (None, "", None, None, None, None, None)


def test_json_values_may_be_nested(client: Any, bucket: Any, dataset: str) -> None:
    data = b'{"r": {"x": 1, "l": [{"s": "a"}, {"s": null}]}, "t": 1357017300.5}\n{"r": null}\n'
    fields = [
        bigquery.SchemaField("r", "RECORD", fields=[
            bigquery.SchemaField("x", "INTEGER"),
            bigquery.SchemaField("l", "RECORD", "REPEATED", fields=schema("s STRING")),
        ]),
        bigquery.SchemaField("t", "TIMESTAMP"),
    ]  # fmt: skip
    load(client, upload(bucket, data), f"{dataset}.t", schema=fields, **JSON)
    first, second = client.list_rows(client.get_table(f"{dataset}.t"))
    assert first["r"] == {"x": 1, "l": [{"s": "a"}, {"s": None}]}
    assert first["t"] == datetime.datetime(2013, 1, 1, 5, 15, 0, 500000, tzinfo=datetime.UTC)
    assert second["r"] is None


@pytest.mark.parametrize(
    ("data", "field", "settings", "message"),
    [
        (b"n\n1\n1.5\n", "n INTEGER", CSV, "Could not parse '1.5' as INT64 for field n .*row 3"),
        (b"n\n9223372036854775808\n", "n INTEGER", CSV, "Could not parse '9223372036854775808'"),
        (b"n\n\n", "n INTEGER REQUIRED", CSV | {"skip_leading_rows": 0}, "Could not parse 'n'"),
        (b'n,m\n"",1\n,1\n', "n STRING REQUIRED;m INTEGER", CSV, "Required column value .*x: 0"),
        (b"n\nmaybe\n", "n BOOLEAN", CSV, "Could not parse 'maybe' as bool"),
        (b"n\n2013-02-30\n", "n DATE", CSV, "Could not parse '2013-02-30' as DATE"),
        (b"n\n1.1.2013\n", "n TIMESTAMP", CSV, "Could not parse '1.1.2013' as TIMESTAMP"),
        (b"n\n1,2\n", "n INTEGER", CSV, "Expected Number of Columns: 1 Found: 2"),
        (b"n,m\n1\n", "n INTEGER;m INTEGER", CSV, "Expected Number of Columns: 2 Found: 1"),
        (b'{"n": 1.5}', "n INTEGER", JSON, "Could not convert value to integer. Field: n"),
        (b'{"n": null}', "n INTEGER REQUIRED", JSON, "Missing required field: n"),
        (b'{"n": 1, "m": 2}', "n INTEGER", JSON, "No such field: m"),
        (b'{"n": [1]}', "n INTEGER", JSON, "Array specified for non-repeated field: n"),
        (b'{"n": {"x": 1}}', "n STRING", JSON, "JSON object specified for non-record field: n"),
        (b'{"n": 1}', "n INTEGER REPEATED", JSON, "Nonarray value .* repeated field n"),
        (b'{"n": [1, null]}', "n INTEGER REPEATED", JSON, "Only optional fields can be set"),
        (b"{bad", "n INTEGER", JSON, "Malformed JSON in file"),
        (b"no parquet", "n INTEGER", {}, "is not a valid Parquet file"),
        (pa.table({"n": ["1"]}), "n INTEGER", {}, "STRING. which does not match"),
        (pa.table({"n": [1]}), "n FLOAT", {}, "type INT64 which does not match"),
        (pa.table({"n": [1, None]}), "n INTEGER REQUIRED", {}, "Only optional fields can be set"),
        (pa.table({"m": [1]}), "n INTEGER", {}, "column 'm' is not in the schema"),
        (pa.table({"n": pa.array([2**64 - 1], pa.uint64())}), "n INTEGER", {}, "out of range"),
    ],
)  # fmt: skip
def test_wrong_values_fail_the_job_and_change_nothing(
    client: Any,
    bucket: Any,
    dataset: str,
    *,
    data: bytes | pa.Table,
    field: str,
    settings: dict[str, Any],
    message: str,
) -> None:
    table = bigquery.Table(f"{PROJECT}.{dataset}.t", schema(*field.split(";")))
    client.create_table(table)
    uris = [upload(bucket, data)]
    truncate = {"write_disposition": "WRITE_TRUNCATE", "schema": table.schema}
    with pytest.raises(exceptions.BadRequest):
        load(client, uris, f"{dataset}.t", **settings, **truncate)
    job = next(iter(client.list_jobs(max_results=1)))
    assert job.error_result["reason"] == "invalid"
    assert re.search(message, " ".join(error["message"] for error in job.errors))
    assert client.get_table(f"{dataset}.t").num_rows == 0


def test_rows_of_another_partition_fail_the_job(client: Any, bucket: Any, dataset: str) -> None:
    table = create_daily(client, dataset)
    load(client, upload(bucket, day_rows(1)), f"{table}$20130101")
    uri = upload(bucket, day_rows(2, day=datetime.date(2013, 1, 2)))
    with pytest.raises(exceptions.BadRequest, match="rather than destination partition 20130101"):
        load(client, uri, f"{table}$20130101", write_disposition="WRITE_TRUNCATE")
    assert values(client, table) == [1]


def test_another_schema_than_the_tables_fails_the_job(
    client: Any, bucket: Any, dataset: str
) -> None:
    table = create_daily(client, dataset)
    uri = upload(bucket, pa.table({"day": [DAY], "n": ["1"]}))
    with pytest.raises(
        exceptions.BadRequest, match="Field n has changed type from INTEGER to STRING"
    ):
        load(client, uri, f"{table}$20130101", schema=schema("day DATE", "n STRING"))
    with pytest.raises(exceptions.BadRequest, match="Cannot add fields"):
        load(client, uri, table, schema=schema("day DATE", "m STRING"))
    load(client, upload(bucket, pa.table({"x": [1]})), f"{dataset}.u")
    load(client, uri, f"{dataset}.u", write_disposition="WRITE_TRUNCATE")
    assert values(client, f"{dataset}.u") == ["1"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"source_format": "ORC"}, "loads CSV, NEWLINE_DELIMITED_JSON, PARQUET, not ORC"),
        ({"source_format": "CSV", "autodetect": True}, "does not detect the schema"),
        ({"max_bad_records": 3}, "maxBadRecords"),
        ({"schema_update_options": ["ALLOW_FIELD_ADDITION"]}, "schemaUpdateOptions"),
        ({"schema": [bigquery.SchemaField("j", "JSON")]}, "no columns of type JSON"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(
    client: Any, bucket: Any, dataset: str, settings: dict[str, Any], message: str
) -> None:
    uri = upload(bucket, day_rows(1))
    with pytest.raises(exceptions.GoogleAPICallError, match=message):
        load(client, uri, f"{dataset}.t", **settings)


def test_a_job_id_is_used_once(client: Any, bucket: Any, dataset: str) -> None:
    table = create_daily(client, dataset)

    def start(uri: str) -> Any:
        to = bigquery.TableReference.from_string(f"{PROJECT}.{table}$20130101")
        return client.load_table_from_uri(uri, to, job_id=job_id, job_config=load_config())

    job_id = f"load-{dataset}-20130101"
    finished(start(upload(bucket, day_rows(1)))).result()
    with pytest.raises(exceptions.Conflict, match=f"Already Exists: Job {PROJECT}:US.{job_id}"):
        start(upload(bucket, day_rows(1)))
    assert finished(client.get_job(job_id)).result().output_rows == 1
    job_id += "-failing"
    with pytest.raises(exceptions.NotFound):
        finished(start(f"gs://{bucket.name}/missing")).result()
    with pytest.raises(exceptions.Conflict):
        start(upload(bucket, day_rows(1)))
    assert client.get_job(job_id).error_result["reason"] == "notFound"
    assert values(client, table) == [1]


def test_of_two_loads_of_a_partition_one_is_there_entirely(
    client: Any, bucket: Any, dataset: str
) -> None:
    table = create_daily(client, dataset)
    uris = [upload(bucket, day_rows(n, 2000 + n)) for n in range(4)]
    seen, ended = [], threading.Event()

    def watch() -> None:
        while not ended.is_set():
            seen.append(values(client, f"{table}$20130101"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    with ThreadPoolExecutor() as pool:
        to = f"{table}$20130101"
        truncate = {"write_disposition": "WRITE_TRUNCATE"}
        jobs = [pool.submit(load, client, uri, to, **truncate) for uri in uris * 2]
    ended.set()
    watcher.join()
    assert [job.exception() for job in jobs] == [None] * 8
    seen.append(values(client, table))
    assert seen[-1]
    assert all(len(set(rows)) <= 1 and len(rows) in (0, 2000 + rows[0]) for rows in seen if rows)


def test_a_kill_loses_no_load_and_shows_no_half_of_one(
    storage_service: Service, bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = {"STORAGE_EMULATOR_HOST": storage_service.url}
    service = Service("local_cloud.bigquery", tmp_path, environment)
    try:
        monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", service.url)
        client = bigquery.Client(PROJECT, credentials=AnonymousCredentials())  # type: ignore[no-untyped-call]
        client.create_dataset("d")
        table = create_daily(client, "d")
        load(client, upload(bucket, day_rows(1, 10)), f"{table}$20130101")
        uri = upload(bucket, day_rows(2, 300_000))
        storage_service.fault(method="storage.objects.get", delay=1)  # so that the kill is in time
        to = bigquery.TableReference.from_string(f"{PROJECT}.{table}$20130101")
        config = load_config(write_disposition="WRITE_TRUNCATE")
        client.load_table_from_uri(uri, to, job_id="killed", job_config=config)
        service.kill()
        service.start()
        sql = f"SELECT MIN(n), MAX(n), COUNT(*) FROM `{table}`"
        (row,) = client.query_and_wait(sql)
        assert row.values() in ((1, 1, 10), (2, 2, 300_000))
        finished(client.get_job("killed")).result()
        (row,) = client.query_and_wait(sql)
        assert row.values() == (2, 2, 300_000)
    finally:
        service.kill()


def test_a_job_can_be_cancelled(
    client: Any, bucket: Any, dataset: str, storage_service: Service
) -> None:
    uri = upload(bucket, day_rows(1))
    storage_service.fault(method="storage.objects.*", delay=1)
    job = client.load_table_from_uri(uri, f"{PROJECT}.{dataset}.t", job_config=load_config())
    assert not job.done()
    job.cancel()
    with pytest.raises(exceptions.GoogleAPICallError, match="cancelled"):
        finished(job).result()
    assert job.error_result["reason"] == "stopped"
    assert list(client.list_tables(dataset)) == []
