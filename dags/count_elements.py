"""The DAG ``count_elements``: counts what is in some files, from a form in Airflow's UI."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from airflow.sdk import DAG, Param

from tallyflow import alerts
from tallyflow.beam_job import BeamJobOperator
from tallyflow.runs import MAX_ACTIVE_RUNS, refuse_unknown_fields
from tallyflow.settings import Settings

if TYPE_CHECKING:
    import jinja2
    from airflow.sdk import Context

DOCUMENTATION = """\
Counts everything in the files that match a pattern. Trigger it and fill in the form; paths are
below the storage root, or `gs://` URLs.

Without an output file the counts are in the log of the task `count`. From a shell:
`python -m beam_jobs.count_elements --input='data/flights/date=2013-01-*/*.csv' --by=file`
"""

settings = Settings.from_environ()


def job_options(context: Context, jinja_env: jinja2.Environment) -> dict[str, str | int]:  # noqa: ARG001
    """The job's options from the form.

    A function and not templates: what the user typed reaches the job as it is, each as the value of
    one ``--option=value``, and an option that was left empty is not passed at all.
    """
    form = context["params"]
    options = {"input": settings.locate(form["pattern"]), "by": form["mode"]}
    if form["top"] is not None:
        options["top"] = form["top"]
    if form["output"] is not None:
        options["output"] = settings.locate_output(form["output"])
    return options


with DAG(
    dag_id="count_elements",
    description="Counts the files, lines, words or distinct values in files of your choice",
    doc_md=DOCUMENTATION,
    schedule=None,
    max_active_runs=MAX_ACTIVE_RUNS,
    tags=["count", "on-demand"],
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
        "mode": Param(
            "total",
            type="string",
            enum=["total", "file", "line", "word"],
            title="Count",
            description_md="`total`: everything in one row; `file`: lines and bytes of each file; "
            "`line`, `word`: each distinct value with its count, most frequent first.",
        ),
        "top": Param(
            None,
            type=["null", "integer"],
            minimum=1,
            title="Top",
            description_md="Only so many of the most frequent values. Empty: all, as it has to be "
            "for `total` and `file`, where the job refuses a number.",
        ),
        "output": Param(
            None,
            # A job on Dataflow cannot print: there the field has to be filled in.
            type=["null", "string"] if settings.runner == "DirectRunner" else "string",
            # A path or an object in a bucket, but no other URL; with a name before its ending.
            pattern=r"^(gs://[^/]+/|(?!.*://)).*[^/]\.(csv|jsonl|parquet)$",
            title="Output file",
            description_md="Where the counts go: a path as above that ends in `.csv`, `.jsonl` or "
            "`.parquet`. Empty (not on Dataflow): a table in the task's log.",
        ),
    },
) as dag:
    BeamJobOperator(
        task_id="count",
        pre_execute=refuse_unknown_fields,
        pool=settings.pool,
        runner=settings.runner,
        py_interpreter=sys.executable,
        py_options=["-m"],
        py_file="beam_jobs.count_elements",
        default_pipeline_options=settings.default_pipeline_options(),
        pipeline_options=job_options,
        dataflow_config=settings.dataflow_config(
            "count-elements-{{ dag_run.run_after.strftime('%Y%m%d-%H%M%S') }}"
        ),
    )
