"""What Airflow has to know of Tallyflow beside its DAGs."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin

from tallyflow.ready_by import ReadyBy


class TallyflowPlugin(AirflowPlugin):
    """Registers the deadlines of datasets, which the scheduler computes."""

    name = "tallyflow"
    deadline_references = [ReadyBy]  # noqa: RUF012 - as Airflow declares it
