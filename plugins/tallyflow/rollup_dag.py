"""The DAG of a rollup: when all days of a week or month are published, their states are merged."""

from __future__ import annotations

from datetime import datetime, time
from pathlib import Path

from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import (
    DAG,
    MonthWindow,
    Param,
    PartitionedAssetTimetable,
    RollupMapper,
    StartOfMonthMapper,
    StartOfWeekMapper,
    WeekWindow,
)
from pendulum import timezone

from beam_jobs.datasets.dataset_model import Dataset
from beam_jobs.datasets.partition import Grain
from tallyflow import alerts, partition_tasks
from tallyflow.partitions import partition_of_rollup
from tallyflow.runs import MAX_ACTIVE_RUNS
from tallyflow.settings import Settings

_DAYS = "%Y-%m-%d"


def rollup_dag(dataset: Dataset, grain: Grain, path: Path, settings: Settings) -> DAG:
    """The DAG ``<dataset>_weekly`` or ``<dataset>_monthly``.

    It starts by itself when all days of a period are published, and again when one of them is
    published anew.

    Args:
        dataset: What the dataset's file says.
        grain: ``week`` or ``month``.
        path: That file.
        settings: Where the files are.
    """
    with DAG(
        dag_id=f"{dataset.name}_{grain}ly",
        description=f"Each {grain} of {dataset.name}, from the states of its days",
        doc_md=f"Merges the states that the days of a {grain} left, without reading their files "
        f"again. Starts when all of them are published.\n\n{dataset.description}\n\n"
        f"**Results:** `python -m beam_jobs.show {dataset.name} --period {grain}`",
        schedule=PartitionedAssetTimetable(
            assets=partition_tasks.days_asset(dataset, grain),
            default_partition_mapper=_mapper(grain),
        ),
        start_date=datetime.combine(dataset.start_date, time.min, timezone(dataset.timezone)),
        catchup=False,
        max_active_runs=MAX_ACTIVE_RUNS,
        tags=["dataset", "rollup", *dataset.tags],
        default_args={"owner": dataset.owner, "retries": dataset.retries},
        params={
            "date": Param(
                None,
                type=["null", "string"],
                title="Partition",
                pattern=r"^\d{4}-\d\d-\d\d$" if grain == "week" else r"^\d{4}-\d\d$",
                description_md=f"The {grain} to compute: "
                + ("its Monday, as in `2013-01-07`" if grain == "week" else "`2013-01`")
                + ". Empty: that whose days are published, or the last complete one.",
            )
        },
        user_defined_macros={
            "partition": lambda run, params: partition_of_rollup(dataset, grain, run, params).key
        },
        on_failure_callback=alerts.run_failed,
    ) as dag:
        PythonOperator(
            task_id="roll_up",
            doc_md=f"Runs `python -m beam_jobs.roll_up --dataset={path.name} --period={grain}`",
            python_callable=partition_tasks.roll_up_partitions,
            op_kwargs={
                "path": path,
                "storage": settings.storage,
                "grain": grain,
                "partition": "{{ partition(dag_run, params) }}",
            },
            outlets=[partition_tasks.partitions_asset(dataset, grain)],
        )
    return dag


def _mapper(grain: Grain) -> RollupMapper:
    if grain == "week":
        return RollupMapper(
            upstream_mapper=StartOfWeekMapper(input_format=_DAYS), window=WeekWindow()
        )
    return RollupMapper(
        upstream_mapper=StartOfMonthMapper(input_format=_DAYS), window=MonthWindow()
    )
