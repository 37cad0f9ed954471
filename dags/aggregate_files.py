"""The DAG ``aggregate_files``: a query over some files, from a form in Airflow's UI."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from airflow.sdk import Param

from beam_jobs.formats.formats import FormatName
from tallyflow.forms import form_dag
from tallyflow.settings import Settings

DOCUMENTATION = """\
Runs one SQL query over the files that match a pattern. Trigger it and fill in the form; paths are
below the storage root, or `gs://` URLs.

The query aggregates the table `input`, in DuckDB's SQL. It reads the files of the pattern and no
others, whatever it says. Without an output file the result is in the log of the task `aggregate`.
From a shell:
`python -m beam_jobs.aggregate_files --input='data/flights/date=2013-01-*/*.csv' --query='SELECT …'`
"""


def job_options(form: Mapping[str, Any]) -> dict[str, str]:
    """The query, and the format if one was chosen."""
    file_format = {} if form["format"] is None else {"format": form["format"]}
    return {"query": form["query"], **file_format}


form_dag(
    "aggregate_files",
    "aggregate",
    Settings.from_environ(),
    description="Runs a SQL query over the files of your choice",
    documentation=DOCUMENTATION,
    fields={
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
    },
    options=job_options,
)
