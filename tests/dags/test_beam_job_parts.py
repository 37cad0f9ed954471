"""What the operator for Beam jobs is made of, without Dataflow."""

from __future__ import annotations

import ast
import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import airflow
import psutil
import pytest
import structlog
from airflow.sdk.definitions.retry_policy import RetryAction
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowRuntimeError,
    AirflowTaskTimeout,
    ErrorType,
)
from airflow.sdk.execution_time.comms import ErrorResponse
from airflow.sdk.execution_time.xcom import XCom
from google.auth.exceptions import RefreshError
from googleapiclient.errors import HttpError

from tallyflow.beam_job import BeamJobOperator
from tallyflow.beam_job_trigger import Awaited, BeamJobTrigger
from tallyflow.dataflow_jobs import (
    DataflowJobs,
    Job,
    JobGoneError,
    Message,
    NoAnswerError,
    Patience,
    is_transient,
    user_counters,
)
from tallyflow.job_failure import (
    JobFailedError,
    LauncherError,
    PermanentFailurePolicy,
    explain,
    format_counters,
)
from tallyflow.job_lookup import JobMemory, Remembered, find_job
from tallyflow.job_options import WORK_LABEL, Work, arguments, merge_options
from tallyflow.job_watch import Watch
from tallyflow.launcher import Launcher

_LOG = structlog.get_logger()
_ROOT = Path(__file__).parents[2]


def http_error(status: int) -> HttpError:
    return HttpError(cast("Any", SimpleNamespace(status=status, reason="said so")), b"")


def context(number: int = 1, max_tries: int = 2, start: str = "2026") -> Any:
    pushed: dict[str, Any] = {}
    ti = SimpleNamespace(
        dag_id="dag",
        task_id="task",
        run_id="run",
        map_index=-1,
        try_number=number,
        max_tries=max_tries,
        pushed=pushed,
        xcom_push=lambda key, value: pushed.update({key: value}),
    )
    return {"ti": ti, "dag_run": SimpleNamespace(start_date=start)}


# Options


def test_what_is_given_holds_over_defaults_and_labels_are_those_of_both() -> None:
    default = {
        "maxNumWorkers": 3,
        "labels": {"team": "data"},
        "network": "one",
        "use_public_ips": False,
    }
    given = {"max_num_workers": 5, "labels": ["dag=x"], "network": None, "streaming": False}
    merged = merge_options(default, given)
    assert merged["labels"] == {"team": "data", "dag": "x"}
    assert arguments(merged) == [
        "--max_num_workers=5",
        "--no_use_public_ips",
        "--labels=team=data",
        "--labels=dag=x",
    ]


def test_the_tries_of_a_task_have_one_work_and_a_cleared_task_has_another() -> None:
    options = {"date": "2013-01-01", "run_id": "run.1"}
    first = Work.of(context(), "flights_by_day", options)
    assert first == Work.of(context(2), "flights_by_day", {**options, "run_id": "run.2"})
    others = [
        Work.of(context(2, max_tries=3), "flights_by_day", options),
        Work.of(context(start="2027"), "flights_by_day", options),
        Work.of(context(), "flights_by_day", {**options, "date": "2013-01-02"}),
    ]
    assert len({first.label, *(other.label for other in others)}) == 4
    # Dataflow refuses a second active job of a name.
    assert {other.job_name for other in others} == {first.job_name}
    assert first.job_name.startswith("flights-by-day-")


def test_a_long_name_is_cut_and_one_that_is_none_refused() -> None:
    assert len(Work.of(context(), "a" * 200, {}).job_name) == 63
    with pytest.raises(ValueError, match="'2013'"):
        Work.of(context(), "2013", {})


# Failures

