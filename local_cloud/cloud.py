"""Starts and ends local clouds: `LocalCloud` for Python, and what the commands are made of."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from local_cloud.environment import client_environment, postgres_url
from local_cloud.files import Files
from local_cloud.settings import (
    DEFAULT_PARALLEL_JOBS,
    DEFAULT_PROJECT,
    HOST,
    AlreadyRunningError,
    LocalCloudError,
    Settings,
    check_host,
    check_pass_through,
    check_port_names,
    check_services,
    choose_ports,
    is_local_cloud,
    load_settings,
    make_directory,
    prepare_directory,
    save_settings,
)

_DEFAULT_SERVICES = ("storage", "dataflow", "bigquery")
_END_SECONDS = 20
_POLL_SECONDS = 0.05


class LocalCloud:
    """A local cloud that lives as long as a ``with`` block, or as the process if that is shorter.

    Example::

        with LocalCloud(buckets=["lake"]) as cloud:
            subprocess.run(command, env={**os.environ, **cloud.environment})
    """

    def __init__(
        self,
        directory: Path | str | None = None,
        *,
        services: Sequence[str] = _DEFAULT_SERVICES,
        projects: Sequence[str] = (DEFAULT_PROJECT,),
        buckets: Sequence[str] = (),
        ports: Mapping[str, int] | None = None,
        pass_through: Sequence[str] = (),
        host: str = HOST,
        parallel_jobs: int = DEFAULT_PARALLEL_JOBS,
    ) -> None:
        """Says what is to be started.

        Args:
            directory: What the cloud keeps, for the next time too; by default a temporary one.
            services: Which of storage, dataflow, bigquery and postgres run.
            projects: The projects that exist; the first is the clients' default.
            buckets: Buckets to make, where they are not there.
            ports: Ports by name, such as ``{"storage": 9000}``; by default free ones.
            pass_through: Hosts, not Google's, that clients can reach.
            host: The name of the container that it runs in, for clients in others.
            parallel_jobs: How many Dataflow jobs run at once; the others wait.
        """
        self._wanted = (services, projects, buckets, ports or {}, pass_through, host)
        self._parallel_jobs = parallel_jobs
        self._given = directory
        self._files: Files | None = None
        self._supervisor: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> LocalCloud:
        """Starts the services.

        Raises:
            LocalCloudError: One of them does not start; has what it said.
        """
        directory = Path(self._given or tempfile.mkdtemp(prefix="local-cloud-")).resolve()
        self._files = Files(directory)
        services, projects, buckets, ports, pass_through, host = self._wanted
        try:
            self._settings, self._supervisor = start(
                self._files,
                leashed=True,
                services=services,
                projects=projects,
                buckets=buckets,
                ports=ports,
                pass_through=pass_through,
                host=host,
                parallel_jobs=self._parallel_jobs,
            )
        except BaseException:
            self._remove_temporary()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Ends the services, and removes a temporary directory."""
        assert self._supervisor is not None  # noqa: S101 - entered
        self._supervisor.terminate()
        _reap(self._supervisor)
        self._remove_temporary()

    @property
    def directory(self) -> Path:
        """Where the data, the logs and the keys are."""
        return self._entered.directory

    @property
    def environment(self) -> dict[str, str]:
        """The variables that make a client use this cloud."""
        return client_environment(self._entered, self._settings, os.environ)

    @property
    def settings(self) -> Settings:
        """What it was started with, ports and all."""
        return self._settings

    @property
    def project(self) -> str:
        """The clients' default project."""
        return self._settings.projects[0]

    @property
    def gateway_url(self) -> str:
        """The proxy, which also is the metadata server."""
        return self._settings.url("gateway")

    @property
    def storage_url(self) -> str:
        """Cloud Storage."""
        return self._settings.url("storage")

    @property
    def dataflow_url(self) -> str:
        """Dataflow's REST API, and the page of its jobs."""
        return self._settings.url("dataflow")

    @property
    def dataflow_grpc_target(self) -> str:
        """Dataflow's gRPC API, without TLS, as ``host:port``."""
        return self._settings.url("dataflow_grpc").removeprefix("http://")

    @property
    def bigquery_url(self) -> str:
        """BigQuery."""
        return self._settings.url("bigquery")

    @property
    def postgres_url(self) -> str:
        """A database for Airflow; a driver can be named after ``postgresql``."""
        return postgres_url(self._entered, self._settings)

    def add_image(
        self,
        name: str,
        *,
        python: Path | str,
        environment: Mapping[str, str] | None = None,
        directory: Path | str | None = None,
    ) -> None:
        """Says what stands in for a container image that Dataflow jobs name.

        Args:
            name: As jobs name it.
            python: The interpreter, of the environment with the image's packages.
            environment: The image's variables.
            directory: The image's working directory; by default one that is made for the job.

        Raises:
            LocalCloudError: The interpreter or the directory is not there.
        """
        from local_cloud.images import Image, add_image  # noqa: PLC0415 - it takes time to load

        image = Image(
            python=str(Path(python).absolute()),
            environment=dict(environment or {}),
            directory=None if directory is None else str(Path(directory).absolute()),
        )
        add_image(self._entered, name, image)

    def log(self, service: str) -> str:
        """What a service has said."""
        return self._entered.log(service).read_text(errors="replace")

    @property
    def _entered(self) -> Files:
        if self._files is None:
            raise LocalCloudError("Use it in a `with` block: `with LocalCloud() as cloud:`.")
        return self._files

    def _remove_temporary(self) -> None:
        if self._given is None and self._files is not None:
            shutil.rmtree(self._files.directory)


