"""Waits for a job of Dataflow without a worker, and ends it when the task is killed meanwhile."""

from __future__ import annotations

import asyncio
import functools
import math
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowException
from airflow.triggers.base import BaseTrigger, TriggerEvent

from tallyflow.dataflow_jobs import CALL_ERRORS, DataflowJobs, Patience
from tallyflow.job_progress import JOB_PROGRESS, Push, push_of_trigger, show
from tallyflow.job_watch import Watch, end

if TYPE_CHECKING:
    from airflow.sdk.types import Logger

# Airflow gives a trigger 30 s for it.
_END_SECONDS = 25.0


@dataclass(frozen=True)
class Awaited:
    """The job that is waited for, and how.

    Attributes:
        job_id: Its id.
        project: Its project.
        location: Its region.
        gcp_conn_id: Airflow's connection.
        impersonation_chain: As for Airflow's hooks.
        every: Seconds between two looks.
        patience: Seconds for which looks may fail.
        until_over: As for `Watch`.
        drain: Whether a streaming job is drained rather than cancelled.
        deadline: When the task's time is up, in seconds since 1970; None for never.
    """

    job_id: str
    project: str
    location: str
    gcp_conn_id: str
    impersonation_chain: str | Sequence[str] | None = None
    every: float = 10
    patience: float = 600
    until_over: bool | None = None
    drain: bool = False
    deadline: float | None = None

    def jobs(self) -> DataflowJobs:
        """The client; reads the connection."""
        # It takes seconds to import.
        from airflow.providers.google.cloud.hooks.dataflow import DataflowHook  # noqa: PLC0415

        hook = DataflowHook(
            gcp_conn_id=self.gcp_conn_id, impersonation_chain=self.impersonation_chain
        )
        return DataflowJobs(hook, self.project, self.location)

    def watch(self, jobs: DataflowJobs, log: Logger, push: Push | None) -> Watch:
        """Looks at the job until there is no more to wait for.

        Args:
            jobs: The client.
            log: Where progress is told.
            push: Of the task, where it is shown; None where there is no task.
        """
        shown = None if push is None else functools.partial(show, push, JOB_PROGRESS, log=log)
        patience = Patience(self.patience)
        return Watch(jobs, self.job_id, self.every, patience, log, self.until_over, shown)


class BeamJobTrigger(BaseTrigger):
    """Fires when the job is over, Dataflow does not answer any more, or the time is up.

    Args:
        awaited: The fields of an `Awaited`.
    """

    def __init__(self, awaited: dict[str, Any]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.awaited = awaited

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """What the triggerer makes the trigger of."""
        return "tallyflow.beam_job_trigger.BeamJobTrigger", {"awaited": self.awaited}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Waits. Calls are made in threads: only the synchronous client does as it is told.

        Not by asgiref, which does not pass on who cancels what waits for a thread: Airflow tells
        `on_kill` from a triggerer that ends by that.
        """
        awaited = Awaited(**self.awaited)
        event: dict[str, Any] = {"awaited": self.awaited, "error": None, "timed_out": False}
        try:
            event["timed_out"] = not await self._wait(awaited)
            if event["timed_out"]:
                await self._end(awaited)
        except (AirflowException, *CALL_ERRORS) as error:
            event["error"] = str(error)
        yield TriggerEvent(event)  # type: ignore[no-untyped-call]

    async def _wait(self, awaited: Awaited) -> bool:
        """Waits for the end of the job; returns whether it came in time."""
        jobs = await asyncio.to_thread(awaited.jobs)
        push = push_of_trigger(self.task_instance) if self.task_instance else None
        watch = awaited.watch(jobs, self.log, push)
        # Not at once: a task that goes on before the scheduler has heard of its being deferred is
        # taken for one that ended wrongly.
        pause = awaited.every
        while True:
            left = math.inf if awaited.deadline is None else awaited.deadline - time.time()
            if left <= 0:
                return False
            await asyncio.sleep(min(pause, left))
            if await asyncio.to_thread(watch.look) is not None:
                return True
            pause = watch.pause

    async def on_kill(self) -> None:
        """The task was cleared or marked while it waited: its job ends too."""
        await self._end(Awaited(**self.awaited))

    async def _end(self, awaited: Awaited) -> None:
        def cancel() -> None:
            end(awaited.jobs(), awaited.job_id, _END_SECONDS, drain=awaited.drain)

        self.log.info("Cancelling job %s", awaited.job_id)
        await asyncio.to_thread(cancel)