_WORKER = """\
Error message from worker: Traceback (most recent call last):
  File "apache_beam/runners/common.py", line 1512, in apache_beam.runners.common.DoFnRunner.process
  File "/usr/lib/python3.11/site-packages/apache_beam/transforms/core.py", line 2128, in <lambda>
    wrapper = lambda x: [fn(x)]
                         ^^^^^
  File "/app/jobs/check.py", line 11, in check
    raise ValueError("bad record")
ValueError: bad record

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "apache_beam/runners/common.py", line 687, in apache_beam.runners.common.invoke
ValueError: bad record [while running 'Check/Map']
"""


def test_the_first_traceback_is_shown_once_and_without_beams_frames() -> None:
    messages = [Message(str(n), _WORKER) for n in range(4)] + [Message("5", "Workflow failed.")]
    assert explain(messages, {"rows": 1234, "x": 1, "files": 2}, "https://console") == (
        "Error in step 'Check/Map':\n"
        "Traceback (most recent call last):\n"
        '  File "/app/jobs/check.py", line 11, in check\n'
        '    raise ValueError("bad record")\n'
        "ValueError: bad record\n"
        "Workflow failed.\n"
        "Counters: files 2, rows 1,234, x 1\n"
        "Job: https://console"
    )


def test_a_job_without_a_message_still_has_its_page() -> None:
    assert explain([], {}, "https://console") == (
        "It has left no error message.\nJob: https://console"
    )


def gone() -> JobGoneError:
    error = JobGoneError("Dataflow has no job 1")
    error.__cause__ = http_error(404)
    return error


def test_counters_are_summed_over_steps_and_those_of_done_work_hold() -> None:
    def metric(name: str, value: object, **context: str) -> dict[str, Any]:
        named = {"origin": "user", "name": name, "context": context}
        return {"name": named, "scalar": value}

    metrics = [
        metric("rows", 3, step="a"),
        metric("rows", 4, step="b"),
        metric("rows", 9, step="a", tentative="true"),
        metric("files", 2, step="a", tentative="true"),
        {"name": {"origin": "dataflow/v1b3", "name": "TotalVcpuTime"}, "scalar": 7},
    ]
    assert user_counters(metrics) == {"rows": 7, "files": 2}
    assert format_counters({}) == ""


@pytest.mark.parametrize(
    ("error", "is_tried_again"),
    [
        (http_error(403), False),
        (http_error(404), False),
        (http_error(503), True),
        (LauncherError("google.api_core.exceptions.Forbidden: 403 GET https://…"), False),
        (LauncherError("NotFound: 404 … The specified bucket does not exist."), False),
        (LauncherError("beam_jobs.errors.UsageError: no file matches"), False),
        (LauncherError("ConnectionResetError: [Errno 104]"), True),
        (JobFailedError("The zone has no more n1-standard-1"), True),
        (JobFailedError("x@y does not have storage.objects.get access to the object"), False),
        (JobFailedError("ValueError: record 403 in 404 files"), True),
        (NoAnswerError("for 600 s"), True),
        (gone(), True),
    ],
)
def test_only_what_may_succeed_is_tried_again(error: Exception, is_tried_again: bool) -> None:
    decision = PermanentFailurePolicy().evaluate(error, 1, 3)
    assert decision.action is (RetryAction.DEFAULT if is_tried_again else RetryAction.FAIL)
    wrapped = LookupError("around it")
    wrapped.__cause__ = error
    assert PermanentFailurePolicy().evaluate(wrapped, 1, 3).action is decision.action


# Patience


def test_transient_errors_are_told_from_others() -> None:
    transient = [http_error(429), http_error(500), http_error(503), ConnectionResetError()]
    assert all(map(is_transient, [*transient, TimeoutError(), RefreshError("token")]))  # type: ignore[no-untyped-call]
    assert not any(map(is_transient, [http_error(403), http_error(400), ValueError()]))


