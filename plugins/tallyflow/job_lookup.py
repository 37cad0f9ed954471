"""Finding the job that an earlier try of a task has launched, so that there is never a second."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowException

from tallyflow.dataflow_jobs import (
    CALL_ERRORS,
    LOOK_SECONDS,
    DataflowJobs,
    Job,
    JobGoneError,
    NoAnswerError,
    Patience,
)
from tallyflow.job_options import WORK_LABEL, Work
from tallyflow.job_watch import end

if TYPE_CHECKING:
    from airflow.sdk.execution_time.context import TaskStateStoreAccessor
    from airflow.sdk.types import Logger

_KEY = "dataflow_job"


class LookUpError(AirflowException):
    """Whether there is a job already could not be found out, so that none was launched."""


@dataclass(frozen=True)
class Remembered:
    """What a task's state store says of its last job.

    Attributes:
        job_id: Its id.
        project: Its project.
        location: Its region.
        is_refused: Whether the pipeline failed after the job had succeeded.
    """

    job_id: str
    project: str
    location: str
    is_refused: bool = False


@dataclass(frozen=True)
class JobMemory:
    """A task's job in Airflow's state store, which all tries of the task share.

    Attributes:
        store: Airflow's; None where there is none, as in a test: then the job's name has to do.
    """

    store: TaskStateStoreAccessor | None

    def read(self) -> Remembered | None:
        """The job; None if there was none."""
        found: Any = None if self.store is None else self.store.get(_KEY)
        return Remembered(**found) if isinstance(found, dict) else None

    def write(self, remembered: Remembered) -> None:
        """Keeps a job in mind, in place of an earlier one."""
        if self.store is not None:
            self.store.set(_KEY, asdict(remembered))

    def refuse(self) -> None:
        """Takes notice that the work is not done, though the job is."""
        if (remembered := self.read()) is not None:
            self.write(replace(remembered, is_refused=True))


def find_job(
    jobs: DataflowJobs, work: Work, memory: JobMemory, seconds: float, log: Logger
) -> Job | None:
    """The job of an earlier try: one that is active, or has succeeded.

    What is active of other work of the task, from before it was cleared, is cancelled; that, and
    what is being cancelled already, is gone when this returns.

    Args:
        jobs: The client, where a job would be launched.
        work: What the task has to do.
        memory: Of the task.
        seconds: How long to wait for the end of a job.
        log: Where it is told what was found.

    Raises:
        LookUpError: Dataflow does not say.
        JobFailedError: A job that had to end has not.
    """
    remembered = memory.read()
    try:
        known = list(_known(jobs, work, remembered))
        ended: list[Job] = []
        for client, job in known:
            is_ours = job.labels.get(WORK_LABEL) == work.label
            if is_ours and not (job.is_over or job.is_ending):
                log.info("Job %s of an earlier try is %s: waiting for it", job.id, job.state)
                return job
            if not job.is_over:
                log.warning("Job %s is in the way, and is ended first: %s", job.id, job.state)
            over = job if job.is_over else end(client, job.id, seconds)
            if is_ours and over is not None:
                ended.append(over)
    except (NoAnswerError, *CALL_ERRORS) as error:
        raise LookUpError(
            f"Whether job {work.job_name} exists is unknown, so none was launched: {error}"
        ) from error
    newest = max(ended, key=lambda job: job.created, default=None)
    if newest is None:
        return None
    is_refused = remembered is not None and remembered == Remembered(
        newest.id, remembered.project, remembered.location, is_refused=True
    )
    if newest.is_good and not is_refused:
        log.info("Job %s of an earlier try has succeeded", newest.id)
        return newest
    log.info("Job %s of an earlier try is %s: launching another", newest.id, newest.state)
    return None


def _known(
    jobs: DataflowJobs, work: Work, remembered: Remembered | None
) -> Iterator[tuple[DataflowJobs, Job]]:
    """Yields the jobs that may be the task's, each with a client for it."""
    patience = Patience(LOOK_SECONDS)
    named = patience.keep_trying(lambda: jobs.named(work.job_name))
    yield from ((jobs, job) for job in named)
    if remembered is None or remembered.job_id in {job.id for job in named}:
        return
    # A job that was just created may be in no list yet; or it is where jobs were launched before.
    there = DataflowJobs(jobs.hook, remembered.project, remembered.location)
    try:
        yield there, patience.keep_trying(lambda: there.get(remembered.job_id))
    except JobGoneError:
        return
