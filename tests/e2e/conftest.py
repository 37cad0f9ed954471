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

from demo.local_airflow import ROOT, LocalAirflow
from demo.on_local_cloud import BUCKET, bucket_of
from demo.run_dev import started
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

    def lose(self, component: str) -> None:
        """Kills a component of Airflow with all that it has started; `make dev` starts it again."""
        leader = psutil.Process(self.airflow.pid(component))
        family = leader.children(recursive=True)
        self.airflow.kill(component)
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        assert self.airflow.start_what_died() == [component]

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
    """What `make dev` starts, with the datasets of the tests beside the example."""
    home = tmp_path_factory.mktemp("dev")
    dags = home / "dags"
    shutil.copytree(ROOT / "dags", dags, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(DATASETS, dags / "datasets", dirs_exist_ok=True)
    changes = {
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        # Reading the files over and over would take half of a processor.
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "60",
    }
    with started(home, changes=changes) as (cloud, airflow):
        yield Stack(airflow, cloud, bucket_of(cloud))
    assert _processes_of(airflow.environment["AIRFLOW_HOME"]) == []


def _processes_of(home: str) -> list[list[str]]:
    """The processes that an Airflow has left behind, whoever their parents are."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("AIRFLOW_HOME") == home:
                found.append(process.cmdline())
    return found
