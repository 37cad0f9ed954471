"""Tallyflow on the local cloud: the path is production's, only the cloud is small."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import requests
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud.storage import Bucket, Client

from demo.lay_out_flights import days
from demo.local_airflow import ROOT
from local_cloud import LocalCloud
from local_cloud.settings import DEFAULT_PARALLEL_JOBS, HOST

BUCKET = "tallyflow"
REGION = "us-central1"
# In place of a container image with beam_jobs and what it requires: this project's environment.
IMAGE = "tallyflow/jobs:local"


@contextmanager
def started_cloud(
    directory: Path | None,
    *,
    with_airflow: bool = False,
    host: str = HOST,
    ports: Mapping[str, int] | None = None,
    parallel_jobs: int = DEFAULT_PARALLEL_JOBS,
) -> Iterator[LocalCloud]:
    """Starts the local cloud with a bucket for the datasets, and ends it.

    Args:
        directory: What it keeps for the next time; None for nothing.
        with_airflow: Whether a Postgres is needed.
        host: The name of its container, for clients in others.
        ports: Of its services, by name; None for free ones.
        parallel_jobs: How many Dataflow jobs run at once.
    """
    services = ["storage", "dataflow", "bigquery"] + (["postgres"] if with_airflow else [])
    with LocalCloud(
        directory,
        services=services,
        buckets=[BUCKET],
        host=host,
        ports=ports,
        parallel_jobs=parallel_jobs,
    ) as cloud:
        cloud.add_image(IMAGE, python=sys.executable, environment={"PYTHONPATH": str(ROOT)})
        yield cloud


def tallyflow_settings(cloud: LocalCloud) -> dict[str, str]:
    """The ``TALLYFLOW_*`` variables, by which the jobs run on the cloud's Dataflow."""
    return {
        "TALLYFLOW_RUNNER": "DataflowRunner",
        "TALLYFLOW_STORAGE": f"gs://{BUCKET}",
        "TALLYFLOW_PROJECT": cloud.project,
        "TALLYFLOW_REGION": REGION,
        "TALLYFLOW_SDK_CONTAINER_IMAGE": IMAGE,
        # One worker is enough for a day of the examples, and starts in half the time of two.
        "TALLYFLOW_NUM_WORKERS": "1",
        "TALLYFLOW_JOB_PAGE": f"{cloud.dataflow_url}/jobs/{{job_id}}",
    }


def bucket_of(cloud: LocalCloud, name: str = BUCKET) -> Bucket:
    """A bucket, for this process, whose own environment may be that of a real cloud."""
    session = requests.Session()
    session.trust_env = False
    client = Client(
        project=cloud.project,
        credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
        client_options=ClientOptions(api_endpoint=cloud.storage_url),
        _http=session,
    )
    return client.bucket(name)


def upload_flights(bucket: Bucket) -> int:
    """Puts `flights/date=<day>/flights.csv` into a bucket, where it is not there.

    Returns:
        The number of days.
    """
    there = {blob.name for blob in bucket.list_blobs(prefix="flights/")}
    count = 0
    for day, content in days():
        count += 1
        name = f"flights/date={day}/flights.csv"
        if name not in there:
            bucket.blob(name).upload_from_string(content, content_type="text/csv")
    return count
