"""Datasets, tables, rows and queries of the local BigQuery, by Google's clients and raw calls."""

from __future__ import annotations

import datetime
from typing import Any

import googleapiclient.discovery
import httplib2  # type: ignore[import-untyped]
import pyarrow as pa
import pytest
import requests
from google.api_core import exceptions
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

MOMENT = datetime.datetime(2013, 1, 1, 5, 15, tzinfo=datetime.UTC)


@pytest.fixture
def flights(client: Any, bucket: Any, dataset: str) -> str:
    """A table of flights: carrier, delay, t."""
    rows = pa.table(
        {
            "carrier": ["UA", "UA", "AA", None],
            "delay": [1, 2, None, 4],
            "t": [MOMENT, MOMENT, MOMENT, None],
        }
    )
    uri = upload(bucket, rows)
    to = f"{PROJECT}.{dataset}.flights"
    finished(client.load_table_from_uri(uri, to, job_config=load_config())).result()
    return to


def rows_of(client: Any, sql: str, **config: Any) -> list[tuple[Any, ...]]:
    return [
        row.values()
        for row in client.query_and_wait(sql, job_config=bigquery.QueryJobConfig(**config))
    ]


def test_datasets_come_and_go(client: Any, dataset: str) -> None:
    with pytest.raises(exceptions.Conflict, match=f"Already Exists: Dataset {PROJECT}:{dataset}"):
        client.create_dataset(dataset)
    client.create_dataset(dataset, exists_ok=True)
    assert dataset in [one.dataset_id for one in client.list_datasets()]
    found = client.get_dataset(dataset)
    found.description, found.labels = "of the tests", {"team": "data"}
    assert client.update_dataset(found, ["description", "labels"]).labels == {"team": "data"}
    client.create_table(f"{PROJECT}.{dataset}.t")
    with pytest.raises(exceptions.BadRequest, match="is still in use"):
        client.delete_dataset(dataset)
    client.delete_dataset(dataset, delete_contents=True)
    client.delete_dataset(dataset, not_found_ok=True)
    with pytest.raises(exceptions.NotFound, match=f"Not found: Dataset {PROJECT}:{dataset}"):
        client.get_dataset(dataset)
    with pytest.raises(exceptions.BadRequest, match="Invalid dataset ID"):
        client.create_dataset("no-dash")


def test_tables_come_and_go(client: Any, dataset: str) -> None:
    name = f"{PROJECT}.{dataset}.t"
    table = bigquery.Table(
        name, [*schema("day DATE REQUIRED"), bigquery.SchemaField("n", "INT64", description="d")]
    )
    table.time_partitioning = bigquery.TimePartitioning(field="day")
    made = client.create_table(table)
    assert made.schema[1].to_api_repr() == {
        "name": "n", "type": "INTEGER", "mode": "NULLABLE", "description": "d",
    }  # fmt: skip
    with pytest.raises(exceptions.Conflict, match=f"Already Exists: Table {PROJECT}:{dataset}.t"):
        client.create_table(table)
    client.create_table(table, exists_ok=True)
    made.schema = [*made.schema, *schema("m FLOAT64")]
    made.labels = {"a": "b"}
    changed = client.update_table(made, ["schema", "labels"])
    with pytest.raises(exceptions.PreconditionFailed):
        client.update_table(made, ["labels"])  # of before the change
    assert [field.name for field in changed.schema] == ["day", "n", "m"]
    changed.schema = changed.schema[:1]
    with pytest.raises(exceptions.BadRequest, match="Cannot add fields"):
        client.update_table(changed, ["schema"])
    assert [one.table_id for one in client.list_tables(dataset)] == ["t"]
    client.delete_table(name)
    client.delete_table(name, not_found_ok=True)
    with pytest.raises(exceptions.NotFound, match=f"Not found: Table {PROJECT}:{dataset}.t"):
        client.get_table(name)


def test_rows_come_in_pages_of_the_columns_that_were_chosen(client: Any, flights: str) -> None:
    table = client.get_table(flights)
    rows = client.list_rows(table, selected_fields=schema("delay INTEGER"), page_size=3)
    assert [[row.values() for row in page] for page in rows.pages] == [
        [(1,), (2,), (None,)],
        [(4,)],
    ]
    rows = client.list_rows(table, start_index=1, max_results=2)
    assert [row["carrier"] for row in rows] == ["UA", "AA"]


