"""Loads the plugins and the DAGs as Airflow does and describes them; run in a process of its own.

Reads runs (`Run`) by name from stdin and writes a `Description`, both JSON, to the file that is its
argument. The environment says which folders and settings; there need be no database.
"""

from __future__ import annotations

import contextlib
import copy
import json
import shlex
import sys
import tempfile
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import TypedDict
from unittest import mock

from airflow.dag_processing.dagbag import DagBag
from airflow.plugins_manager import ensure_plugins_loaded
from airflow.providers.apache.beam.operators.beam import BeamRunPythonPipelineOperator
from airflow.sdk import DAG
from airflow.sdk.api.datamodels._generated import TIRunContext
from airflow.sdk.exceptions import AirflowException, AirflowFailException, ParamValidationError
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

from beam_jobs.errors import UsageError

# Another DAG file, so that what Airflow imports for the first one it loads does not count as ours.
OTHER_DAG = """\
from airflow.sdk import DAG, CronDataIntervalTimetable, Param
DAG("other", schedule=CronDataIntervalTimetable("@daily", "UTC"), params={"param": Param(1)})
"""

# Stands in for a task's Python: it writes down what it is to run, and fails, so that the operator
# does not go on to wait for a job on Dataflow. With -c it is asked for Beam's version.
RECORDER = """\
#!/bin/sh
if [ "$1" = -c ]; then echo 2.77.0; exit; fi
printf '%s\\0' "$@" > {record}
exit 1
"""


class Run(TypedDict):
    """A run of a DAG: what its form says, its data interval (None: it has none), its start."""

    dag_id: str
    form: dict[str, object]
    interval: tuple[str, str] | None
    run_after: str


class DagDescription(TypedDict):
    """A DAG.

    Attributes:
        max_active_runs: How many of its runs there are at a time.
        params: Description and type of each field of its form.
        tasks: Operator, owner and retries of each task.
    """

    description: str | None
    documentation: str | None
    tags: list[str]
    max_active_runs: int
    params: dict[str, tuple[str | None, object]]
    tasks: dict[str, tuple[str, str, int | None]]


class Description(TypedDict):
    """Both folders.

    Attributes:
        errors: Import errors by file.
        modules: Those that were imported for them, beside Airflow and the Beam operator.
        seconds: CPU time of loading them.
        count: Number of DAGs in its files; more than there are ids if two have the same.
        dags: The DAGs by id.
        commands: By the name of the run, what its Beam task passes to Python.
        refusals: By the name of the run, why Airflow or the task does not take its form.
    """

    errors: dict[str, str]
    modules: list[str]
    seconds: float
    count: int
    dags: dict[str, DagDescription]
    commands: dict[str, list[str]]
    refusals: dict[str, str]


def describe_folder(runs: dict[str, Run]) -> Description:
    """Loads the folders."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "airflow_dag.py").write_text(OTHER_DAG)
        DagBag(folder)
    known = set(sys.modules)
    start = time.process_time()
    ensure_plugins_loaded()
    bag = DagBag()
    seconds = time.process_time() - start
    commands, refusals = {}, {}
    for name, run in runs.items():
        try:
            commands[name] = command(copy.deepcopy(bag.dags[run["dag_id"]]), run)
        except (ParamValidationError, AirflowFailException, UsageError) as error:
            refusals[name] = str(error)
    return Description(
        seconds=seconds,
        modules=sorted(set(sys.modules) - known),
        errors=bag.import_errors,
        count=sum(file.dag_num for file in bag.dagbag_stats),
        dags={dag_id: describe(dag) for dag_id, dag in bag.dags.items()},
        commands=commands,
        refusals=refusals,
    )


def describe(dag: DAG) -> DagDescription:
    """Describes a DAG, its form and its tasks."""
    params = {name: dag.params.get_param(name) for name in dag.params}
    return DagDescription(
        description=dag.description,
        documentation=dag.doc_md,
        tags=sorted(dag.tags),
        max_active_runs=dag.max_active_runs,
        params={
            name: (param.description or param.schema.get("description_md"), param.schema["type"])
            for name, param in params.items()
        },
        tasks={task.task_id: (task.task_type, task.owner, task.retries) for task in dag.tasks},
    )


def command(dag: DAG, run: Run) -> list[str]:
    """What a run's Beam task executes: rendered by Airflow, put together by operator and hook."""
    (task,) = (one for one in dag.tasks if isinstance(one, BeamRunPythonPipelineOperator))
    start, end = map(_utc, run["interval"]) if run["interval"] else (None, None)
    dag_run: dict[str, object] = {
        "dag_id": dag.dag_id,
        "run_id": "manual__1",
        "logical_date": start,
        "data_interval_start": start,
        "data_interval_end": end,
        "run_after": _utc(run["run_after"]),
        "start_date": None,
        "end_date": None,
        "run_type": "manual",
        "state": "running",
        "conf": run["form"],
        "consumed_asset_events": [],
        "partition_key": None,
    }
    instance = RuntimeTaskInstance.model_construct(  # type: ignore[call-arg]  # has no bundle
        id=uuid.uuid4(),
        task_id=task.task_id,
        dag_id=dag.dag_id,
        run_id="manual__1",
        try_number=1,
        map_index=-1,
        task=task,
    )
    instance._ti_context_from_server = TIRunContext.model_validate(
        {"dag_run": dag_run, "max_tries": 0}
    )
    # The task's XComs go to Airflow's database, of which there is none.
    object.__setattr__(instance, "xcom_push", lambda **_: None)
    context = instance.get_template_context()
    instance.render_templates(context)
    assert task._pre_execute_hook is not None
    task._pre_execute_hook(context)
    with tempfile.TemporaryDirectory() as folder:
        recorder, record = Path(folder) / "python", Path(folder) / "record"
        recorder.write_text(RECORDER.format(record=shlex.quote(str(record))))
        recorder.chmod(0o700)
        task.py_interpreter = str(recorder)
        # Dataflow is not asked whether there is a job of an earlier try.
        with (
            contextlib.suppress(AirflowException),
            mock.patch("tallyflow.beam_job.find_job", return_value=None),
        ):
            task.execute(context)
        return record.read_text().removesuffix("\0").split("\0")


def _utc(time_of_run: str) -> datetime:
    return datetime.fromisoformat(time_of_run).replace(tzinfo=UTC)


if __name__ == "__main__":
    # To a file, since Airflow logs to stdout.
    Path(sys.argv[1]).write_text(json.dumps(describe_folder(json.load(sys.stdin))))
