"""What becomes of jobs and their processes, also when the service ends; processes are acted."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.local_cloud.dataflow_server import (
    PLACE,
    DataflowServer,
    dataflow_server,
    wait_for,
)

CANCELLED = {"requestedState": "JOB_STATE_CANCELLED"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[DataflowServer]:
    with dataflow_server(tmp_path / "dataflow") as running:
        yield running


def worker_of(server: DataflowServer, job_id: str) -> int:
    """The process that an acted job started, and named in a message."""
    texts = wait_for(
        lambda: [text for text in server.messages(job_id) if text.startswith("worker ")]
    )
    return int(texts[0].split()[1])


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def control(server: DataflowServer, job_id: str, verb: str) -> int:
    url = f"{server.url}/_local_cloud/jobs/{job_id}:{verb}"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="POST")) as answer:  # noqa: S310
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.parametrize("act", ["wait", "neglect"])
def test_a_cancelled_job_has_no_processes(server: DataflowServer, act: str) -> None:
    job_id = server.submit("cancelled-job", act)["id"]
    worker = worker_of(server, job_id)
    server.jobs().update(**PLACE, jobId=job_id, body=CANCELLED).execute()
    assert server.state(job_id) in ("JOB_STATE_CANCELLING", "JOB_STATE_CANCELLED")
    server.wait_for_state(job_id, "JOB_STATE_CANCELLED")
    assert is_gone(worker)


def test_a_failed_job_tells_why(server: DataflowServer) -> None:
    job_id = server.submit("failing-job", "fail")["id"]
    assert server.wait_for_state(job_id) == "JOB_STATE_FAILED"
    assert "ValueError: bad" in server.messages(job_id, minimumImportance="JOB_MESSAGE_ERROR")[0]


def test_a_process_that_dies_fails_its_job_with_the_end_of_its_log(
    server: DataflowServer,
) -> None:
    for _ in range(2):  # the second has the process that was made ready
        job_id = server.submit("dying-job", "crash")["id"]
        assert server.wait_for_state(job_id) == "JOB_STATE_FAILED"
        (text,) = server.messages(job_id)
        assert "ended with status 3" in text
        assert "Killed: out of memory" in text


def test_a_few_jobs_run_at_once_and_the_others_wait(server: DataflowServer) -> None:
    first, second, third = (server.submit(f"job-{i}", "wait")["id"] for i in range(3))
    server.wait_for_state(first, "JOB_STATE_RUNNING")
    server.wait_for_state(second, "JOB_STATE_RUNNING")
    assert server.state(third) == "JOB_STATE_PENDING"
    waiting = server.submit("job-4", "wait")["id"]
    server.jobs().update(**PLACE, jobId=waiting, body=CANCELLED).execute()
    assert server.state(waiting) == "JOB_STATE_CANCELLED"
    server.jobs().update(**PLACE, jobId=first, body=CANCELLED).execute()
    server.wait_for_state(third, "JOB_STATE_RUNNING")
    assert server.state(waiting) == "JOB_STATE_CANCELLED"


@pytest.mark.parametrize("kill", [True, False], ids=["SIGKILL", "SIGTERM"])
def test_jobs_survive_the_service_but_their_processes_do_not(
    server: DataflowServer, *, kill: bool
) -> None:
    done = server.submit("done-job")["id"]
    server.wait_for_state(done)
    running = [server.submit(f"running-{i}", "wait")["id"] for i in range(2)]
    workers = [worker_of(server, job_id) for job_id in running]
    waiting = server.submit("waiting-job")["id"]
    server.stop(kill=kill)
    for worker in workers:
        wait_for(lambda pid=worker: is_gone(pid))  # type: ignore[misc]
    server.start()
    assert server.state(done) == "JOB_STATE_DONE"
    assert server.messages(done)
    for job_id in running:
        assert server.state(job_id) == "JOB_STATE_FAILED"
        assert "The local Dataflow service ended while the job ran" in server.messages(job_id)[-1]
    assert server.wait_for_state(waiting) == "JOB_STATE_DONE"


def test_a_lost_job_is_found_nowhere_and_its_processes_are_gone(server: DataflowServer) -> None:
    job_id = server.submit("lost-job", "wait")["id"]
    worker = worker_of(server, job_id)
    assert control(server, job_id, "lose") == 204
    assert not server.jobs().list(**PLACE).execute().get("jobs")
    assert control(server, job_id, "lose") == 404
    wait_for(lambda: is_gone(worker))
    again = server.submit("lost-job")["id"]
    assert server.wait_for_state(again) == "JOB_STATE_DONE"


def test_a_worker_is_killed_on_demand(server: DataflowServer) -> None:
    job_id = server.submit("killed-job", "wait")["id"]
    worker_of(server, job_id)
    assert control(server, job_id, "kill_worker") == 204
    wait_for(lambda: "a worker was killed" in server.messages(job_id))
    done = server.submit("ended-job")["id"]
    server.wait_for_state(done)
    assert control(server, done, "kill_worker") == 409
