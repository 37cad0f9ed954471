"""What holds for the runs of every DAG."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from airflow.sdk.exceptions import AirflowFailException

if TYPE_CHECKING:
    from airflow.sdk import Context

# Runs of one DAG at a time; the others wait. Airflow's default of 16 is too many where a run is a
# Beam process on the worker, and more Dataflow jobs than a project's quota may have room for.
MAX_ACTIVE_RUNS = 4


def refuse_unknown_fields(context: Context) -> None:
    """Fails a task, without retries, whose run was triggered with a field that its form has not.

    Airflow checks the values of the fields, but a misspelled name it passes on, and the run would
    do its work with the field's default. A ``pre_execute`` of every operator.

    Args:
        context: The task's context.

    Raises:
        AirflowFailException: Naming the first unknown field.
    """
    fields = list(context["dag"].params)
    for name in context["dag_run"].conf or {}:
        if name not in fields:
            close = difflib.get_close_matches(name, fields, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"the fields are {', '.join(fields)}"
            raise AirflowFailException(f"{name!r} is not a field of this DAG's form; {hint}")
