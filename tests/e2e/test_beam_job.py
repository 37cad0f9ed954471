"""Our operator on a local Dataflow, with faults in what it calls: one job, whatever happens."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import psutil
import pytest
from airflow.providers.google.cloud.operators.dataflow import DataflowConfiguration
from airflow.sdk.definitions.retry_policy import RetryAction
from airflow.sdk.exceptions import TaskDeferred

from beam_jobs.datasets.dataset import load_dataset
from beam_jobs.templates import image_of, spec
from demo.local_airflow import ROOT
from demo.on_local_cloud import bucket_of
from local_cloud import LocalCloud
from local_cloud.loopback import call
from tallyflow.beam_job import BeamJobOperator
from tallyflow.beam_job_trigger import Awaited, BeamJobTrigger
from tallyflow.dataflow_jobs import DataflowJobs, Job
from tallyflow.dataset_dag import dataset_dag
from tallyflow.job_failure import JobFailedError, LauncherError, PermanentFailurePolicy
from tallyflow.job_lookup import LookUpError
from tallyflow.settings import Settings
from tallyflow.worker_package import build_wheel
from tests.e2e.beam_task import BUCKET, IMAGE, REGION, Task

_GET = "dataflow.projects.locations.jobs.get"
_CREATE = "dataflow.projects.locations.jobs.create"


@pytest.fixture(scope="session")
def cloud() -> Iterator[LocalCloud]:
    with LocalCloud(services=["storage", "dataflow"], buckets=[BUCKET]) as cloud:
        cloud.add_image(IMAGE, python=sys.executable)
        yield cloud


@pytest.fixture(autouse=True)
def _on_the_cloud(cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in cloud.environment.items():
        monkeypatch.setenv(name, value)
    # Read when it is imported, which other tests of this process have done.
    monkeypatch.setattr("httplib2.CA_CERTS", cloud.environment["HTTPLIB2_CA_CERTS"])
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{ROOT}/plugins")
    yield
    for url in (cloud.dataflow_url, cloud.gateway_url):
        call("DELETE", f"{url}/_local_cloud/faults")


@pytest.fixture
def fault(cloud: LocalCloud) -> Callable[..., None]:
    """Makes the next calls of a method fail."""

    def add(method: str, *, url: str = cloud.dataflow_url, **how: object) -> None:
        call("POST", f"{url}/_local_cloud/faults", {"method": method, **how})

    return add


@pytest.fixture
def jobs(cloud: LocalCloud) -> DataflowJobs:
    return Awaited("", cloud.project, REGION, "google_cloud_default").jobs()


def jobs_of(jobs: DataflowJobs, name: str) -> list[Job]:
    """All jobs of a task, the newest first."""
    names = {found["name"] for found in jobs._pages("list", "jobs", filter="ALL")}
    return [job for one in names if one.startswith(name) for job in jobs.named(one)]


def wait_for(what: Callable[[], Any], seconds: float = 60) -> Any:
    until = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < until, "nothing came of it"
        time.sleep(0.1)
    return found


def started(task: Task, what: str, *, writing: float = 0) -> subprocess.Popen[bytes]:
    """The first try of a task in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.e2e.beam_task", task.store, "1", what, str(writing)],
        cwd=ROOT,
        env=os.environ | {"AIRFLOW_HOME": str(task.store.parent)},
    )


