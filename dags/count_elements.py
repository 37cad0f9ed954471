"""The DAG ``count_elements``: counts what is in some files, from a form in Airflow's UI."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow.sdk import Param

from tallyflow.forms import form_dag
from tallyflow.settings import Settings

DOCUMENTATION = """\
Counts everything in the files that match a pattern. Trigger it and fill in the form; paths are
below the storage root, or `gs://` URLs.

Without an output file the counts are in the log of the task `count`. From a shell:
`python -m beam_jobs.count_elements --input='data/flights/date=2013-01-*/*.csv' --by=file`
"""


def job_options(form: Mapping[str, Any]) -> dict[str, str | int]:
    """What is counted, and of how many values."""
    top = {} if form["top"] is None else {"top": form["top"]}
    return {"by": form["mode"], **top}


form_dag(
    "count_elements",
    "count",
    Settings.from_environ(),
    description="Counts the files, lines, words or distinct values in files of your choice",
    documentation=DOCUMENTATION,
    fields={
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
    },
    options=job_options,
)
