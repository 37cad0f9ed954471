"""The DAGs that run one job over the files of a form, whenever someone fills it in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG, Param

from tallyflow import alerts
from tallyflow.job_task import job_task
from tallyflow.partitions import label
from tallyflow.runs import MAX_ACTIVE_RUNS, refuse_unknown_fields
from tallyflow.settings import Settings

if TYPE_CHECKING:
    from airflow.sdk import Context


def form_dag(
    job: str,
    task_id: str,
    settings: Settings,
    *,
    description: str,
    documentation: str,
    fields: Mapping[str, Param],
    options: Callable[[Mapping[str, Any]], dict[str, Any]],
) -> DAG:
    """A DAG of one task, which runs only when it is triggered; it has the name of its job.

    Args:
        job: The module of `beam_jobs`.
        task_id: Of its task.
        settings: Where the job runs.
        description: Of the DAG, in a line.
        documentation: What its page says.
        fields: The form's, between the one for the files and the one for the output.
        options: The job's options from the filled in form, those of these two left out.
    """

    def job_options(context: Context) -> dict[str, Any]:
        form, run = context["params"], context["dag_run"]
        output = form["output"]
        return {
            "input": settings.locate(form["pattern"]),
            **options(form),
            **({} if output is None else {"output": settings.locate_output(output)}),
            "labels": {"dag": label(run.dag_id), "run": label(run.run_id)},
        }

    with DAG(
        dag_id=job,
        description=description,
        doc_md=documentation,
        schedule=None,
        max_active_runs=MAX_ACTIVE_RUNS,
        tags=[task_id, "on-demand"],
        default_args={"owner": "data-platform", "retries": 1},
        on_failure_callback=alerts.run_failed,
        params={"pattern": _files(), **fields, "output": _output(settings)},
    ) as dag:
        job_task(
            task_id,
            job,
            settings,
            job_name=job.replace("_", "-") + "-{{ dag_run.run_after.strftime('%Y%m%d-%H%M%S') }}",
            options=job_options,
            pre_execute=refuse_unknown_fields,
        )
    return dag


def _files() -> Param:
    return Param(
        "flights/date=2013-01-01/*.csv",
        type="string",
        pattern=r"\S",
        title="Files",
        description_md="Which files: a pattern with `*`, below the storage root, or a `gs://` URL.",
    )


def _output(settings: Settings) -> Param:
    return Param(
        None,
        # A job on Dataflow cannot print: there the field has to be filled in.
        type=["null", "string"] if settings.runner == "DirectRunner" else "string",
        # A path or an object in a bucket, but no other URL; with a name before its ending.
        pattern=r"^(gs://[^/]+/|(?!.*://)).*[^/]\.(csv|jsonl|parquet)$",
        title="Output file",
        description_md="Where the result goes: a path as above that ends in `.csv`, `.jsonl` or "
        "`.parquet`. Empty (not on Dataflow): a table in the task's log.",
    )