def test_rows_are_encoded_as_the_api_does(service: Service, flights: str) -> None:
    project, dataset, table = flights.split(".")
    path = f"/bigquery/v2/projects/{project}/datasets/{dataset}/tables/{table}/data"
    found = requests.get(f"{service.url}{path}?maxResults=1", timeout=5).json()
    assert found["rows"] == [{"f": [{"v": "UA"}, {"v": "1"}, {"v": "1.3570173E9"}]}]
    assert found["totalRows"] == "4"
    parameters = "formatOptions.useInt64Timestamp=true"
    found = requests.get(f"{service.url}{path}?{parameters}", timeout=5).json()
    assert found["rows"][0]["f"][2] == {"v": "1357017300000000"}


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT COUNT(*) FROM `{table}`", [(4,)]),
        ("SELECT carrier, SUM(delay) AS s FROM {table} GROUP BY carrier ORDER BY carrier",
         [(None, 4), ("AA", None), ("UA", 3)]),
        ('SELECT delay FROM `{table}` AS f WHERE f.carrier = "UA" # comment\nORDER BY 1 DESC;',
         [(2,), (1,)]),
        ("SELECT 1 / 2, 3, 'it\\'s', 1.5, DATE '2013-01-01', TIMESTAMP '2013-01-01 05:15:00'",
         [(0.5, 3, "it's", 1.5, datetime.date(2013, 1, 1), MOMENT)]),
        ("WITH x AS (SELECT delay d FROM `{table}`) SELECT MAX(d), COUNTIF(d > 1) FROM x",
         [(4, 2)]),
        ("SELECT EXTRACT(HOUR FROM t) FROM `{table}` WHERE t IS NOT NULL LIMIT 1", [(5,)]),
        ("SELECT a.carrier FROM `{table}` a JOIN `{table}` b ON a.delay = b.delay "
         "WHERE b.delay = 4", [(None,)]),
        ("SELECT IF(delay > 1, 'late', NULL), CAST(delay AS FLOAT64), flights.delay IN (1, 2) "
         "FROM `{table}` "
         "WHERE DATE(t) = '2013-01-01' ORDER BY delay LIMIT 1 OFFSET 1", [(None, 1.0, True)]),
        ("SELECT ROW_NUMBER() OVER (PARTITION BY carrier ORDER BY delay) AS n FROM `{table}` "
         "WHERE carrier = 'UA' ORDER BY n", [(1,), (2,)]),
        ("SELECT * EXCEPT (t) FROM `{table}` WHERE delay = 1 UNION ALL SELECT 'x', 0",
         [("UA", 1), ("x", 0)]),
    ],
)  # fmt: skip
def test_simple_selects_run(client: Any, flights: str, sql: str, expected: list[Any]) -> None:
    assert rows_of(client, sql.replace("{table}", flights)) == expected


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT * FROM `{table}$20130101`", r"a partition decorator can be used in load jobs"),
        ("SELECT FORMAT('%d', 1)", "The function FORMAT is not supported by the local BigQuery"),
        ("SELECT CAST(2.5 AS INT64)", "A cast to INT64 is not supported"),
        (
            "SELECT * FROM read_csv('/etc/passwd')",
            "The table expression TABLE_FUNCTION is not supp",
        ),
        ("SELECT * FROM '/etc/passwd'", "must be qualified with a dataset"),
        ("CREATE TABLE x AS SELECT 1", "A statement other than SELECT is not supported"),
        ("SELECT 1; SELECT 2", "Syntax error"),
        ("SELEC 1", "Syntax error"),
        ("SELECT x FROM `{table}`", 'column "x" not found'),
        ("SELECT 1 AS a, 2 AS a", "Duplicate column names in the result"),
        ("SELECT 1 / 0", "division by zero"),
        (
            "SELECT EXTRACT(DAYOFWEEK FROM t) FROM `{table}`",
            "EXTRACT of DAYOFWEEK is not supported",
        ),
        ("SELECT [1, 2][0]", "not supported by the local BigQuery"),
        ("SELECT INTERVAL 1 DAY", "is not supported by the local BigQuery"),
    ],
)
def test_what_may_mean_something_else_is_refused(
    client: Any, flights: str, sql: str, message: str
) -> None:
    with pytest.raises(exceptions.BadRequest, match=message) as raised:
        rows_of(client, sql.replace("{table}", flights))
    assert raised.value.errors[0]["reason"] == "invalidQuery"


def test_missing_tables_are_not_found(client: Any, dataset: str) -> None:
    with pytest.raises(exceptions.NotFound, match=f"Not found: Table {PROJECT}:{dataset}.nope"):
        rows_of(client, f"SELECT 1 FROM `{dataset}.nope`")


def test_queries_take_parameters_and_a_default_dataset(
    client: Any, dataset: str, flights: str
) -> None:
    assert flights
    parameters = [
        bigquery.ScalarQueryParameter("carrier", "STRING", "UA"),
        bigquery.ScalarQueryParameter("since", "TIMESTAMP", MOMENT),
    ]
    sql = "SELECT COUNT(*) FROM flights WHERE carrier = @carrier AND t >= @since"
    settings = {"default_dataset": f"{PROJECT}.{dataset}", "query_parameters": parameters}
    assert rows_of(client, sql, **settings) == [(2,)]


