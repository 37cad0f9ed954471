from __future__ import annotations

import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from airflow.utils.net import get_hostname

from demo.airflow_client import Run
from demo.healthy import api_problem, cloud_problem, heartbeat_problem
from demo.local_airflow import ROOT
from tests.e2e.conftest import Stack
from tests.e2e.drive import System, publish_a_day

# The dataset begins on a Saturday: its first week, which began on 31 December, has two days.
WEEK = ["2013-01-05", "2013-01-06"]


def sales_of(day: str) -> str:
    """A day's file: as many records as the day's number has tens and ones, times ten."""
    number = int(day[-2:])
    rows = (
        f"shop{n % 3},item{n * number % 7},{n * number % 50 + 0.25}" for n in range(10 * number)
    )
    return "shop,item,price\n" + "".join(f"{row}\n" for row in rows)


def expected(texts: list[str], tmp_path: Path) -> list[tuple[Any, ...]]:
    """What DuckDB makes of the files by itself."""
    for number, text in enumerate(texts):
        (tmp_path / f"{number}.csv").write_text(text)
    return duckdb.execute(
        "SELECT shop, count(*), count(DISTINCT item), avg(price) FROM read_csv($1, types={"
        "'price': 'DECIMAL(9,2)'}) GROUP BY shop ORDER BY shop",
        [f"{tmp_path}/*.csv"],
    ).fetchall()


def show(stack: Stack, *arguments: str, tmp_path: Path) -> list[tuple[Any, ...]]:
    """What the command `show` says is published."""
    output = tmp_path / "shown.parquet"
    subprocess.run(
        [
            *(sys.executable, "-m", "beam_jobs.show", *arguments),
            *(f"--storage={stack.root}", f"--output={output}"),
        ],
        env=stack.airflow.environment,
        cwd=ROOT,
        check=True,
    )
    return duckdb.execute(f"FROM '{output}'").fetchall()


def wait_for_run(stack: Stack, dag_id: str, number: int) -> Run:
    """Waits for a run that starts by itself, the so-manieth of its DAG."""
    for _ in stack.airflow.looks(120, lambda: stack.airflow.runs(dag_id)):
        if len(runs := stack.airflow.runs(dag_id)) >= number:
            return stack.airflow.wait_for(runs[number - 1])
    raise AssertionError("looks until it raises")


@pytest.fixture(scope="module")
def week(stack: Stack) -> Stack:
    """The first week, computed by a backfill."""
    stack.bigquery.create_dataset("shops")
    for day in WEEK:
        stack.put(f"sales/date={day}/sales.csv", sales_of(day))
    stack.airflow.wait_for_dags("sales_daily")
    stack.airflow.command(
        *("backfill", "create", "--dag-id", "sales_daily"),
        *("--from-date", WEEK[0], "--to-date", WEEK[-1]),
    )
    # Beside them is the run that the schedule asks for, of the last day.
    for run in stack.airflow.runs("sales_daily"):
        if not run.run_id.startswith("backfill"):
            continue
        ended = stack.airflow.wait_for(run, 400)
        assert ended.state == "success", stack.airflow.tasks(ended)
    return stack


def test_a_backfill_publishes_each_day(week: Stack, tmp_path: Path) -> None:
    for day in WEEK:
        (tmp_path / day).mkdir()
        shown = show(week, "sales", "by_shop", f"--date={day}", tmp_path=tmp_path)
        assert shown == expected([sales_of(day)], tmp_path / day)


def test_a_published_report_says_what_its_job_used_and_airflow_shows_the_job(week: Stack) -> None:
    folder = "results/sales/date=2013-01-06"
    manifest = json.loads(week.bucket.blob(f"{folder}/manifest.json").download_as_text())
    (version,) = manifest["versions"]
    report = json.loads(week.bucket.blob(f"{folder}/{version['report']}").download_as_text())
    used = report["usage"]
    assert 0 < used["vcpu_hours"] < 0.1
    assert 0 < used["memory_gb_hours"] < 0.1
    assert 0 < used["charged_shuffle_bytes"] < used["shuffled_bytes"] < 10_000_000
    assert 0 < used["estimated_price"]["amount"] < 0.01
    assert used["estimated_price"]["currency"] == "USD"

    (run,) = (
        run
        for run in week.airflow.runs("sales_daily")
        if run.run_id.startswith("backfill__2013-01-07")  # the day's end
    )
    path = f"dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances/aggregate"
    shown = week.airflow.ask("GET", f"{path}/xcomEntries/job_progress?deserialize=true")["value"]
    assert (shown["job_id"], shown["state"]) == (used["job_id"], "done")
    assert shown["counters"].items() >= {"files": 1, "rows": 60, "rejects": 0}.items()
    links = week.airflow.ask("GET", f"{path}/links")["extra_links"]
    assert links == {"Dataflow Job": f"{week.cloud.dataflow_url}/jobs/{used['job_id']}"}