def test_patience_ends_after_its_time_and_begins_anew_with_an_answer() -> None:
    now = [0.0]
    patience = Patience(10, clock=lambda: now[0])
    assert 0 < patience.pause(ConnectionResetError()) <= 1
    now[0] = 9
    patience.pause(ConnectionResetError())
    patience.succeeded()
    now[0] = 18
    patience.pause(ConnectionResetError())
    now[0] = 28
    with pytest.raises(NoAnswerError, match="10 s"):
        patience.pause(ConnectionResetError())
    with pytest.raises(HttpError):
        patience.pause(http_error(403))


# Finding jobs


class Jobs(DataflowJobs):
    """A Dataflow that answers from memory; what is cancelled, ends at the next look."""

    def __init__(self, *jobs: Job) -> None:
        super().__init__(cast("Any", None), "project", "region")
        self.all = {job.id: job for job in jobs}

    def named(self, name: str) -> list[Job]:
        """As the client's."""
        return [job for job in self.all.values() if job.name == name]

    def get(self, job_id: str) -> Job:
        """As the client's."""
        if (job := self.all.get(job_id)) is None:
            raise JobGoneError(job_id)
        if job.is_ending:
            self.all[job_id] = replace(job, state="JOB_STATE_CANCELLED")
        return job

    def cancel(self, job_id: str, *, drain: bool = False) -> None:
        """As the client's."""
        del drain
        self.all[job_id] = replace(self.all[job_id], state="JOB_STATE_CANCELLING")

    def counters(self, job_id: str) -> dict[str, int]:
        """As the client's."""
        return {"rows": len(job_id)}


class Store:
    """In place of Airflow's task state store."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    def get(self, key: str) -> Any:
        """As Airflow's."""
        return self.values.get(key)

    def set(self, key: str, value: Any) -> None:
        """As Airflow's."""
        self.values[key] = json.loads(json.dumps(value))


_WORK = Work("name", "mine")


def job(number: int, state: str, label: str = "mine") -> Job:
    return Job(f"j{number}", "name", f"JOB_STATE_{state}", str(number), {WORK_LABEL: label})


def found(jobs: Jobs, remembered: Remembered | None = None) -> str | None:
    memory = JobMemory(cast("Any", Store()))
    if remembered is not None:
        memory.write(remembered)
    job = find_job(jobs, _WORK, memory, 5, _LOG)
    return None if job is None else job.id


@pytest.mark.parametrize("state", ["RUNNING", "PENDING", "QUEUED", "UNKNOWN", "DONE"])
def test_a_job_that_runs_or_has_succeeded_is_found(state: str) -> None:
    assert found(Jobs(job(1, "FAILED"), job(2, state))) == "j2"


@pytest.mark.parametrize("state", ["FAILED", "CANCELLED"])
def test_a_job_that_did_not_succeed_is_none(state: str) -> None:
    assert found(Jobs(job(2, state))) is None


def test_a_job_of_a_task_before_it_was_cleared_is_ended_first() -> None:
    jobs = Jobs(job(1, "RUNNING", "other"), job(2, "DONE", "other"))
    assert found(jobs) is None
    assert jobs.all["j1"].state == "JOB_STATE_CANCELLED"


def test_a_job_that_is_being_cancelled_is_waited_for() -> None:
    jobs = Jobs(job(1, "CANCELLING"))
    assert found(jobs) is None
    assert jobs.all["j1"].is_over


def test_a_job_whose_pipeline_failed_after_it_is_not_accepted() -> None:
    remembered = Remembered("j1", "project", "region", is_refused=True)
    assert found(Jobs(job(1, "DONE")), remembered) is None
    assert found(Jobs(job(1, "DONE")), replace(remembered, is_refused=False)) == "j1"


# Watching


def test_a_job_that_vanishes_is_given_up_after_some_looks() -> None:
    watch = Watch(Jobs(), "j1", 10, Patience(600), _LOG)
    assert (watch.look(), watch.look()) == (None, None)
    with pytest.raises(JobGoneError):
        watch.look()