def test_a_result_can_go_to_a_table_and_a_partition(
    client: Any, dataset: str, flights: str
) -> None:
    config = bigquery.QueryJobConfig(
        destination=f"{PROJECT}.{dataset}.result$20130101", write_disposition="WRITE_TRUNCATE"
    )
    for n in (1, 2):
        job = client.query(f"SELECT delay FROM `{flights}` WHERE delay <= {n}", job_config=config)
        finished(job).result()
    assert client.get_table(f"{dataset}.result$20130101").num_rows == 2
    assert rows_of(
        client, f"SELECT COUNT(*) FROM {dataset}.result WHERE _PARTITIONDATE = '2013-01-01'"
    ) == [(2,)]
    view = f"`{PROJECT}.{dataset}.INFORMATION_SCHEMA.PARTITIONS`"
    sql = f"SELECT partition_id FROM {view} WHERE table_name = 'result'"
    assert rows_of(client, sql) == [("20130101",)]


def test_a_dry_run_tells_the_schema_and_runs_nothing(client: Any, flights: str) -> None:
    config = bigquery.QueryJobConfig(dry_run=True)
    job = client.query(f"SELECT delay, delay / 2 AS half FROM `{flights}`", job_config=config)
    assert [(field.name, field.field_type) for field in job.schema] == [
        ("delay", "INTEGER"),
        ("half", "FLOAT"),
    ]
    assert job.total_bytes_processed > 0
    with pytest.raises(exceptions.BadRequest, match="not found"):
        client.query(f"SELECT nope FROM `{flights}`", job_config=config)


def test_results_have_pages_and_become_arrow(client: Any, flights: str) -> None:
    rows = client.query_and_wait(f"SELECT delay FROM `{flights}` ORDER BY delay", page_size=3)
    assert [row["delay"] for row in rows] == [None, 1, 2, 4]
    arrow = client.query_and_wait(f"SELECT delay FROM `{flights}` WHERE delay = 4").to_arrow()
    assert arrow.to_pylist() == [{"delay": 4}]


def test_legacy_sql_and_streaming_and_uploads_are_refused(
    client: Any, dataset: str, flights: str
) -> None:
    with pytest.raises(exceptions.BadRequest, match="Legacy SQL"):
        rows_of(client, "SELECT 1", use_legacy_sql=True)
    with pytest.raises(exceptions.MethodNotImplemented, match="does not take streamed rows"):
        client.insert_rows_json(flights, [{"delay": 1}], retry=None)
    with pytest.raises(exceptions.MethodNotImplemented, match="does not load uploaded files"):
        client.load_table_from_json([{"n": 1}], f"{PROJECT}.{dataset}.t")


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("/jobs", b"{", "Parse Error"),
        ("/jobs", b"{}", "Job has no configuration"),
        ("/jobs", b'{"configuration": {"load": {}}}', "Required parameter is missing: sourceUris"),
        ("/jobs", b'{"configuration": {"extract": {}}}', "has no extract jobs"),
        ("/queries", b'{"query": "SELECT 1"}', "Legacy SQL"),
        ("/datasets/d/tables/t/data?maxResults=x", None, "Invalid value for maxResults: x"),
        ("/datasets?pageToken=x", None, "Invalid value for pageToken: x"),
        ("/routines", None, "has no method"),
    ],
)
def test_bad_calls_are_answered_in_googles_form(
    service: Service, client: Any, path: str, body: bytes | None, message: str
) -> None:
    client.create_dataset("d", exists_ok=True)
    client.create_table(f"{PROJECT}.d.t", exists_ok=True)
    url = f"{service.url}/bigquery/v2/projects/{PROJECT}{path}"
    answer = requests.request("GET" if body is None else "POST", url, data=body, timeout=5)
    assert answer.status_code in (400, 404, 501)
    assert message in answer.json()["error"]["message"]


def test_an_unknown_project_is_not_found(client: Any) -> None:
    with pytest.raises(exceptions.NotFound, match="Not found: Project no-such-project"):
        list(client.list_datasets("no-such-project"))


def test_the_discovery_client_works(service: Service, dataset: str) -> None:
    options = {"api_endpoint": f"{service.url}/bigquery/v2/"}
    api = googleapiclient.discovery.build(
        "bigquery", "v2", http=httplib2.Http(), client_options=options
    )
    body = {"query": "SELECT 1 AS one", "useLegacySql": False}
    answer = api.jobs().query(projectId=PROJECT, body=body).execute()
    assert (answer["jobComplete"], answer["rows"]) == (True, [{"f": [{"v": "1"}]}])
    assert api.datasets().get(projectId=PROJECT, datasetId=dataset).execute()["location"] == "US"


def test_a_failed_poll_is_ridden_out(client: Any, service: Service, flights: str) -> None:
    service.fault(method="bigquery.jobs.get*", status=503, times=2)
    assert len(list(client.query(f"SELECT delay FROM `{flights}`").result())) == 4
