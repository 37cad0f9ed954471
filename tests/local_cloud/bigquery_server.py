"""A local BigQuery and the local storage it loads from, as processes, and a real client of each."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from google.cloud.storage import Client as StorageClient

PROJECT = "local-project"
ROOT = Path(__file__).parents[2]


class Service:
    """A service of the local cloud in a process of its own."""

    def __init__(self, module: str, directory: Path, environment: Mapping[str, str] = {}) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._command = [sys.executable, "-m", module, "--directory", str(directory)]
        self._command += ["--port", str(self.port)]
        self._environment = {**os.environ, **environment}
        self.start()

    def start(self) -> None:
        """Starts it, and waits until it answers."""
        self._process = subprocess.Popen(self._command, env=self._environment, cwd=ROOT)
        deadline = time.monotonic() + 30
        while self._process.poll() is None and time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"{self.url}/_local_cloud/ready", timeout=5).close()  # noqa: S310
            except OSError:
                time.sleep(0.05)
            else:
                return
        raise AssertionError(f"{self._command} does not answer")

    def kill(self) -> None:
        """Ends it as a lost machine would."""
        self._process.kill()
        self._process.wait()

    def fault(self, **fault: Any) -> None:
        """Adds a fault."""
        request = urllib.request.Request(  # noqa: S310
            f"{self.url}/_local_cloud/faults", json.dumps(fault).encode(), method="POST"
        )
        urllib.request.urlopen(request, timeout=5).close()  # noqa: S310


@pytest.fixture(scope="session")
def storage_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Cloud Storage."""
    service = Service("local_cloud.storage", tmp_path_factory.mktemp("storage"))
    yield service
    service.kill()


@pytest.fixture(scope="session")
def bucket(storage_service: Service) -> Any:
    """A bucket of the local storage."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORAGE_EMULATOR_HOST", storage_service.url)
        client = StorageClient(PROJECT, credentials=AnonymousCredentials())  # type: ignore[no-untyped-call]
        return client.create_bucket("loaded-files")


@pytest.fixture(scope="session")
def service(
    tmp_path_factory: pytest.TempPathFactory, storage_service: Service
) -> Iterator[Service]:
    """BigQuery."""
    environment = {"STORAGE_EMULATOR_HOST": storage_service.url}
    service = Service("local_cloud.bigquery", tmp_path_factory.mktemp("bigquery"), environment)
    yield service
    service.kill()


@pytest.fixture
def client(service: Service, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client of Google's, which finds the service by its environment."""
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", service.url)
    return bigquery.Client(PROJECT, credentials=AnonymousCredentials())  # type: ignore[no-untyped-call]


@pytest.fixture
def dataset(client: Any) -> str:
    """The name of an empty dataset."""
    name = f"d{uuid4().hex[:12]}"
    client.create_dataset(name)
    return name


def upload(bucket: Any, data: bytes | pa.Table, name: str = "") -> str:
    """Puts bytes, or a table as Parquet, into the bucket; returns the URI."""
    if isinstance(data, pa.Table):
        sink = pa.BufferOutputStream()
        pq.write_table(data, sink)
        data = sink.getvalue().to_pybytes()
    name = name or uuid4().hex
    bucket.blob(name).upload_from_string(data)
    return f"gs://{bucket.name}/{name}"


def finished(job: Any) -> Any:
    """A job once it is done; asks more often than its own `result` does."""
    while not job.done():
        time.sleep(0.02)
    return job


def load_config(**settings: Any) -> Any:
    """A load of Parquet, or what the settings say."""
    return bigquery.LoadJobConfig(**{"source_format": "PARQUET"} | settings)


def schema(*fields: str) -> list[Any]:
    """Fields written as ``name TYPE`` or ``name TYPE MODE``."""
    named = [dict(zip(("name", "type", "mode"), field.split(), strict=False)) for field in fields]
    return [bigquery.SchemaField.from_api_repr(one) for one in named]
