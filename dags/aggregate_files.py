"""The DAG ``aggregate_files``: a query over some files, from a form in Airflow's UI."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, get_args

from airflow.sdk import DAG, Param

from beam_jobs.formats.formats import FormatName
from tallyflow import alerts
from tallyflow.beam_job import BeamJobOperator
from tallyflow.partitions import label
from tallyflow.runs import MAX_ACTIVE_RUNS, refuse_unknown_fields
from tallyflow.settings import Settings

if TYPE_CHECKING:
    import jinja2
    from airflow.sdk import Context

DOCUMENTATION = """\
Runs one SQL query over the files that match a pattern. Trigger it and fill in the form; paths are
below the storage root, or `gs://` URLs.

The query aggregates the table `input`, in DuckDB's SQL. It reads the files of the pattern and no
others, whatever it says. Without an output file the result is in the log of the task `aggregate`.
From a shell:
`python -m beam_jobs.aggregate_files --input='data/flights/date=2013-01-*/*.csv' --query='SELECT …'`
"""

settings = Settings.from_environ()


def job_options(context: Context, jinja_env: jinja2.Environment) -> dict[str, object]:  # noqa: ARG001
    """The job's options from the form.

    A function and not templates: what the user typed reaches the job as it is, each as the value of
    one ``--option=value``, and an option that was left empty is not passed at all.
    """
    form, run = context["params"], context["dag_run"]
    options: dict[str, object] = {
        "input": settings.locate(form["pattern"]),
        "query": form["query"],
        "labels": {"dag": label(run.dag_id), "run": label(run.run_id)},
    }
    if form["format"] is not None:
        options["format"] = form["format"]
    if form["output"] is not None:
        options["output"] = settings.locate_output(form["output"])
    return options


with DAG(
    dag_id="aggregate_files",
    description="Runs a SQL query over the files of your choice",
    doc_md=DOCUMENTATION,
    schedule=None,
    max_active_runs=MAX_ACTIVE_RUNS,
    tags=["aggregate", "on-demand"],
    default_args={"owner": "data-platform", "retries": 1},
    on_failure_callback=alerts.run_failed,
    params={
        "pattern": Param(
            "flights/date=2013-01-01/*.csv",
            type="string",
            pattern=r"\S",
            title="Files",
            description_md="Which files: a pattern with `*`, below the storage root, or a "
            "`gs://` URL.",
        ),
        "query": Param(
            "SELECT origin, count(*) AS flights, avg(dep_delay) AS delay\nFROM input\n"
            "GROUP BY origin\nORDER BY origin",
            type="string",
            format="multiline",
            pattern=r"\S",
            title="Query",
            description_md="One `SELECT` that aggregates the table `input`, whose columns are "
            "those of the files, of their `name=value` folders, and `filename`.",
        ),
        "format": Param(
            None,
            type=["null", "string"],
            enum=[None, *get_args(FormatName)],
            title="Format",
            description_md="Of the files. Empty: the ending of their names says it.",
        ),
        "output": Param(
            None,
            # A job on Dataflow cannot print: there the field has to be filled in.
            type=["null", "string"] if settings.runner == "DirectRunner" else "string",
            pattern=r"^(gs://[^/]+/|(?!.*://)).*[^/]\.(csv|jsonl|parquet)$",
            title="Output file",
            description_md="Where the result goes: a path as above that ends in `.csv`, `.jsonl` "
            "or `.parquet`. Empty (not on Dataflow): a table in the task's log.",
        ),
    },
) as dag:
    BeamJobOperator(
        task_id="aggregate",
        pre_execute=refuse_unknown_fields,
        pool=settings.pool,
        runner=settings.runner,
        py_interpreter=sys.executable,
        py_options=["-m"],
        py_file="beam_jobs.aggregate_files",
        default_pipeline_options=settings.default_pipeline_options(),
        pipeline_options=job_options,
        dataflow_config=settings.dataflow_config(
            "aggregate-files-{{ dag_run.run_after.strftime('%Y%m%d-%H%M%S') }}"
        ),
    )
