"""Waiting for the end of a job: by a task or a trigger, which differ in how they sleep."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tallyflow.dataflow_jobs import (
    CALL_ERRORS,
    LOOK_SECONDS,
    DataflowJobs,
    Job,
    JobGoneError,
    Patience,
)
from tallyflow.job_failure import JobFailedError, explain, format_counters

if TYPE_CHECKING:
    from airflow.sdk.types import Logger

# Between two lines with counters in the task's log.
PROGRESS_SECONDS = 60.0
_FIRST_PAUSE = 1.0
# A job that was there is not forgotten for one answer that says so.
_LOOKS_UNTIL_GONE = 3


@dataclass
class Watch:
    """Looks at a job again and again, and tells of its progress.

    Attributes:
        jobs: The client.
        job_id: Which job.
        every: Seconds between two looks; the first ones come sooner.
        patience: With looks that fail.
        log: Where progress is told.
        until_over: Whether to wait for the end also of a streaming job; None for Airflow's default,
            that such a job has only to run, and False for not at all.
        show: Is given what there is to know of the job whenever it is told, if anything is.
        clock: The time in seconds.
    """

    jobs: DataflowJobs
    job_id: str
    every: float
    patience: Patience
    log: Logger
    until_over: bool | None = None
    show: Callable[[dict[str, Any]], None] | None = None
    clock: Callable[[], float] = time.monotonic
    pause: float = field(default=_FIRST_PAUSE, init=False)
    _state: str = field(default="", init=False)
    _told: str = field(default="", init=False)
    _told_at: float = field(default=0, init=False)
    _missing: int = field(default=0, init=False)

    def look(self) -> Job | None:
        """Looks once; `pause` says how many seconds to wait before the next time.

        Returns:
            The job, if there is no more to wait for; else None.

        Raises:
            NoAnswerError: Dataflow has not answered for too long.
            JobGoneError: The job is not there any more.
        """
        try:
            job = self.jobs.get(self.job_id)
        except JobGoneError:
            self._missing += 1
            if self._missing >= _LOOKS_UNTIL_GONE:
                raise
            return None
        except CALL_ERRORS as error:
            self.pause = self.patience.pause(error)
            self.log.warning("Dataflow does not answer, trying again: %s", error)
            return None
        self.patience.succeeded()
        self._missing = 0
        self.pause = min(self.every, max(_FIRST_PAUSE, self.pause * 1.5))
        self._tell(job)
        return job if self._is_enough(job) else None

    def _is_enough(self, job: Job) -> bool:
        if job.is_over or self.until_over is False:
            return True
        is_started = job.is_streaming and job.state == "JOB_STATE_RUNNING"
        return self.until_over is None and is_started

    def _tell(self, job: Job) -> None:
        if job.state != self._state:
            self._state = job.state
            self.log.info("Job %s is %s", job.id, _word(job))
        elif self.clock() - self._told_at < PROGRESS_SECONDS and not job.is_over:
            return
        self._told_at = self.clock()
        counters = counters_of(self.jobs, job.id)
        if self.show is not None:
            self.show(_progress(job, counters))
        told = format_counters(counters)
        if told and told != self._told:
            self._told = told
            self.log.info("Job %s: %s", job.id, told)


def _word(job: Job) -> str:
    return job.state.removeprefix("JOB_STATE_").lower()


def _progress(job: Job, counters: Mapping[str, int]) -> dict[str, Any]:
    """What there is to know of a job, as an XCom."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return {"job_id": job.id, "state": _word(job), "counters": dict(counters), "as_of": now}


def counters_of(jobs: DataflowJobs, job_id: str) -> Mapping[str, int]:
    """The counters of a job; none where Dataflow does not say: they are never worth a failure."""
    try:
        return jobs.counters(job_id)
    except CALL_ERRORS:
        return {}


def wait_until_over(jobs: DataflowJobs, job_id: str, seconds: float) -> Job:
    """Waits for the end of a job that was told to end.

    Raises:
        JobFailedError: It has not ended in that time.
    """
    until = time.monotonic() + seconds
    patience = Patience(seconds)
    while True:
        job = patience.keep_trying(lambda: jobs.get(job_id))
        if job.is_over:
            return job
        if time.monotonic() > until:
            raise JobFailedError(
                f"Job {job_id} was told to end, and is {job.state} after {seconds:.0f} s: "
                f"{jobs.url(job_id)}"
            )
        time.sleep(_FIRST_PAUSE)


def end(jobs: DataflowJobs, job_id: str, seconds: float, *, drain: bool = False) -> Job | None:
    """Ends a job, and waits until it is gone.

    Returns:
        The job at its end; None if there is none.

    Raises:
        JobFailedError: It has not ended in that time.
    """
    patience = Patience(seconds)
    try:
        job = patience.keep_trying(lambda: jobs.get(job_id))
        if not (job.is_over or job.is_ending):
            patience.keep_trying(lambda: jobs.cancel(job_id, drain=drain and job.is_streaming))
        return job if job.is_over else wait_until_over(jobs, job_id, seconds)
    except JobGoneError:
        return None


def failure(jobs: DataflowJobs, job: Job) -> JobFailedError:
    """The error for a job that did not succeed, with all that it says of it."""
    ended = "was cancelled" if job.state == "JOB_STATE_CANCELLED" else "failed"
    try:
        messages = Patience(LOOK_SECONDS).keep_trying(lambda: jobs.errors(job.id))
    except CALL_ERRORS as error:
        return JobFailedError(
            f"Job {job.name} {ended}. Why is unknown ({error}): {jobs.url(job.id)}"
        )
    told = explain(messages, counters_of(jobs, job.id), jobs.url(job.id))
    return JobFailedError(f"Job {job.name} {ended}.\n{told}")