def test_published_days_are_partitions_in_bigquery(week: Stack) -> None:
    rows = week.bigquery.list_rows("shops.sales_by_shop$20130106")
    expected_sales = dict.fromkeys(("shop0", "shop1", "shop2"), 20)
    assert {row["shop"]: row["sales"] for row in rows} == expected_sales


def test_a_week_rolls_up_by_itself_when_its_days_are_published(week: Stack, tmp_path: Path) -> None:
    run = wait_for_run(week, "sales_weekly", 1)
    assert run.state == "success", week.airflow.task_log(run, "roll_up")
    shown = show(week, "sales", "by_shop", "--period=week", "--date=2012-12-31", tmp_path=tmp_path)
    assert shown == expected([sales_of(day) for day in WEEK], tmp_path)


def test_a_day_that_is_published_anew_is_in_its_week_again(week: Stack, tmp_path: Path) -> None:
    before = len(week.airflow.runs("sales_weekly"))
    changed = sales_of("2013-01-09")
    week.put("sales/date=2013-01-05/sales.csv", changed)
    run = week.airflow.wait_for(week.airflow.trigger("sales_daily", {"date": "2013-01-05"}))
    assert run.state == "success", week.airflow.tasks(run)

    wait_for_run(week, "sales_weekly", before + 1)
    shown = show(week, "sales", "by_shop", "--period=week", "--date=2012-12-31", tmp_path=tmp_path)
    texts = [changed if day == "2013-01-05" else sales_of(day) for day in WEEK]
    assert shown == expected(texts, tmp_path)


def test_a_file_that_is_broken_leaves_what_is_published(week: Stack, tmp_path: Path) -> None:
    week.put("sales/date=2013-01-06/sales.csv", sales_of("2013-01-06") + "shop0,item,cheap\n")
    run = week.airflow.wait_for(week.airflow.trigger("sales_daily", {"date": "2013-01-06"}))
    assert run.state == "failed"
    assert "sales.csv:62: column price: 'cheap' is no DECIMAL(9,2)" in week.airflow.task_log(
        run, "aggregate"
    )
    kept = week.bucket.list_blobs(match_glob="results/sales/date=2013-01-06/runs/*/rejects.jsonl")
    (reject,) = (json.loads(blob.download_as_text()) for blob in kept)
    assert (reject["line"], reject["text"]) == (62, "shop0,item,cheap")
    shown = show(week, "sales", "by_shop", "--date=2013-01-06", tmp_path=tmp_path)
    assert shown == expected([sales_of("2013-01-06")], tmp_path)


def test_a_run_waits_without_a_worker_until_its_marker_is_there(
    stack: Stack, tmp_path: Path
) -> None:
    stack.put("returns/date=2013-02-01/a.csv", "shop,item,price\nshop0,a,1.25\n")
    run = stack.airflow.trigger("returns_daily", {"date": "2013-02-01"})
    for _ in stack.airflow.looks(60, lambda: stack.airflow.tasks(run)):
        if stack.airflow.tasks(run)["wait_for_files"] == "deferred":
            break
    stack.put("returns/date=2013-02-01/b.csv", "shop,item,price\nshop0,a,2.25\n")
    stack.put("returns/date=2013-02-01/_SUCCESS", "")
    assert stack.airflow.wait_for(run).state == "success"
    (row,) = show(stack, "returns", "total", "--date=2013-02-01", tmp_path=tmp_path)
    assert row == (2, Decimal("3.50"))


