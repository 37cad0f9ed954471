"""The DAG of a dataset: every day it starts one Beam job that computes the dataset's aggregates."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, time
from pathlib import Path

from airflow.providers.apache.beam.operators.beam import BeamRunPythonPipelineOperator
from airflow.sdk import DAG, CronDataIntervalTimetable, Param

from beam_jobs.dataset_model import Dataset
from tallyflow.runs import MAX_ACTIVE_RUNS, refuse_unknown_fields
from tallyflow.settings import Settings

# The partition that a run computes. A scheduled run has a data interval, and its files are those of
# the day on which the interval starts. A run that was triggered by hand, through the API or by an
# asset may have none: then it is the last day that was complete when the run could start.
PARTITION_DATE = (
    "{{ params.date"
    " or (dag_run.data_interval_start or dag_run.run_after - macros.timedelta(days=1)) | ds }}"
)


def dataset_dag(dataset: Dataset, path: Path, settings: Settings) -> DAG:
    """The DAG ``<dataset>_daily``.

    Args:
        dataset: What the dataset's file says.
        path: That file, which the job reads again: it may run on another day or machine.
        settings: Where the job runs.
    """
    with DAG(
        dag_id=f"{dataset.name}_daily",
        description=dataset.description,
        doc_md=_documentation(dataset),
        # Airflow's default for "@daily" has no data interval: a run would be dated by the day on
        # which it starts, whose files are not all there yet.
        schedule=CronDataIntervalTimetable(dataset.schedule, timezone="UTC"),
        start_date=datetime.combine(dataset.start_date, time.min, UTC),
        catchup=dataset.catchup,
        max_active_runs=MAX_ACTIVE_RUNS,
        tags=["dataset", *dataset.tags],
        default_args={"owner": dataset.owner, "retries": dataset.retries},
        params={
            "date": Param(
                None,
                type=["null", "string"],
                format="date",
                title="Partition",
                description_md="The day whose files are aggregated. Empty: the day on which the "
                "run's data interval starts, or the last complete day (UTC) if it has none.\n\n"
                f"The files: {dataset.description}",
            )
        },
    ) as dag:
        BeamRunPythonPipelineOperator(
            task_id="aggregate",
            pre_execute=refuse_unknown_fields,
            doc_md=f"Runs `python -m beam_jobs.aggregate_files --dataset={path.name} --date=…`",
            runner=settings.runner,
            py_interpreter=sys.executable,
            py_options=["-m"],
            py_file="beam_jobs.aggregate_files",
            default_pipeline_options=settings.default_pipeline_options(),
            pipeline_options={
                "dataset": str(path),
                "date": PARTITION_DATE,
                "storage": settings.storage,
                "labels": {"dataset": dataset.name, "date": PARTITION_DATE},
            },
            dataflow_config=settings.dataflow_config(f"{dataset.name}-{PARTITION_DATE}"),
        )
    return dag


def _documentation(dataset: Dataset) -> str:
    """The dataset's file as the DAG's page in Airflow shows it."""
    aggregates = "\n".join(
        f"### {name}\n{aggregate.description or ''}\n```sql\n{aggregate.query.strip()}\n```"
        for name, aggregate in dataset.aggregates.items()
    )
    return (
        f"{dataset.description}\n\n"
        f"**Files:** `{dataset.pattern}` below the storage root\n\n"
        f"**Results:** `results/{dataset.name}/date={{date}}/<aggregate>.{dataset.output_format}`"
        " below it\n\n"
        f"## Aggregates\n{aggregates}\n"
    )
