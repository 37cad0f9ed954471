"""The local Dataflow as a process, with jobs that are acted by `dataflow_acted_job`.

Run as a script, this is that process: its arguments are a directory, two ports and how many jobs
run at once.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import grpc
from google.auth.credentials import AnonymousCredentials
from google.cloud import dataflow_v1beta3 as api
from google.cloud.dataflow_v1beta3.services.jobs_v1_beta3.transports import (
    JobsV1Beta3GrpcTransport,
)
from googleapiclient.discovery import build

from local_cloud.dataflow.__main__ import running
from local_cloud.serving import serve

ROOT = Path(__file__).parents[2]
ACTED_JOB = Path(__file__).with_name("dataflow_acted_job.py")
PROJECT = "local-project"
REGION = "us-central1"
T = TypeVar("T")
TERMINAL = {"JOB_STATE_DONE", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED"}


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_for(what: Callable[[], T], seconds: float = 20) -> T:
    """The first true value of `what`."""
    end = time.monotonic() + seconds
    while not (found := what()):
        if time.monotonic() > end:
            raise AssertionError(f"nothing came within {seconds} s; last was {found!r}")
        time.sleep(0.02)
    return found


@dataclass
class DataflowServer:
    """A service that can be killed and started again."""

    directory: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    grpc_port: int = field(default_factory=free_port)
    parallel_jobs: int = 2
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where its REST side and its page are."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def channel(self) -> grpc.Channel:
        """To its gRPC side."""
        return grpc.insecure_channel(f"127.0.0.1:{self.grpc_port}")

    def start(self) -> None:
        """Starts it; it is ready then."""
        self.launch()
        wait_for(self._is_ready)

    def launch(self) -> subprocess.Popen[bytes]:
        """Starts its process."""
        ports = [str(self.port), str(self.grpc_port), str(self.parallel_jobs)]
        self.process = subprocess.Popen(
            [sys.executable, __file__, str(self.directory), *ports],
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "STORAGE_EMULATOR_HOST": "http://127.0.0.1:9",
                **self.environment,
            },
        )
        return self.process

    def stop(self, *, kill: bool = False) -> None:
        """Ends it, with SIGTERM or SIGKILL."""
        assert self.process is not None
        if kill:
            self.process.kill()
        else:
            self.process.terminate()
        self.process.wait(20)

    def _is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, "the service ended"
        try:
            with urllib.request.urlopen(f"{self.url}/_local_cloud/ready") as answer:  # noqa: S310
                return bool(answer.status == 200)
        except OSError:
            return False

    def discovery(self) -> Any:
        """The client that Airflow's hook uses."""
        return build(
            "dataflow",
            "v1b3",
            credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
            static_discovery=True,
            cache_discovery=False,
            client_options={"api_endpoint": self.url},
        )

    def jobs_client(self) -> api.JobsV1Beta3Client:
        """A client over gRPC."""
        return api.JobsV1Beta3Client(transport=JobsV1Beta3GrpcTransport(channel=self.channel))

    def submit(self, name: str, act: str = "succeed", **more: Any) -> dict[str, Any]:
        """Creates a job over REST."""
        return dict(self.jobs().create(**PLACE, body=job_body(name, act, **more)).execute())

    def jobs(self) -> Any:
        """The client's resource of the jobs of a region."""
        return self.discovery().projects().locations().jobs()

    def state(self, job_id: str) -> str:
        """How a job is."""
        return str(self.jobs().get(**PLACE, jobId=job_id).execute()["currentState"])

    def wait_for_state(self, job_id: str, *states: str) -> str:
        """Waits for one of some states; by default for the end."""
        wait_for(lambda: self.state(job_id) in (states or TERMINAL))
        return self.state(job_id)

    def messages(self, job_id: str, **more: Any) -> list[str]:
        """The texts of a job's messages."""
        answer = self.jobs().messages().list(**PLACE, jobId=job_id, **more).execute()
        return [message["messageText"] for message in answer.get("jobMessages", [])]


PLACE = {"projectId": PROJECT, "location": REGION}


def job_body(name: str, act: str = "succeed", **more: Any) -> dict[str, Any]:
    """A job whose process does what an act of `dataflow_acted_job` says."""
    options = {"pipelineUrl": "gs://bucket/pipeline.pb", "act": act}
    return {
        "name": name,
        "type": "JOB_TYPE_BATCH",
        "environment": {
            "tempStoragePrefix": "gs://bucket/temp",
            "userAgent": {"name": "Apache Beam Python 3.11 SDK", "version": "2.77.0"},
            "sdkPipelineOptions": {"options": options},
        },
        **more,
    }


@contextmanager
def dataflow_server(directory: Path, **more: Any) -> Iterator[DataflowServer]:
    """A service that runs."""
    server = DataflowServer(directory, **more)
    server.start()
    try:
        yield server
    finally:
        if server.process is not None and server.process.poll() is None:
            server.stop()


def _serve() -> None:
    directory, port, grpc_port, parallel_jobs = sys.argv[1:]
    with running(
        Path(directory),
        int(grpc_port),
        projects=[PROJECT],
        parallel_jobs=int(parallel_jobs),
        job_process=[sys.executable, str(ACTED_JOB)],
    ) as app:
        serve(app, int(port))


if __name__ == "__main__":
    _serve()
