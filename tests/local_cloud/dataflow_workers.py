"""Jobs as Beam's DataflowRunner submits them, and the process that runs one."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from google.cloud import dataflow_v1beta3 as api
from google.protobuf.json_format import MessageToJson

PIPELINES = Path(__file__).with_name("dataflow_pipelines.py")
ROOT = Path(__file__).parents[2]


def submit(
    jobs: Mapping[str, Mapping[str, Any]], bucket: str, environment: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """What the real runner submits for pipelines of `dataflow_pipelines`, by the jobs' names."""
    submitted: dict[str, dict[str, Any]] = {}

    class Endpoint(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            job = api.Job.from_json(body)
            submitted[job.name] = json.loads(MessageToJson(api.Job.pb(job)))
            answer = json.dumps({"id": f"id-{job.name}", "name": job.name}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Endpoint) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        endpoint = f"http://localhost:{server.server_port}"
        subprocess.run(
            [sys.executable, PIPELINES, endpoint, bucket, json.dumps(jobs)],
            env={**environment, "no_proxy": "localhost,127.0.0.1"},
            check=True,
        )
        server.shutdown()
    return submitted


@dataclass
class Run:
    """A process that runs a job, and what it has said."""

    process: subprocess.Popen[str]
    log: Path
    events: list[dict[str, Any]] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def __post_init__(self) -> None:
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self.changed:
                self.events.append(json.loads(line))
                self.changed.notify_all()

    def tell(self, **command: str) -> None:
        """Gives it a command."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()

    def wait_for(self, found: Callable[[], Any], seconds: float = 90) -> Any:
        """The first true value of a function of the events."""
        with self.changed:
            value = self.changed.wait_for(found, seconds)
        assert value, f"{self.events}\n{self.log.read_text()[-3000:]}"
        return value

    def finish(self) -> str:
        """Waits for the end and returns the final state."""
        state = self.wait_for(lambda: next(iter(self.states()[1:]), ""))
        self.process.wait(10)
        return str(state)

    def states(self) -> list[str]:
        """All states so far."""
        return [one["state"] for one in self.events if one["event"] == "state"]

    def errors(self) -> list[str]:
        """The texts of all error messages."""
        return [one["text"] for one in self.events if one.get("importance") == "JOB_MESSAGE_ERROR"]

    def last(self, event: str) -> dict[str, Any]:
        """The last event of a kind."""
        return next((one for one in reversed(self.events) if one["event"] == event), {})

    def pids(self) -> list[int]:
        """The worker processes."""
        return list(self.last("workers").get("pids", []))

    def metric(self, name: str, **wanted: Any) -> dict[str, Any]:
        """The metric of a name with these values of its fields."""
        found = self.last("metrics").get("metrics", [])
        matching = [one for one in found if one["name"] == name and wanted.items() <= one.items()]
        return matching[0] if matching else {}


@dataclass(frozen=True)
class Service:
    """The directory of a service whose jobs are started one by one."""

    directory: Path
    environment: Mapping[str, str]

    def job_directory(self, job: Mapping[str, Any], name: str = "") -> Path:
        """Makes the directory of a job."""
        directory = self.directory / "jobs" / (name or job["name"])
        directory.mkdir(parents=True)
        (directory / "job.json").write_text(json.dumps({**job, "id": directory.name}))
        return directory

    def start(self, job: Mapping[str, Any], name: str = "") -> Run:
        """Starts a job."""
        directory = self.job_directory(job, name)
        return self.process(directory / "log.txt", str(directory))

    def start_like(self, earlier: Path, log: Path) -> Run:
        """Starts a process for a job that it will be told of, like an earlier one."""
        return self.process(log, "--like", str(earlier))

    def process(self, log: Path, *arguments: str) -> Run:
        """Starts the process for a job."""
        with log.open("ab") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", "local_cloud.dataflow.workers", *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                start_new_session=True,
                cwd=self.directory,
                env={**self.environment, "PYTHONPATH": str(ROOT)},
            )
        return Run(process, log)


def build_wheel(folder: Path, name: str, source: str, requires: str = "") -> Path:
    """Makes a wheel with one module."""
    path = folder / f"{name}-1.0-py3-none-any.whl"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
    metadata += f"Requires-Dist: {requires}\n" if requires else ""
    info = f"{name}-1.0.dist-info"
    files = {
        f"{name}.py": source,
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": f"{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n",
    }
    with zipfile.ZipFile(path, "w") as wheel:
        for file, content in files.items():
            wheel.writestr(file, content)
    return path