def start(
    files: Files,
    *,
    leashed: bool,
    services: Sequence[str],
    projects: Sequence[str],
    buckets: Sequence[str],
    ports: Mapping[str, int],
    pass_through: Sequence[str],
    host: str,
    parallel_jobs: int = DEFAULT_PARALLEL_JOBS,
) -> tuple[Settings, subprocess.Popen[bytes]]:
    """Starts a local cloud, and waits until all of its services are ready.

    Args:
        files: Of the local cloud; the directory is made if it is not there.
        leashed: Whether it ends with this process.
        services: As for `LocalCloud`, like those that follow.
        projects: The projects that exist.
        buckets: The buckets to make.
        ports: Ports by name.
        pass_through: Hosts that clients can reach.
        host: The name under which clients reach it.
        parallel_jobs: How many Dataflow jobs run at once.

    Returns:
        What it was started with, and its supervisor.

    Raises:
        AlreadyRunningError: One runs in the directory.
        LocalCloudError: A name is unknown, a port in use, the directory not ours, or a service does
            not start.
    """
    checked = check_services(services)
    check_port_names(list(ports))
    check_pass_through(pass_through)
    check_host(host, checked)
    if buckets and "storage" not in checked:
        raise LocalCloudError("Buckets take the storage service, which is left out.")
    make_directory(files.directory)
    with _starting(files):
        prepare_directory(files.directory)
        if is_running(files):
            raise AlreadyRunningError(f"A local cloud runs in {files.directory} already.")
        earlier = load_settings(files.directory).ports if is_local_cloud(files.directory) else {}
        settings = Settings(
            services=checked,
            ports=choose_ports(ports, earlier),
            projects=tuple(projects) or (DEFAULT_PROJECT,),
            buckets=tuple(buckets),
            pass_through=tuple(pass_through),
            host=host,
            parallel_jobs=parallel_jobs,
        )
        save_settings(files.directory, settings)
        return settings, _start_supervisor(files, leashed=leashed)


@contextlib.contextmanager
def _starting(files: Files) -> Iterator[None]:
    """Lets one process at a time start a local cloud in a directory; the others wait."""
    directory = os.open(files.directory, os.O_RDONLY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        yield
    finally:
        os.close(directory)


def _start_supervisor(files: Files, *, leashed: bool) -> subprocess.Popen[bytes]:
    module = ["local_cloud.supervisor", "--directory", str(files.directory)]
    with files.log("supervisor").open("ab") as log:
        supervisor = subprocess.Popen(
            [sys.executable, "-m", *(["local_cloud.leash"] if leashed else []), *module],
            stdin=subprocess.PIPE if leashed else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=Path(__file__).parent.parent,
            start_new_session=True,
        )
    try:
        error = _outcome(supervisor, files)
    except BaseException:
        supervisor.terminate()
        _reap(supervisor)
        raise
    if error is not None:
        _reap(supervisor)
        raise LocalCloudError(error)
    return supervisor


def _reap(supervisor: subprocess.Popen[bytes]) -> None:
    supervisor.wait()
    for pipe in (supervisor.stdin, supervisor.stdout):
        if pipe is not None:
            pipe.close()


def is_running(files: Files) -> bool:
    """Whether a supervisor lives in a directory."""
    try:
        with files.lock.open("r") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def read_status(files: Files) -> dict[str, Any]:
    """The supervisor's pid and its services' states; empty before it has begun."""
    try:
        document: dict[str, Any] = json.loads(files.status.read_text())
    except FileNotFoundError:
        return {}
    return document


def stop(files: Files) -> None:
    """Ends the local cloud in a directory, if it runs, and waits until all of it is gone.

    Raises:
        LocalCloudError: It does not end.
    """
    deadline = time.monotonic() + _END_SECONDS
    told = None
    while is_running(files):
        # It has no status before it has started anything: then it is a matter of moments.
        pid = read_status(files).get("pid")
        if pid is not None and pid != told:
            told = pid
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        if time.monotonic() > deadline:
            raise LocalCloudError(f"The local cloud in {files.directory} does not end: pid {pid}.")
        time.sleep(_POLL_SECONDS)


def _outcome(supervisor: subprocess.Popen[bytes], files: Files) -> str | None:
    """What keeps the services from running; None when they are ready."""
    assert supervisor.stdout is not None  # noqa: S101 - a pipe
    line = supervisor.stdout.readline()
    if not line:
        return f"The supervisor does not start; {files.log('supervisor')} says why."
    error: str | None = json.loads(line).get("error")
    return error
