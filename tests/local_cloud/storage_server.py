"""A local Cloud Storage as a process, and what reaches it: Google's client, and plain HTTP."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import pytest
import requests
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

PROJECT = "local-project"
_ROOT = Path(__file__).parents[2]


class StorageServer:
    """The service over a directory."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.directory = directory
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._command = [sys.executable, "-m", "local_cloud.storage"]
        self._command += ["--directory", str(directory), "--port", str(self.port), *options]
        self.start()

    def start(self) -> None:
        """Starts it, and waits until it answers."""
        self.process = psutil.Popen(self._command, cwd=_ROOT, env={**os.environ})
        deadline = time.monotonic() + 30
        while self.process.poll() is None and time.monotonic() < deadline:
            try:
                requests.get(f"{self.url}/_local_cloud/ready", timeout=5).raise_for_status()
            except requests.ConnectionError:
                time.sleep(0.05)
            else:
                return
        raise AssertionError(f"{self._command} does not answer")

    def kill(self) -> None:
        """Ends it as a lost machine would."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """Ends it as a user would."""
        if self.process.is_running():
            self.process.terminate()
        self.process.wait(10)

    def client(self) -> Any:
        """Google's client."""
        return storage.Client(
            PROJECT,
            credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
            client_options={"api_endpoint": self.url},
        )

    def contents(self) -> int:
        """How many contents are on its disk."""
        return sum(1 for _ in (self.directory / "contents").iterdir())


class Http:
    """Plain HTTP to a bucket."""

    def __init__(self, url: str, bucket: str) -> None:
        self.objects = f"{url}/storage/v1/b/{bucket}/o"
        self.uploads = f"{url}/upload/storage/v1/b/{bucket}/o"
        self.xml = f"{url}/{bucket}"
        self.session = requests.Session()
        # requests asks for gzip unless told otherwise.
        self.session.headers["Accept-Encoding"] = "identity"

    def insert(self, name: str, data: bytes = b"", **parameters: Any) -> dict[str, Any]:
        """Uploads in one request."""
        query = {"uploadType": "media", "name": name, **parameters}
        answer = self.session.post(self.uploads, params=query, data=data, timeout=30)
        answer.raise_for_status()
        resource: dict[str, Any] = answer.json()
        return resource

    def begin(self, name: str, **parameters: Any) -> str:
        """Begins a resumable upload; returns where to send its chunks."""
        query = {"uploadType": "resumable", "name": name, **parameters}
        answer = self.session.post(self.uploads, params=query, timeout=30)
        answer.raise_for_status()
        return answer.headers["Location"]

    def chunk(self, session: str, data: bytes, content_range: str) -> requests.Response:
        """Sends a chunk of a resumable upload."""
        headers = {"Content-Range": content_range}
        return self.session.put(session, data=data, headers=headers, timeout=30)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StorageServer]:
    """The service, shared by the tests of a module."""
    server = StorageServer(tmp_path_factory.mktemp("storage"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def client(server: StorageServer) -> Any:
    """Google's client."""
    return server.client()


@pytest.fixture
def bucket(client: Any) -> Any:
    """An empty bucket of a test's own."""
    return client.create_bucket(f"b-{uuid4().hex[:16]}")


@pytest.fixture
def http(server: StorageServer, bucket: Any) -> Http:
    """Plain HTTP to the bucket."""
    return Http(server.url, bucket.name)
