"""One day of the example from outside: by Airflow's REST API and the storage's, as a user has them.

`make dev` and docker-compose.yaml are driven by the same steps, so that they cannot drift apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import duckdb
import requests

from beam_jobs.publishing.manifest import Manifest
from demo.airflow_client import AirflowClient, Run
from demo.on_local_cloud import BUCKET

DAY = "2013-01-01"
# Departures of that day, cancelled ones included.
FLIGHTS = {"EWR": 305, "JFK": 297, "LGA": 240}
_DAGS = ("flights_daily", "flights_weekly", "flights_monthly", "aggregate_files", "count_elements")
_FOLDER = f"results/flights/date={DAY}"


@dataclass(frozen=True)
class System:
    """What runs somewhere.

    Attributes:
        airflow: Airflow, for its user.
        storage_url: Of the Cloud Storage that it works on.
        kill_scheduler: Kills the scheduler with all that it has started; something starts it again.
            None to let it live.
    """

    airflow: AirflowClient
    storage_url: str
    kill_scheduler: Callable[[], None] | None

    def content(self, name: str) -> bytes | None:
        """Of an object in the bucket; None if it is not there."""
        session = requests.Session()
        session.trust_env = False
        path = quote(name, safe="")
        url = f"{self.storage_url}/storage/v1/b/{BUCKET}/o/{path}?alt=media"
        answer = session.get(url, timeout=30)
        if answer.status_code == requests.codes.not_found:
            return None
        answer.raise_for_status()
        return answer.content

    def manifest(self) -> Manifest | None:
        """What is published of the day; None before there is anything."""
        content = self.content(f"{_FOLDER}/manifest.json")
        return None if content is None else Manifest.model_validate_json(content)


def publish_a_day(system: System, folder: Path) -> Run:
    """Triggers the DAG, kills the scheduler meanwhile if asked to, and checks what is published.

    Args:
        system: Where.
        folder: For files that are downloaded.

    Returns:
        The run, which has ended.
    """
    airflow = system.airflow
    airflow.wait_for_dags(*_DAGS)
    assert airflow.ask("GET", "importErrors")["import_errors"] == []
    earlier = system.manifest()
    run = airflow.trigger("flights_daily", {"date": DAY})
    if system.kill_scheduler is not None:
        for _ in airflow.looks(400, lambda: airflow.tasks(run)):
            if airflow.tasks(run).get("aggregate") == "running":
                break
        system.kill_scheduler()
    run = airflow.wait_for(run, 400)
    tries = {one["task_id"]: one["try_number"] for one in airflow.task_instances(run)}
    assert run.state == "success", airflow.task_log(run, "aggregate", tries["aggregate"])
    # It was lost with the scheduler, and went on when that was back.
    assert tries["aggregate"] == (1 if system.kill_scheduler is None else 2)
    for _ in airflow.looks(120, airflow.unhealthy):
        if not airflow.unhealthy():
            break

    manifest = system.manifest()
    assert manifest is not None
    assert manifest.current == (earlier.current if earlier else 0) + 1
    assert flights(system, folder) == FLIGHTS
    return run


def flights(system: System, folder: Path) -> dict[str, int]:
    """The published number of flights from each airport."""
    manifest = system.manifest()
    assert manifest is not None
    content = system.content(f"{_FOLDER}/{manifest.version.aggregates['by_origin'].result}")
    assert content is not None
    path = folder / "by_origin.parquet"
    path.write_bytes(content)
    return dict(duckdb.execute(f"SELECT origin, flights FROM '{path}'").fetchall())