def test_a_check_that_fails_publishes_nothing_and_keeps_the_results(stack: Stack) -> None:
    stack.put("returns/date=2013-02-02/a.csv", "shop,item,price\nshop0,a,0.00\n")
    stack.put("returns/date=2013-02-02/_SUCCESS", "")
    run = stack.airflow.wait_for(stack.airflow.trigger("returns_daily", {"date": "2013-02-02"}))
    tasks = stack.airflow.tasks(run)
    assert run.state == "failed"
    assert (tasks["audit"], tasks["publish"], tasks["clean_up"]) == (
        "failed",
        "upstream_failed",
        "success",
    )
    assert "no_giveaways" in stack.airflow.task_log(run, "audit")
    kept = {blob.name.rpartition("/")[2] for blob in stack.bucket.list_blobs(prefix="results/ret")}
    assert {"total.parquet", "audit.json", "report.json"} <= kept


def test_a_dry_run_says_what_it_would_do_and_does_nothing(stack: Stack) -> None:
    form = {"date": "2013-02-03", "pattern": "returns/date=2013-02-0*/*.csv", "dry_run": True}
    run = stack.airflow.wait_for(stack.airflow.trigger("returns_daily", form))
    assert run.state == "success"
    assert stack.airflow.tasks(run)["aggregate"] == "skipped"
    assert "SELECT count(*) AS returned" in stack.airflow.task_log(run, "aggregate")


def test_a_partition_that_is_not_published_in_time_raises_an_alert(stack: Stack) -> None:
    # The run that the schedule asks for, of the day before today, waits for its marker in vain.
    for _ in stack.airflow.looks(180, lambda: stack.airflow.runs("returns_daily")):
        log = stack.airflow.log("triggerer").read_text(errors="replace")
        if "has not published its partition by 00:01 UTC" in log:
            return


def test_a_query_from_a_form_runs_over_files_of_its_pattern(week: Stack) -> None:
    form = {
        "pattern": "sales/date=2013-01-05/*.csv",
        "query": "SELECT count(*) AS sales FROM input -- '; {{ 7 * 7 }} $(id)",
        "output": "counts/sales.jsonl",
    }
    run = week.airflow.wait_for(week.airflow.trigger("aggregate_files", form))
    assert run.state == "success", week.airflow.task_log(run, "aggregate")
    text = week.bucket.blob("counts/sales.jsonl").download_as_text()
    assert json.loads(text) == {"sales": sales_of("2013-01-09").count("\n") - 1}


def test_a_query_from_a_form_reads_no_other_file(week: Stack) -> None:
    form = {
        "pattern": "sales/date=2013-01-05/*.csv",
        "query": "SELECT count(*) FROM input, read_csv('/etc/passwd')",
        "output": "counts/passwords.jsonl",
    }
    run = week.airflow.wait_for(week.airflow.trigger("aggregate_files", form))
    assert run.state == "failed"
    assert "read_csv" in week.airflow.task_log(run, "aggregate")
    assert not week.bucket.blob("counts/passwords.jsonl").exists()


def test_what_is_healthy_is_said_to_be_and_what_is_not_has_its_reason(stack: Stack) -> None:
    database = stack.cloud.postgres_url
    host = get_hostname()  # type: ignore[no-untyped-call]
    for component in ("scheduler", "dag-processor", "triggerer"):
        assert heartbeat_problem(database, component, host) is None
    assert heartbeat_problem(database, "scheduler", "other") == "no scheduler has begun on other"
    assert api_problem(f"{stack.airflow.url}/api/v2/monitor/health") is None
    assert cloud_problem(stack.cloud.directory) is None
    example = "flights/date=2013-12-31/flights.csv"
    content = stack.bucket.blob(example).download_as_bytes()
    stack.bucket.blob(example).delete()
    assert str(cloud_problem(stack.cloud.directory)).endswith("HTTP Error 404: Not Found")
    stack.bucket.blob(example).upload_from_string(content)


def test_a_day_of_the_example_is_published(stack: Stack, tmp_path: Path) -> None:
    publish_a_day(System(stack.airflow, stack.cloud.storage_url, kill_scheduler=None), tmp_path)


def test_a_component_that_has_died_is_started_again(stack: Stack) -> None:
    stack.lose("dag-processor")
    for _ in stack.airflow.looks(120, stack.airflow.unhealthy):
        if not stack.airflow.unhealthy():
            return
