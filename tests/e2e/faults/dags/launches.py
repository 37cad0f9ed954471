"""One task that launches a job of Dataflow, with our operator and with the provider's.

Each DAG is that task with other settings; its form says which job it launches.
"""

from __future__ import annotations

import itertools
import os
import sys
from datetime import timedelta

from airflow.providers.apache.beam.operators.beam import BeamRunPythonPipelineOperator
from airflow.sdk import DAG

from tallyflow.beam_job import BeamJobOperator

_OPERATORS = {"ours": BeamJobOperator, "theirs": BeamRunPythonPipelineOperator}
_SECONDS = {"": None, "_limited": int(os.environ["FAULTS_LIMIT_SECONDS"])}

for (who, operator), deferrable, (limited, seconds) in itertools.product(
    _OPERATORS.items(), (False, True), _SECONDS.items()
):
    with DAG(
        f"{who}_{'deferred' if deferrable else 'waiting'}{limited}",
        schedule=None,
        params={"name": "", "is_held_back": False, "fails": False, "region": ""},
        render_template_as_native_obj=True,
        max_active_runs=100,
    ):
        operator(
            task_id="launch",
            deferrable=deferrable,
            retries=10,
            retry_delay=timedelta(seconds=1),
            execution_timeout=seconds and timedelta(seconds=seconds),
            runner="DataflowRunner",
            py_file=os.environ["FAULTS_PIPELINE"],
            py_interpreter=sys.executable,
            pipeline_options={
                "temp_location": f"{os.environ['FAULTS_ROOT']}/temp",
                "sdk_container_image": os.environ["FAULTS_IMAGE"],
                "signs": f"{os.environ['FAULTS_SIGNS']}/{{{{ params.name }}}}",
                "output": f"{os.environ['FAULTS_ROOT']}/sums/{{{{ params.name }}}}",
                "is_held_back": "{{ params.is_held_back }}",
                "fails": "{{ params.fails }}",
            },
            dataflow_config={
                "job_name": "{{ params.name }}",
                "location": "{{ params.region }}",
                "poll_sleep": 3,
            },
        )
