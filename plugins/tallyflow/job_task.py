"""The task that runs one of our jobs, where the settings say."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from beam_jobs.datasets.dataset_parts import DataflowOverrides
from tallyflow.beam_job import BeamJobOperator
from tallyflow.settings import Settings
from tallyflow.worker_package import build_wheel

if TYPE_CHECKING:
    import jinja2
    from airflow.sdk import Context


def job_task(
    task_id: str,
    job: str,
    settings: Settings,
    *,
    job_name: str,
    options: Callable[[Context], dict[str, Any]],
    pre_execute: Callable[[Context], None],
    doc_md: str | None = None,
    overrides: DataflowOverrides | None = None,
) -> BeamJobOperator:
    """The task of a DAG that runs ``python -m beam_jobs.<job>``.

    Args:
        task_id: Of the task.
        job: The module.
        settings: Where it runs.
        job_name: What people call the job on Dataflow (templated).
        options: Makes the job's options when the task runs. A function and not templates: what was
            typed into a form reaches the job as it is, each as the value of one ``--option=value``.
        pre_execute: What the task does first.
        doc_md: Of the task.
        overrides: What its job needs on Dataflow other than those of all.
    """

    def pipeline_options(context: Context, jinja_env: jinja2.Environment) -> dict[str, Any]:  # noqa: ARG001
        return options(context)

    return BeamJobOperator(
        task_id=task_id,
        doc_md=doc_md,
        pre_execute=pre_execute,
        pool=settings.pool,
        runner=settings.runner,
        py_interpreter=sys.executable,
        py_options=["-m"],
        py_file=f"beam_jobs.{job}",
        default_pipeline_options=settings.default_pipeline_options(overrides),
        pipeline_options=pipeline_options,
        job_page=settings.job_page,
        worker_package=build_wheel if settings.makes_package else None,
        template=settings.template(job),
        dataflow_config=settings.dataflow_config(job_name),
    )
