"""Says by its exit status whether the part of the system that runs in a container does its work.

``python -m demo.healthy cloud`` and the like are the health checks of docker-compose.yaml. They are
asked every few seconds, so they import neither Airflow nor Google's libraries.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psycopg

from local_cloud.files import Files
from local_cloud.services import Service, services_of
from local_cloud.settings import load_settings

# A component says this often enough that it is alive; Airflow's own page takes the same limit.
_HEARTBEAT_SECONDS = 30
_JOBS = {
    "scheduler": "SchedulerJob",
    "dag-processor": "DagProcessorJob",
    "triggerer": "TriggererJob",
}
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def cloud_problem(directory: Path) -> str | None:
    """What keeps the local cloud in a directory from serving; None when nothing does."""
    settings = load_settings(directory)
    if silent := asyncio.run(_silent(services_of(Files(directory), settings))):
        return f"{silent} does not answer"
    # The last of the example's files: DAGs that need them start after that.
    name = "flights%2Fdate=2013-12-31%2Fflights.csv"
    bucket = f"{settings.url('storage')}/storage/v1/b/{settings.buckets[0]}"
    return _problem_of(f"{bucket}/o/{name}")


async def _silent(services: Iterable[Service]) -> str | None:
    for service in services:
        if not await service.is_ready():
            return service.name
    return None


def api_problem(url: str) -> str | None:
    """What keeps an API server from answering with what is in its database."""
    if problem := _problem_of(url):
        return problem
    status = _get(url)["metadatabase"]["status"]
    return None if status == "healthy" else f"the database is {status}"


def heartbeat_problem(database: str, component: str, host: str) -> str | None:
    """What is wrong with the heartbeat of a component on a host; None when it is recent."""
    with psycopg.connect(database, connect_timeout=5) as connection:
        row = connection.execute(
            "SELECT extract(epoch FROM now() - max(latest_heartbeat)) FROM job"
            " WHERE job_type = %s AND hostname = %s AND state = 'running'",
            (_JOBS[component], host),
        ).fetchone()
    seconds = row[0] if row else None
    if seconds is None:
        return f"no {component} has begun on {host}"
    return None if seconds < _HEARTBEAT_SECONDS else f"the last heartbeat is {seconds:.0f} s old"


def _problem_of(url: str) -> str | None:
    try:
        with _DIRECT.open(url, timeout=5):
            return None
    except (OSError, urllib.error.URLError) as error:
        return f"{url}: {error}"


def _get(url: str) -> Any:
    with _DIRECT.open(url, timeout=5) as answer:
        return json.load(answer)


def main() -> None:
    """Exits with status 0, or with what is wrong."""
    parser = argparse.ArgumentParser(prog="python -m demo.healthy", description=__doc__)
    parser.add_argument("part", choices=["cloud", "api-server", *_JOBS])
    part = parser.parse_args().part
    if part == "cloud":
        sys.exit(cloud_problem(Path(os.environ["LOCAL_CLOUD_DIRECTORY"])))
    if part == "api-server":
        port = os.environ["AIRFLOW__API__PORT"]
        sys.exit(api_problem(f"http://127.0.0.1:{port}/api/v2/monitor/health"))
    database = os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"].replace("+psycopg", "", 1)
    sys.exit(heartbeat_problem(database, part, socket.gethostname()))


if __name__ == "__main__":
    main()