def test_a_streaming_job_has_to_run_unless_its_end_is_wanted() -> None:
    jobs = Jobs(replace(job(1, "RUNNING"), is_streaming=True))
    assert Watch(jobs, "j1", 10, Patience(600), _LOG).look() is not None
    assert Watch(jobs, "j1", 10, Patience(600), _LOG, until_over=True).look() is None


def test_progress_is_shown_at_each_change_and_then_calmly() -> None:
    now = [100.0]
    shown: list[dict[str, Any]] = []
    jobs = Jobs(job(1, "PENDING"))
    watch = Watch(jobs, "j1", 10, Patience(600), _LOG, show=shown.append, clock=lambda: now[0])
    watch.look()
    watch.look()
    jobs.all["j1"] = job(1, "RUNNING")
    watch.look()
    now[0] += 59
    watch.look()
    assert [one["state"] for one in shown] == ["pending", "running"]
    now[0] += 1
    watch.look()
    assert [one["state"] for one in shown] == ["pending", "running", "running"]
    assert (shown[0]["job_id"], shown[0]["counters"]) == ("j1", {"rows": 2})


def test_a_trigger_shows_progress_as_its_tasks_xcom_and_goes_on_if_airflow_does_not_take_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Awaited, "jobs", lambda _: Jobs(job(1, "DONE")))
    pushed: list[Any] = []

    def refused(**xcom: Any) -> None:
        pushed.append(xcom)
        raise AirflowRuntimeError(ErrorResponse(error=ErrorType.API_SERVER_ERROR))

    monkeypatch.setattr(XCom, "set", refused)
    trigger = BeamJobTrigger(asdict(Awaited("j1", "project", "region", "connection", every=0)))
    place = {"dag_id": "dag", "task_id": "task", "run_id": "run", "map_index": 3}
    trigger.task_instance = cast("Any", SimpleNamespace(**place))

    async def run() -> dict[str, Any]:
        payload: dict[str, Any] = (await anext(trigger.run())).payload
        return payload

    assert asyncio.run(run())["error"] is None
    (xcom,) = pushed
    assert xcom.items() >= {**place, "key": "job_progress"}.items()
    assert xcom["value"]["state"] == "done"


def fired(jobs: Jobs, monkeypatch: pytest.MonkeyPatch, **how: Any) -> dict[str, Any]:
    """What a trigger ends with."""
    monkeypatch.setattr(Awaited, "jobs", lambda _: jobs)

    async def run() -> dict[str, Any]:
        awaited = Awaited("j1", "project", "region", "connection", **how)
        payload: dict[str, Any] = (await anext(BeamJobTrigger(asdict(awaited)).run())).payload
        return payload

    return asyncio.run(run())


def test_a_trigger_whose_task_has_no_more_time_ends_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = Jobs(job(1, "RUNNING"))
    event = fired(jobs, monkeypatch, deadline=time.time() - 1)
    assert jobs.all["j1"].state == "JOB_STATE_CANCELLED"
    with pytest.raises(AirflowTaskTimeout, match="j1 was cancelled"):
        operator(tmp_path, "").execute_complete(context(), event)


def test_a_trigger_without_answers_fails_the_task_and_leaves_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = Jobs(job(1, "RUNNING"))

    def get(_: str) -> Job:
        raise http_error(503)

    monkeypatch.setattr(jobs, "get", get)
    event = fired(jobs, monkeypatch, every=0, patience=0)
    assert jobs.all["j1"].state == "JOB_STATE_RUNNING"
    with pytest.raises(AirflowException, match="may still run") as caught:
        operator(tmp_path, "").execute_complete(context(), event)
    assert PermanentFailurePolicy().evaluate(caught.value, 1, 3).action is RetryAction.DEFAULT


# Processes


def launch(code: str) -> Launcher:
    return Launcher([sys.executable, "-c", code])


