"""The test stand: a real Airflow on the local cloud, and what can be seen and done there."""

from __future__ import annotations

import contextlib
import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString, TypeVar

import psutil
import psycopg
import requests
from psycopg.rows import dict_row

from demo.airflow_client import AirflowError
from demo.local_airflow import ROOT, LocalAirflow, airflow_environment
from demo.on_local_cloud import BUCKET, IMAGE, bucket_of, started_cloud, tallyflow_settings
from local_cloud import LocalCloud
from local_cloud.loopback import call

HERE = Path(__file__).parent
# Those that are held back take a place too.
_PARALLEL_JOBS = 12
# The time of the tasks of the DAGs that have a limit.
LIMIT_SECONDS = 75
_ACTIVE = {f"JOB_STATE_{name}" for name in ("QUEUED", "PENDING", "RUNNING", "CANCELLING")}
_T = TypeVar("_T")


@dataclass(frozen=True)
class SeenJob:
    """A job in the local Dataflow's list."""

    id: str
    state: str

    @property
    def is_active(self) -> bool:
        """Whether it has not ended."""
        return f"JOB_STATE_{self.state}" in _ACTIVE


@dataclass(frozen=True)
class Stand:
    """Airflow and the cloud.

    Attributes:
        airflow: Airflow.
        cloud: The cloud.
        signs: The folder of the files that hold pipelines back.
        database: Airflow's.
    """

    airflow: LocalAirflow
    cloud: LocalCloud
    signs: Path
    database: psycopg.Connection[dict[str, Any]]

    def row(self, query: LiteralString, *values: str) -> dict[str, Any] | None:
        """The first row of a query to Airflow's database, which is cheap to ask again and again."""
        return self.database.execute(query, values).fetchone()

    def jobs(self, name: str) -> list[SeenJob]:
        """All jobs whose names begin with that of a case, the oldest first."""
        # In all regions, and by another method than the operators': no fault is met here.
        url = f"{self.cloud.dataflow_url}/v1b3/projects/{self.cloud.project}/jobs:aggregated"
        found: list[dict[str, Any]] = []
        token = ""
        while True:
            answer = call("GET", f"{url}?filter=ALL&pageToken={token}")
            found += answer.get("jobs", [])
            token = answer.get("nextPageToken", "")
            if not token:
                break
        own = [job for job in found if re.fullmatch(rf"{name}-[0-9a-f]{{8,10}}", job["name"])]
        return [
            SeenJob(job["id"], job["currentState"].removeprefix("JOB_STATE_"))
            for job in sorted(own, key=lambda job: job["createTime"])
        ]

    def sums(self, name: str) -> list[int]:
        """What the jobs of a case have written, each one a number."""
        blobs = bucket_of(self.cloud).list_blobs(prefix=f"sums/{name}/")
        return [int(blob.download_as_text()) for blob in blobs]

    def sign(self, name: str, sign: str) -> None:
        """Lets the pipelines of a case go on."""
        (self.signs / f"{name}.{sign}").touch()

    def fault(self, method: str, *, of: str = "dataflow", **how: Any) -> None:
        """Makes the next calls of a method of a service fail."""
        url = self.cloud.settings.url(of)
        call("POST", f"{url}/_local_cloud/faults", {"method": method, **how})

    def is_to_come(self, what: str, *, of: str = "dataflow") -> bool:
        """Whether a fault of a service, of which this is in the method or the pattern, is left."""
        pending = call("GET", f"{self.cloud.settings.url(of)}/_local_cloud/faults")
        return any(what in fault["method"] + fault["matching"] for fault in pending)

    def launchers(self, name: str) -> list[psutil.Process]:
        """The processes that are to submit the jobs of a case."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                line = process.cmdline()
                if any(re.fullmatch(rf"--job_name={name}-[0-9a-f]{{8,10}}", part) for part in line):
                    found.append(process)
        return found

    def restart(self, component: str) -> None:
        """Kills a component of Airflow with all that it has started, tasks too; starts it again."""
        before = self._newest_job(component)
        family = _process(self.airflow, component).children(recursive=True)
        self.airflow.kill(component)
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.airflow.start(component)
        until(lambda: self._newest_job(component) != before, 120, f"a {component} that works")

    def _newest_job(self, component: str) -> object:
        """What differs from one process of a component to the next, once it is at work."""
        if component == "api-server":
            with contextlib.suppress(AirflowError, requests.RequestException):
                self.airflow.ask("GET", "version")
                return _process(self.airflow, component).pid
            return None
        kind = f"{component.capitalize()}Job"
        found = self.row("SELECT max(id) AS id FROM job WHERE job_type = %s", kind)
        return found and found["id"]


def _process(airflow: LocalAirflow, component: str) -> psutil.Process:
    return psutil.Process(airflow._processes[component].pid)  # a test stand may look inside


def until(what: Callable[[], _T], within: float, why: str, pause: float = 0.5) -> _T:
    """Waits until something is there, and returns it.

    Raises:
        TimeoutError: It has not come.
    """
    end = time.monotonic() + within
    while not (found := what()):
        if time.monotonic() > end:
            raise TimeoutError(f"not in {within:.0f} s: {why}")
        time.sleep(pause)
    return found


@contextlib.contextmanager
def started_stand(home: Path, *, heartbeat_seconds: int = 30) -> Iterator[Stand]:
    """Starts everything, and ends it.

    Args:
        home: Of Airflow.
        heartbeat_seconds: After so long without a heartbeat of it, a task is taken for lost;
            Airflow's default is 300.
    """
    signs = home / "signs"
    signs.mkdir(parents=True)
    dags = shutil.copytree(HERE / "dags", home / "dags")
    shutil.copy(ROOT / "dags" / "dataset_dags.py", dags)
    with started_cloud(None, with_airflow=True, parallel_jobs=_PARALLEL_JOBS) as cloud:
        environment = {
            **airflow_environment(home, f"gs://{BUCKET}", cloud.postgres_url),
            **cloud.environment,
            **tallyflow_settings(cloud),
            "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": str(heartbeat_seconds),
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "3",
            "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "10",
            "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "20",
            "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "2",
            "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "2",
            "FAULTS_IMAGE": IMAGE,
            "FAULTS_LIMIT_SECONDS": str(LIMIT_SECONDS),
            "FAULTS_PIPELINE": str(HERE / "pipeline.py"),
            "FAULTS_ROOT": f"gs://{BUCKET}",
            "FAULTS_SIGNS": str(signs),
        }
        airflow = LocalAirflow(home, environment)
        airflow.environment |= {
            "AIRFLOW__CORE__PARALLELISM": "24",
            "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "3600",
        }
        with (
            airflow,
            psycopg.connect(cloud.postgres_url, autocommit=True, row_factory=dict_row) as database,
        ):
            yield Stand(airflow, cloud, signs, database)
