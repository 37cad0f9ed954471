"""A task with a `BeamJobOperator`, without the rest of Airflow; as a script, one to be killed.

``python -m tests.e2e.beam_task STORE TRY WHAT SECONDS``: STORE is the file in place of Airflow's
task state store, into which writing takes so many SECONDS.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tallyflow.beam_job import BeamJobOperator

PIPELINE = Path(__file__).with_name("beam_pipeline.py")
BUCKET = "beam-jobs"
IMAGE = "tests/beam:local"
REGION = "us-central1"


@dataclass
class Task:
    """What tries of one task share.

    Attributes:
        name: Of the task, and of its jobs.
        store: The file in place of Airflow's task state store.
        max_tries: Grows when the task is cleared.
        writing: Seconds that it takes to write into the store.
        xcoms: What was pushed last.
    """

    name: str
    store: Path
    max_tries: int = 3
    writing: float = 0
    xcoms: dict[str, Any] = field(default_factory=dict)

    def get(self, key: str) -> Any:
        """As Airflow's task state store."""
        return json.loads(self.store.read_text()).get(key) if self.store.exists() else None

    def set(self, key: str, value: Any) -> None:
        """As Airflow's task state store."""
        time.sleep(self.writing)
        self.store.write_text(json.dumps({key: value}))

    def context(self, number: int = 1) -> Any:
        """What Airflow passes to the try of this number."""

        def xcom_push(key: str, value: object) -> None:
            self.xcoms[key] = value

        ti = SimpleNamespace(
            dag_id="dag",
            task_id=self.name,
            run_id="manual__1",
            map_index=-1,
            try_number=number,
            max_tries=self.max_tries,
            xcom_push=xcom_push,
        )
        run = SimpleNamespace(start_date="2026-11-23T00:00:00+00:00")
        return {"ti": ti, "dag_run": run, "task_state_store": self}

    def operator(self, what: str, *, number: int = 1, **kwargs: Any) -> BeamJobOperator:
        """The operator as a try gets it; `what` is the pipeline to do."""
        return BeamJobOperator(
            task_id=self.name,
            runner="DataflowRunner",
            py_interpreter=sys.executable,
            py_file=str(PIPELINE),
            default_pipeline_options={
                "temp_location": f"gs://{BUCKET}/temp",
                "sdk_container_image": IMAGE,
                "labels": {"team": "data"},
            },
            pipeline_options={"what": what, "run_id": f"run.{number}", "labels": {"dag": "dag"}},
            dataflow_config={"job_name": self.name, "location": REGION, "poll_sleep": 1},
            **kwargs,
        )


def main(store: str, number: str, what: str, seconds: str) -> None:
    """Runs the try of a task, as Airflow's process of it does."""
    task = Task(what, Path(store), writing=float(seconds))
    operator = task.operator(what, number=int(number))
    signal.signal(signal.SIGTERM, lambda *_: operator.on_kill())
    operator.execute(task.context(int(number)))


if __name__ == "__main__":
    main(*sys.argv[1:])
