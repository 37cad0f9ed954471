"""A real Airflow on the local cloud, for all tests of this folder."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from google.cloud.storage import Bucket

from demo.local_airflow import ROOT, LocalAirflow, airflow_environment
from demo.on_local_cloud import BUCKET, bucket_of, started_cloud, tallyflow_settings
from local_cloud import LocalCloud

DATASETS = Path(__file__).with_name("datasets")


@dataclass(frozen=True)
class Stack:
    """Airflow, the cloud, and the bucket with the files of the datasets."""

    airflow: LocalAirflow
    cloud: LocalCloud
    bucket: Bucket

    def put(self, name: str, text: str) -> None:
        """Puts a file into the bucket."""
        self.bucket.blob(name).upload_from_string(text)

    @property
    def bigquery(self) -> bigquery.Client:
        """A client of the cloud's BigQuery, for this process."""
        return bigquery.Client(
            project=self.cloud.project,
            credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
            client_options=ClientOptions(api_endpoint=self.cloud.bigquery_url),
        )

    @property
    def root(self) -> str:
        """The storage root."""
        return f"gs://{BUCKET}"


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    home = tmp_path_factory.mktemp("airflow")
    dags = home / "dags"
    shutil.copytree(ROOT / "dags", dags, ignore=shutil.ignore_patterns("datasets", "__pycache__"))
    shutil.copytree(DATASETS, dags / "datasets")
    with started_cloud(None, with_airflow=True) as cloud:
        environment = {
            **airflow_environment(home, f"gs://{BUCKET}", cloud.postgres_url),
            **cloud.environment,
            **tallyflow_settings(cloud),
            "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        }
        with LocalAirflow(home, environment) as airflow:
            yield Stack(airflow, cloud, bucket_of(cloud))
    assert _processes_of(home) == []


def _processes_of(home: Path) -> list[list[str]]:
    """The processes that an Airflow has left behind, whoever their parents are."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("AIRFLOW_HOME") == str(home):
                found.append(process.cmdline())
    return found
