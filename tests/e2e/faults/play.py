"""One run of the task that launches a job: what can be done to it, and what is seen of it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import psutil

from demo.airflow_client import Run
from local_cloud.loopback import call
from tests.e2e.faults.stand import Stand, until

Who = Literal["ours", "theirs"]
_OVER = {"success", "failed", "skipped", "upstream_failed"}
# Generous: a run waits for its turn where many run at once.
PATIENCE = 240.0
# A job that still runs so long after its task has ended is left running.
LEFT_SECONDS = 15.0


@dataclass(frozen=True)
class Settings:
    """How a run is started.

    Attributes:
        deferred: Whether the operator defers.
        is_limited: Whether the task has an ``execution_timeout``.
        is_held_back: Whether the pipeline waits before it submits its job.
        fails: Whether the job fails, until it is said to be sane.
        region: Where the job runs: a fault in the creation of jobs is told from others by it.
    """

    deferred: bool = False
    is_limited: bool = False
    is_held_back: bool = False
    fails: bool = False
    region: str = "us-central1"


@dataclass(frozen=True)
class Seen:
    """What has become of a run, at its end or when it has got over a fault.

    Attributes:
        jobs: The states of all its jobs, the oldest first.
        task: The state of the task.
        sums: What the jobs have written.
        tries: How often the task was tried.
        seconds: From the fault until the task waited for its job again, or ended.
    """

    jobs: tuple[str, ...]
    task: str | None
    sums: tuple[int, ...]
    tries: int
    seconds: float

    @property
    def active(self) -> int:
        """How many jobs run."""
        return sum(state in {"PENDING", "RUNNING", "QUEUED", "CANCELLING"} for state in self.jobs)


@dataclass(eq=False)
class Play:
    """A run of one of the stand's DAGs.

    Attributes:
        stand: Where.
        name: Of the run's jobs, without the operator's suffix.
        who: Whose operator.
        settings: How it is started.
        task_id: The task that launches the jobs.
    """

    stand: Stand
    name: str
    who: Who
    settings: Settings
    task_id: str = "launch"
    _run: Run = field(init=False)
    _try: int = field(default=0, init=False)
    _lost_triggerer: int | None = field(default=None, init=False)
    _since: float = field(default=0, init=False)

    def start(self) -> None:
        """Triggers the run."""
        kind = "deferred" if self.settings.deferred else "waiting"
        dag_id = f"{self.who}_{kind}{'_limited' if self.settings.is_limited else ''}"
        form = {
            "name": self.name,
            **{key: value for key, value in asdict(self.settings).items() if key in _FORM},
        }
        self.start_dag(dag_id, form)

    def start_dag(self, dag_id: str, form: Mapping[str, object]) -> None:
        """Triggers a run of any DAG with a task that launches a job."""
        self._run = self.stand.airflow.trigger(dag_id, form)
        self._since = time.monotonic()

    # What is there

    def task(self) -> dict[str, Any]:
        """The task: its state, try_number, pid and triggerer."""
        found = self.stand.row(
            "SELECT ti.state, ti.try_number, ti.pid, t.triggerer_id AS triggerer "
            "FROM task_instance ti LEFT JOIN trigger t ON t.id = ti.trigger_id "
            "WHERE ti.dag_id = %s AND ti.run_id = %s AND ti.task_id = %s",
            *(self._run.dag_id, self._run.run_id, self.task_id),
        )
        return found or {"state": None, "try_number": 0, "pid": None, "triggerer": None}

    def knows_job(self) -> bool:
        """Whether this try of the task has said which job it is."""
        # What an earlier try has said is there until this one has begun.
        found = self.stand.row(
            "SELECT x.key FROM xcom x JOIN task_instance ti "
            "ON (x.dag_id, x.run_id, x.task_id) = (ti.dag_id, ti.run_id, ti.task_id) "
            "WHERE x.key = 'dataflow_job_id' AND x.timestamp > ti.start_date "
            "AND ti.dag_id = %s AND ti.run_id = %s AND ti.task_id = %s",
            *(self._run.dag_id, self._run.run_id, self.task_id),
        )
        return found is not None

    def process(self) -> psutil.Process:
        """The process of the task; Airflow's supervisor of it is its parent."""
        return psutil.Process(int(self.task()["pid"]))

    def seen(self) -> Seen:
        """What is to be seen now."""
        task = self.task()
        return Seen(
            jobs=tuple(job.state for job in self.stand.jobs(self.name)),
            task=task["state"],
            sums=tuple(self.stand.sums(self.name)),
            tries=int(task["try_number"]),
            seconds=self.since(),
        )

    # What is waited for

    def wait(self, what: Callable[[], Any], why: str, pause: float = 0.5) -> Any:
        """Waits until something is there.

        Raises:
            TimeoutError: It has not come.
        """

        def tolerant() -> Any:
            # Airflow's API may be down, by a fault.
            with contextlib.suppress(Exception):
                return what()

        try:
            return until(tolerant, PATIENCE, f"{self.name}: {why}", pause)
        except TimeoutError as error:
            raise TimeoutError(f"{error}; {self.seen()}") from None

    def until_job(self) -> None:
        """Waits until a job of the run is there."""
        self.wait(lambda: self.stand.jobs(self.name), "a job")

    def until_launcher(self) -> None:
        """Waits until this try's pipeline runs, which may be held back."""
        self.wait(self._has_launcher, "a launcher")

    def _has_launcher(self) -> bool:
        family = {child.pid for child in self.process().children(recursive=True)}
        return any(found.pid in family for found in self.stand.launchers(self.name))

    def until_it_waits(self) -> None:
        """Waits until a new try of the task waits for its job, or the task has ended."""
        self.wait(self._waits, "a task that waits")

    def _waits(self) -> bool:
        task = self.task()
        if task["state"] in _OVER:
            return True
        if task["try_number"] <= self._try or not self.knows_job():
            return False
        if self.settings.deferred:
            return task["state"] == "deferred" and task["triggerer"] is not None
        return bool(task["state"] == "running")

    def until_it_has_got_over(self, *, in_the_same_try: bool) -> None:
        """Waits until the task waits for a job after a fault, or has ended.

        A new try whose pipeline is held back waits for none, but is at work too.
        """
        if in_the_same_try:
            self.wait(self._is_at_work, "a task that is at work")
        else:
            self.wait(lambda: self._waits() or self._is_held_back_again(), "another try")
        self._try = 0

    def _is_at_work(self) -> bool:
        task = self.task()
        if task["state"] == "deferred":
            return task["triggerer"] not in {None, self._lost_triggerer}
        return task["state"] in {"running", *_OVER}

    def _is_held_back_again(self) -> bool:
        if not self.settings.is_held_back:
            return False
        is_new = self.task()["try_number"] > self._try and self.task()["state"] == "running"
        return is_new and not self.stand.jobs(self.name) and self._has_launcher()

    def until_done(self) -> None:
        """Waits until the newest job has ended."""
        self.wait(lambda: not self.stand.jobs(self.name)[-1].is_active, "a job's end")

    def until_over(self, *, is_held: bool = False) -> Seen:
        """Waits for the end of the task, and of its jobs: those of an ended task for a while only.

        Args:
            is_held: Whether the pipelines go on only after that, so that what is left running
                runs indeed.
        """
        if not is_held:
            self.go_on()
        self.wait(lambda: self.task()["state"] in _OVER, "the task's end")
        seconds = self.since()
        with contextlib.suppress(TimeoutError):
            until(lambda: not self.seen().active, LEFT_SECONDS, "")
        found = replace(self.seen(), seconds=seconds)
        self.go_on()
        return found

    def since(self) -> float:
        """Seconds since the fault."""
        return round(time.monotonic() - self._since, 1)

    # What is done

    def go_on(self) -> None:
        """Lets the pipelines submit their jobs, and the jobs work."""
        self.stand.sign(self.name, "submit")
        self.stand.sign(self.name, "work")

    def begins(self, *, kills_triggerer: bool = False) -> None:
        """Notes that the next thing is the fault."""
        task = self.task()
        self._try = int(task["try_number"])
        self._lost_triggerer = task["triggerer"] if kills_triggerer else None
        self._since = time.monotonic()

    def freeze(self) -> psutil.Process:
        """Stops the task's process, so that something comes to pass that it does not notice."""
        process = self.process()
        process.send_signal(signal.SIGSTOP)
        return process

    def kill(self, process: psutil.Process | None = None, *, supervisor: bool = False) -> None:
        """Kills the task's process with SIGKILL, and Airflow's supervisor of it where asked."""
        process = process or self.process()
        parent = process.parent() if supervisor else None
        self.begins()
        for one in [parent, process]:
            if one is not None:
                os.kill(one.pid, signal.SIGKILL)

    def kill_supervisor(self) -> None:
        """Kills only Airflow's supervisor of the task: its process goes on."""
        parent = self.process().parent()
        assert parent is not None
        self.begins()
        os.kill(parent.pid, signal.SIGKILL)

    def mark(self, state: str) -> None:
        """Marks the task, as a user does on its page."""
        self.begins()
        path = f"dags/{self._run.dag_id}/dagRuns/{self._run.run_id}/taskInstances/{self.task_id}"
        self.stand.airflow.ask("PATCH", path, {"new_state": state})

    def clear(self) -> None:
        """Clears the task, as a user does on its page."""
        self.begins()
        body = {
            "dry_run": False,
            "task_ids": [self.task_id],
            "dag_run_id": self._run.run_id,
            "only_failed": False,
        }
        self.stand.airflow.ask("POST", f"dags/{self._run.dag_id}/clearTaskInstances", body)

    def end_of_run(self) -> str:
        """Waits for the end of the whole run, and returns its state."""
        return self.stand.airflow.wait_for(self._run, PATIENCE).state

    def active_job(self) -> str:
        """The job that runs; the newest where there is more than one."""
        return next(job.id for job in reversed(self.stand.jobs(self.name)) if job.is_active)

    def cancel_outside(self) -> None:
        """Cancels the job as an operator on call does: with gcloud, or by the API without it."""
        self.begins()
        job_id, region = self.active_job(), self.settings.region
        if gcloud := shutil.which("gcloud"):
            subprocess.run(
                [gcloud, "dataflow", "jobs", "cancel", job_id, f"--region={region}"],
                env=os.environ | self.stand.cloud.environment,
                check=True,
                capture_output=True,
            )
            return
        warnings.warn("gcloud is not here: the API has cancelled the job", stacklevel=2)
        place = f"v1b3/projects/{self.stand.cloud.project}/locations/{region}/jobs/{job_id}"
        wanted = {"requestedState": "JOB_STATE_CANCELLED"}
        call("PUT", f"{self.stand.cloud.dataflow_url}/{place}", wanted)

    def fault(self, method: str, **how: Any) -> None:
        """Makes the next calls of a method of Dataflow's that are about the run's job fail.

        Waits until they have, or the task has done something else than call again.
        """
        job_id = self.active_job()
        self.begins()
        self.stand.fault(f"dataflow.projects.locations.{method}", matching=job_id, **how)
        self.wait(
            lambda: (
                not self.stand.is_to_come(job_id)
                or self.task()["try_number"] > self._try
                or self.task()["state"] in {*_OVER, "up_for_retry"}
            ),
            "calls that fail",
        )


_FORM = ("is_held_back", "fails", "region")
