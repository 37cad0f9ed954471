"""The DAG of a dataset: its files are waited for, aggregated, audited, published."""

from __future__ import annotations

import functools
from datetime import datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import (
    DAG,
    BaseOperator,
    CronDataIntervalTimetable,
    Param,
)
from airflow.sdk.definitions.callback import AsyncCallback
from airflow.sdk.definitions.deadline import DeadlineAlert
from pendulum import timezone

from beam_jobs.datasets.dataset_fields import DATE_PLACEHOLDER, HOUR_PLACEHOLDER
from beam_jobs.datasets.dataset_model import Dataset
from beam_jobs.datasets.staged_dataset import staged_url
from tallyflow import alerts, partition_tasks
from tallyflow.beam_job import JOB_TRY
from tallyflow.job_task import job_task
from tallyflow.partitions import label, partition_of
from tallyflow.ready_by import ReadyBy
from tallyflow.runs import MAX_ACTIVE_RUNS
from tallyflow.settings import Settings
from tallyflow.wait_for_files import WaitForFiles

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.sdk.definitions.mappedoperator import MappedOperator

PARTITION = "{{ partition(dag_run, params) }}"
_RUN_ID = (
    "{{ attempt_id(dag_run.run_id, "
    f"ti.xcom_pull(task_ids='aggregate', key='{JOB_TRY}', default=1)) }}}}"
)


def dataset_dag(dataset: Dataset, path: Path, settings: Settings) -> DAG:
    """The DAG ``<dataset>_daily``, or ``<dataset>_hourly``.

    Args:
        dataset: What the dataset's file says.
        path: That file, which the tasks read again: they may run on another day or machine.
        settings: Where the job runs.
    """
    with DAG(
        dag_id=f"{dataset.name}_{'hourly' if dataset.grain == 'hour' else 'daily'}",
        description=dataset.description,
        doc_md=_documentation(dataset),
        # Airflow's default for "@daily" has no data interval: a run would be dated by the day on
        # which it starts, whose files are not all there yet.
        schedule=CronDataIntervalTimetable(dataset.schedule, timezone=dataset.timezone),
        start_date=datetime.combine(dataset.start_date, time.min, timezone(dataset.timezone)),
        catchup=dataset.catchup,
        max_active_runs=MAX_ACTIVE_RUNS,
        tags=["dataset", *dataset.tags],
        default_args={"owner": dataset.owner, "retries": dataset.retries},
        params=_form(dataset),
        user_defined_macros={
            "partition": lambda dag_run, params: partition_of(dataset, dag_run, params).key,
            "attempt_id": partition_tasks.attempt_id,
        },
        on_failure_callback=alerts.run_failed,
        deadline=_deadline(dataset),
    ) as dag:
        wait = _wait_for_files(dataset, settings)
        aggregate = _aggregate(dataset, path, settings)
        arguments = {
            "path": path,
            "storage": settings.storage,
            "partition": PARTITION,
            "run_id": _RUN_ID,
        }
        audit = PythonOperator(
            task_id="audit",
            doc_md="Checks the numbers before anyone sees them: `checks` in the dataset's file.",
            python_callable=partition_tasks.audit_partition,
            op_kwargs=arguments,
        )
        publish = PythonOperator(
            task_id="publish",
            doc_md="Makes the results visible, in one step.",
            python_callable=partition_tasks.publish_partition,
            op_kwargs={**arguments, "project": settings.project},
            outlets=[
                partition_tasks.partitions_asset(dataset, dataset.grain),
                *(partition_tasks.days_asset(dataset, grain) for grain in dataset.rollups),
            ],
        )
        clean_up = PythonOperator(
            task_id="clean_up",
            doc_md="Deletes what the run wrote and did not publish, whatever happened.",
            python_callable=partition_tasks.discard_run,
            op_kwargs=arguments,
        )
        wait >> aggregate >> audit >> publish >> clean_up.as_teardown()
        if dataset.bigquery:
            publish >> _load_bigquery(settings, publish)
    return dag


def _form(dataset: Dataset) -> dict[str, Param]:
    hourly = dataset.grain == "hour"
    kind = {"pattern": r"^\d{4}-\d\d-\d\dT\d\d$"} if hourly else {"format": "date"}
    return {
        "date": Param(
            None,
            type=["null", "string"],
            title="Partition",
            description_md=f"The {dataset.grain} whose files are aggregated"
            + (", as in `2013-01-31T05`" if hourly else "")
            + f", by the clocks of {dataset.timezone}. Empty: the {dataset.grain} in which the "
            "run's data interval starts, or the last complete one if it has none.\n\n"
            f"The files: {dataset.description}",
            **kind,  # type: ignore[arg-type]  # parts of a JSON schema
        ),
        "pattern": Param(
            None,
            type=["null", "string"],
            title="Other files",
            description_md="Files to read in place of "
            f"`{dataset.pattern}`: a pattern with `*`, below the storage root, or a `gs://` URL.",
        ),
        "dry_run": Param(
            default=False,
            type="boolean",
            title="Dry run",
            description_md="Only write to the log of `aggregate` which files would be read, with "
            "which columns, and the plan of each query.",
        ),
    }