def test_much_output_that_is_no_text_is_read_to_its_end() -> None:
    launcher = launch(
        "import sys; sys.stdout.write('x' * 200_000); sys.stdout.flush();"
        r"sys.stdout.buffer.write(b'\xff\n'); sys.stderr.write('why\n'); sys.exit(3)"
    )
    said = list(launcher.lines())
    assert (launcher.wait(), launcher.said_last) == (3, "why")
    assert sum(line.count("x") for line in said) == 200_000
    assert any("\ufffd" in line for line in said)


_FAMILY = (
    "import subprocess, sys, time;"
    "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
    "print(p.pid, flush=True); time.sleep(600)"
)


def is_gone(pid: int) -> bool:
    for _ in range(100):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False


def test_killing_a_process_kills_what_it_has_started() -> None:
    launcher = launch(_FAMILY)
    pid = int(next(launcher.lines()))
    launcher.kill()
    assert launcher.status is not None
    assert is_gone(pid)


def test_a_process_ends_with_a_task_that_is_lost() -> None:
    code = (
        "from tallyflow.launcher import Launcher; import sys\n"
        f"for line in Launcher([sys.executable, '-c', {_FAMILY!r}]).lines():\n"
        "    print(line, flush=True)"
    )
    task = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": f"{_ROOT}:{_ROOT}/plugins"},
    )
    assert task.stdout is not None
    with task.stdout as said:
        pid = int(said.readline())
        task.kill()
        task.wait()
    assert is_gone(pid)


# The operator with a runner on this machine


def operator(tmp_path: Path, code: str, **kwargs: Any) -> BeamJobOperator:
    pipeline = tmp_path / "pipeline.py"
    pipeline.write_text(code)
    return BeamJobOperator(
        task_id="task", py_file=str(pipeline), py_interpreter=sys.executable, **kwargs
    )


def test_a_local_pipeline_runs_in_the_task_also_where_it_might_be_deferred(tmp_path: Path) -> None:
    code = f"import sys; open({str(tmp_path / 'said')!r}, 'w').write(str(sys.argv[1:]))"
    running = context(3)
    assert operator(tmp_path, code, deferrable=True).execute(running) is None
    said = ast.literal_eval((tmp_path / "said").read_text())
    version = airflow.__version__.replace(".", "-").replace("+", "-")
    assert said == ["--runner=DirectRunner", f"--labels=airflow-version=v{version}"]
    assert running["ti"].pushed == {"job_try": 3}


def test_a_wrong_call_is_not_tried_again_and_a_failure_is(tmp_path: Path) -> None:
    with pytest.raises(AirflowFailException, match=r"(?s)status 2.*no such option"):
        operator(
            tmp_path, "import sys; print('no such option', file=sys.stderr); sys.exit(2)"
        ).execute(context())
    with pytest.raises(LauncherError, match=r"(?s)status 1.*ZeroDivisionError"):
        operator(tmp_path, "1 / 0").execute(context())


def test_a_local_pipeline_is_killed_with_its_task(tmp_path: Path) -> None:
    task = operator(
        tmp_path,
        _FAMILY.replace(
            "print(p.pid,", "open(sys.argv[0] + '.pid', 'w').write(str(p.pid)); print(p.pid,"
        ),
    )
    previous = signal.signal(signal.SIGALRM, lambda *_: task.on_kill())
    signal.setitimer(signal.ITIMER_REAL, 1)
    try:
        with pytest.raises(Exception, match="was killed"):
            task.execute(context())
    finally:
        signal.signal(signal.SIGALRM, previous)
    assert is_gone(int((tmp_path / "pipeline.py.pid").read_text()))


def test_a_policy_of_the_users_own_holds(tmp_path: Path) -> None:
    assert isinstance(operator(tmp_path, "").retry_policy, PermanentFailurePolicy)
    policy = PermanentFailurePolicy()
    task = operator(tmp_path, "", retry_policy=policy, execution_timeout=timedelta(hours=1))
    assert task.retry_policy is policy
