"""Where Airflow's pages of a task show its job: a link to the job's page, and XComs."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from airflow.sdk import BaseOperatorLink
from airflow.sdk.exceptions import AirflowRuntimeError
from airflow.sdk.execution_time.xcom import XCom

if TYPE_CHECKING:
    from airflow.models import TaskInstance
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import Logger, TaskInstanceKey

# XCom: what `tallyflow.job_watch` tells of the job, from its start to its end.
JOB_PROGRESS = "job_progress"


class Push(Protocol):
    """What pushes an XCom of a task."""

    def __call__(self, *, key: str, value: Any) -> None:
        """Pushes it."""


class JobPage(BaseOperatorLink):
    """The button to the job's page, there from the moment that there is a job.

    The provider's own has no URL before the task's process ends, and leads nowhere until then.
    """

    name: ClassVar[str] = "Dataflow Job"
    key: ClassVar[str] = "dataflow_job_page"

    @property
    def xcom_key(self) -> str:
        """Where Airflow's API server, and the task at its end, find the URL."""
        return self.key

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002
        """The URL; empty if there was no job."""
        return XCom.get_value(key=self.key, ti_key=ti_key) or ""


def push_of_trigger(task_instance: TaskInstance) -> Push:
    """What pushes XComs of a task that is deferred, as `xcom_push` does in one that runs."""
    return functools.partial(
        XCom.set,
        dag_id=task_instance.dag_id,
        task_id=task_instance.task_id,
        run_id=task_instance.run_id,
        map_index=task_instance.map_index,
    )


def show(push: Push, key: str, value: Mapping[str, Any], log: Logger) -> None:
    """Pushes an XCom for people to see: that Airflow does not take it is no reason to fail."""
    try:
        push(key=key, value=value)
    except AirflowRuntimeError as error:
        log.warning("Airflow does not take the XCom %s: %s", key, error)