def launchers(name: str) -> list[psutil.Process]:
    """The pipeline's processes that run on this machine as launchers of a task's jobs."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(part.startswith(f"--job_name={name}-") for part in process.info["cmdline"] or [])
    ]


def test_faults_while_a_job_runs_are_ridden_out_and_its_pipeline_is_heard_to_the_end(
    jobs: DataflowJobs,
    fault: Callable[..., None],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    task = Task("succeeds", tmp_path / "store")
    # Only what the operator asks for: Beam has its own way with faults.
    fault(_GET, matching="view=JOB_VIEW_DESCRIPTION", times=3, status=503)
    # The first of two is made up for by the HTTP client.
    fault(_GET, matching="view=JOB_VIEW_DESCRIPTION", times=2, drop="response")
    fault(_GET, matching="view=JOB_VIEW_DESCRIPTION", times=1, status=429)
    task.operator("succeeds").execute(task.context())

    (job,) = jobs_of(jobs, "succeeds")
    assert job.state == "JOB_STATE_DONE"
    assert job.labels.items() >= {"team": "data", "dag": "dag", "tallyflow-try": "1"}.items()
    assert task.get("dataflow_job")["job_id"] == job.id == task.xcoms["dataflow_job_id"]
    said = capfd.readouterr().out
    assert "said after the job" in said
    assert "rows 1,234" in said
    assert task.xcoms["job_progress"]["state"] == "done"
    assert task.xcoms["job_progress"]["counters"]["rows"] == 1234
    assert task.xcoms["dataflow_job_page"] == jobs.url(job.id)
    assert said.count("trying again") == 5

    # A task that was lost after that: the next try accepts the job, and says whose results count.
    task.xcoms.clear()
    assert task.operator("succeeds", number=2).execute(task.context(2)) == {
        "dataflow_job_id": job.id
    }
    assert task.xcoms["job_try"] == 1
    assert task.xcoms["job_usage"]["job_id"] == job.id
    assert len(jobs_of(jobs, "succeeds")) == 1

    async def fired() -> dict[str, Any]:
        awaited = Awaited(job.id, jobs.project, jobs.location, "google_cloud_default", every=0)
        found: dict[str, Any] = (await anext(BeamJobTrigger(asdict(awaited)).run())).payload
        return found

    # So does one that was deferred meanwhile.
    operator = task.operator("succeeds", number=2)
    assert operator.execute_complete(task.context(2), asyncio.run(fired())) == {
        "dataflow_job_id": job.id
    }


def test_a_pipeline_that_fails_after_its_job_fails_the_task_and_runs_again(
    jobs: DataflowJobs, tmp_path: Path
) -> None:
    task = Task("unhappy", tmp_path / "store")
    with pytest.raises(LauncherError, match="status 3"):
        task.operator("unhappy").execute(task.context())
    with pytest.raises(LauncherError, match="status 3"):
        task.operator("unhappy", number=2).execute(task.context(2))
    assert [job.state for job in jobs_of(jobs, "unhappy")] == ["JOB_STATE_DONE"] * 2


def test_a_job_that_fails_shows_the_workers_traceback(jobs: DataflowJobs, tmp_path: Path) -> None:
    task = Task("fails", tmp_path / "store")
    with pytest.raises(JobFailedError) as caught:
        task.operator("fails").execute(task.context())
    said = str(caught.value)
    assert "Error in step 'Check':\nTraceback" in said
    assert "ValueError: bad record 'x'" in said
    assert "apache_beam" not in said
    (job,) = jobs_of(jobs, "fails")
    assert f"/{REGION}/{job.id}?project=local-project" in said


def test_a_task_lost_before_it_knew_its_job_finds_it_and_its_trigger_ends_it(
    jobs: DataflowJobs, fault: Callable[..., None], cloud: LocalCloud, tmp_path: Path
) -> None:
    task = Task("lost", tmp_path / "store")
    process = started(task, "lost", writing=600)
    wait_for(lambda: jobs_of(jobs, "lost"))
    process.kill()
    process.wait()
    wait_for(lambda: not launchers("lost"), 10)
    assert not task.store.exists()

    operator = task.operator("lost", number=2, deferrable=True)
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(task.context(2))
    (job,) = jobs_of(jobs, "lost")
    assert task.get("dataflow_job")["job_id"] == job.id
    assert task.xcoms["job_try"] == 1
    trigger = deferred.value.trigger
    assert isinstance(trigger, BeamJobTrigger)
    path, arguments = trigger.serialize()
    assert (path, arguments["awaited"]["job_id"]) == (
        "tallyflow.beam_job_trigger.BeamJobTrigger",
        job.id,
    )

    async def killed_while_it_waits() -> bool:
        waiting = asyncio.ensure_future(anext(trigger.run()))
        fault("oauth2.token", url=cloud.gateway_url, times=1, status=500)
        fault(_GET, times=2, status=503)
        fault(_GET, times=1, drop="request")
        await asyncio.sleep(4)
        was_waiting = not waiting.done()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await trigger.on_kill()
        return was_waiting

    assert asyncio.run(killed_while_it_waits())
    assert jobs.get(job.id).state == "JOB_STATE_CANCELLED"


def test_workers_get_beam_jobs_by_a_package_that_is_uploaded_once_for_all_runs(
    cloud: LocalCloud, tmp_path: Path
) -> None:
    bucket = bucket_of(cloud, BUCKET)
    bucket.blob("in/words.txt").upload_from_string("a\nb\na\n")

    size = build_wheel(tmp_path).stat().st_size
    uploads = set()
    for name in ("first-run", "second-run"):
        task = Task(name, tmp_path / name)
        BeamJobOperator(
            task_id=name,
            runner="DataflowRunner",
            py_interpreter=sys.executable,
            py_options=["-m"],
            py_file="beam_jobs.count_elements",
            default_pipeline_options={"temp_location": f"gs://{BUCKET}/temp"},
            pipeline_options={
                "input": f"gs://{BUCKET}/in/*.txt",
                "by": "line",
                "output": f"gs://{BUCKET}/{name}.csv",
            },
            dataflow_config={"job_name": name, "location": REGION, "poll_sleep": 1},
            worker_package=build_wheel,
        ).execute(task.context())
        # No image was named: the workers have Beam, and what was staged.
        assert bucket.blob(f"{name}.csv").download_as_text() == "line,count\na,2\nb,1\n"
        assert task.xcoms["job_usage"]["vcpu_hours"] > 0
        cached = bucket.list_blobs(prefix="temp/artifact_cache/")
        uploads |= {(blob.name, blob.generation) for blob in cached if blob.size == size}
        assert len(uploads) == 1


def test_where_dataflow_does_not_say_whether_there_is_a_job_none_is_launched(
    jobs: DataflowJobs, fault: Callable[..., None], tmp_path: Path
) -> None:
    task = Task("unknown", tmp_path / "store")
    fault("dataflow.projects.locations.jobs.list", status=403)
    with pytest.raises(LookUpError) as caught:
        task.operator("unknown").execute(task.context())
    assert jobs_of(jobs, "unknown") == []
    assert PermanentFailurePolicy().evaluate(caught.value, 1, 3).action is RetryAction.FAIL


def test_a_dataset_is_aggregated_by_a_flex_template_whose_launch_is_answered_to_nobody(
    cloud: LocalCloud, jobs: DataflowJobs, fault: Callable[..., None], tmp_path: Path
) -> None:
    cloud.add_image(
        image_of("aggregate_files", "tests/templates:1"),
        python=sys.executable,
        environment={
            "FLEX_TEMPLATE_PYTHON_PY_FILE": f"{ROOT}/deploy/template/main.py",
            "TALLYFLOW_JOB": "aggregate_files",
            "PYTHONPATH": str(ROOT),
        },
    )
    templates = f"gs://{BUCKET}/templates"
    bucket = bucket_of(cloud, BUCKET)
    described = json.dumps(spec("aggregate_files", "tests/templates:1"))
    bucket.blob("templates/aggregate_files.json").upload_from_string(described)
    bucket.blob("sales/date=2013-01-05/s.csv").upload_from_string("shop,price\na,1\nb,2\na,5\n")
    (tmp_path / "_defaults.yaml").write_text("owner: tests\nstart_date: 2013-01-01\n")
    path = tmp_path / "sales.yaml"
    path.write_text(
        "description: Sales.\n"
        "pattern: sales/date={date}/*.csv\n"
        "output_format: csv\n"
        "aggregates: { by_shop: 'SELECT shop, sum(price) AS s FROM input GROUP BY shop' }\n"
    )
    settings = Settings(
        runner="DataflowRunner",
        storage=f"gs://{BUCKET}",
        project=cloud.project,
        region=REGION,
        templates=templates,
        num_workers=1,
        labels="team=data",
    )
    dag = dataset_dag(load_dataset(path), path, settings)
    operator = dag.get_task("aggregate")
    assert isinstance(operator, BeamJobOperator)
    operator.dataflow_config = DataflowConfiguration(
        job_name="by-template", location=REGION, poll_sleep=1
    )
    task = Task("by-template", tmp_path / "store")
    context = task.context()
    context["dag"] = dag
    context["params"] = {"date": "2013-01-05", "pattern": None, "dry_run": False}
    context["dag_run"].conf = {"date": "2013-01-05"}
    context["dag_run"].run_id = context["ti"].run_id
    context["dag_run"].dag_id = "sales_daily"
    # As Airflow does, which also renders what is a function.
    cast("Any", operator)._pre_execute_hook(context)
    operator.pipeline_options = cast("Any", operator.pipeline_options)(context, None)

    fault("dataflow.projects.locations.flexTemplates.launch", times=1, drop="response")
    operator.execute(context)

    (job,) = jobs_of(jobs, "by-template")
    assert job.state == "JOB_STATE_DONE"
    assert job.labels.items() >= {"team": "data", "dataset": "sales", "tallyflow-try": "1"}.items()
    assert task.get("dataflow_job")["job_id"] == job.id
    (result,) = [
        blob.download_as_text()
        for blob in bucket.list_blobs(prefix="results/sales/")
        if blob.name.endswith("/by_shop.csv")
    ]
    assert result == "shop,s\na,6\nb,2\n"