def _deadline(dataset: Dataset) -> DeadlineAlert | None:
    if dataset.ready_by is None:
        return None
    told = {"dataset": dataset.name, "ready_by": f"{dataset.ready_by} {dataset.timezone}"}
    return DeadlineAlert(
        reference=ReadyBy(dataset.ready_by, dataset.timezone),
        interval=timedelta(),
        callback=AsyncCallback(alerts.partition_is_late, kwargs=told),
        name=f"{dataset.name} ready by {dataset.ready_by}",
    )


def _wait_for_files(dataset: Dataset, settings: Settings) -> BaseOperator:
    wait = dataset.wait
    return WaitForFiles(
        task_id="wait_for_files",
        doc_md="Waits, without a worker, for the files: `wait` in the dataset's file.",
        pattern=_template(settings.locate(dataset.pattern)),
        marker=_template(settings.locate(wait.marker)) if wait and wait.marker else None,
        files=wait.files if wait else None,
        unchanged_minutes=wait.unchanged_minutes if wait else None,
        patience=timedelta(minutes=wait.timeout_minutes) if wait else None,
        when_missing=dataset.when_missing,
        locate=settings.locate,
    )


def _template(path: str) -> str:
    """A path of the dataset's file as a template of Airflow's."""
    date, hour = f"{PARTITION[:-3]}[:10] }}}}", f"{PARTITION[:-3]}[11:] }}}}"
    return path.replace(DATE_PLACEHOLDER, date).replace(HOUR_PLACEHOLDER, hour)


def _aggregate(dataset: Dataset, path: Path, settings: Settings) -> BaseOperator:
    # Where a job is launched by a template, this machine's files are not.
    is_template = settings.template("aggregate_files") is not None
    staged = settings.locate("tmp/datasets") if is_template else None

    def job_options(context: Context) -> dict[str, Any]:
        params, run = context["params"], context["dag_run"]
        partition = partition_of(dataset, run, params)
        attempt = partition_tasks.attempt_id(run.run_id, context["ti"].try_number)
        other = {"input": settings.locate(params["pattern"])} if params["pattern"] else {}
        return {
            "dataset": str(path) if staged is None else staged_url(path, staged),
            "date": partition.key,
            "storage": settings.storage,
            "run_id": attempt,
            "stage_only": True,
            **other,
            "labels": {
                "dataset": label(dataset.name),
                "dag": label(run.dag_id),
                "run": label(run.run_id),
                "partition": label(partition.key),
            },
        }

    return job_task(
        "aggregate",
        "aggregate_files",
        settings,
        job_name=f"{dataset.name}-{{{{ partition(dag_run, params) | lower }}}}",
        options=job_options,
        pre_execute=functools.partial(
            partition_tasks.begin_aggregate, path=path, settings=settings, staged=staged
        ),
        doc_md=f"Runs `python -m beam_jobs.aggregate_files --dataset={path.name} --date=…`",
        overrides=dataset.dataflow,
    )


def _load_bigquery(settings: Settings, publish: PythonOperator) -> MappedOperator:
    """One load for each aggregate; which files, only the task `publish` knows."""
    # Takes a second to import: only DAGs that load anything wait for it.
    from airflow.providers.google.cloud.operators.bigquery import (  # noqa: PLC0415
        BigQueryInsertJobOperator,
    )

    return BigQueryInsertJobOperator.partial(
        task_id="load_bigquery",
        doc_md="Loads the published results, each in place of its table's partition.",
        project_id=settings.project,
    ).expand(configuration=publish.output)


def _documentation(dataset: Dataset) -> str:
    """The dataset's file as the DAG's page in Airflow shows it."""
    aggregates = "\n".join(
        f"### {name}\n{aggregate.description or ''}\n```sql\n{aggregate.query.strip()}\n```"
        for name, aggregate in dataset.aggregates.items()
    )
    checks = "\n".join(
        f"* `{name}` ({check.severity}): `{check.condition}` {check.description or ''}"
        for name, check in dataset.checks.items()
    )
    return (
        f"{dataset.description}\n\n"
        f"**Files:** `{dataset.pattern}` below the storage root\n\n"
        f"**Results:** `python -m beam_jobs.show {dataset.name}`\n\n"
        f"## Aggregates\n{aggregates}\n" + (f"## Checks\n{checks}\n" if checks else "")
    )
