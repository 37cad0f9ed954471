"""``python -m local_cloud.dataflow``: serves the Dataflow API on loopback."""

from __future__ import annotations

import argparse
import fcntl
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from starlette.applications import Starlette

from local_cloud.dataflow import batch, controls, grpc_server, page, rest
from local_cloud.dataflow.bucket import EMULATOR
from local_cloud.dataflow.lifecycle import Lifecycle
from local_cloud.dataflow.service import Dataflow
from local_cloud.dataflow.store import Store
from local_cloud.faults import Faults
from local_cloud.serving import HOST, build_app, listen, serve

JOB_PROCESS = (sys.executable, "-m", "local_cloud.dataflow.workers")


@contextmanager
def running(
    directory: Path,
    grpc_port: int,
    *,
    projects: Sequence[str],
    parallel_jobs: int = 2,
    job_process: Sequence[str] = JOB_PROCESS,
    host: str = HOST,
) -> Iterator[Starlette]:
    """The service at work, but for its HTTP side, which is given.

    Args:
        directory: Where all its data is; created if it is not there.
        grpc_port: The port of its gRPC side.
        projects: The projects that exist.
        parallel_jobs: How many jobs run at once.
        job_process: The command of a job's process.
        host: The address of its gRPC side.

    Raises:
        SystemExit: The port or the directory is taken.
    """
    directory.mkdir(parents=True, exist_ok=True)
    lock = (directory / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(f"Another local Dataflow works in {directory}. Choose another directory.")
    store = Store(directory / "dataflow.sqlite")
    lifecycle = Lifecycle(store, directory / "jobs", job_process, parallel_jobs)
    service = Dataflow(directory, frozenset(projects), store, lifecycle)
    faults = Faults()
    server = grpc_server.start(service, faults, grpc_port, host)
    lifecycle.recover()
    routes = [
        *rest.routes(service),
        batch.ROUTE,
        *controls.routes(service),
        *page.routes(service),
    ]
    try:
        yield build_app(routes, faults)
    finally:
        server.stop(grace=1).wait()
        lifecycle.close()
        store.close()
        lock.close()


def main(arguments: Sequence[str] | None = None) -> None:
    """Serves until the process is told to end."""
    parser = argparse.ArgumentParser(prog="python -m local_cloud.dataflow", description=__doc__)
    parser.add_argument("--directory", type=Path, required=True, help="where all its data is")
    parser.add_argument("--port", type=int, required=True, help="of the REST API and the page")
    parser.add_argument("--grpc_port", type=int, required=True)
    parser.add_argument("--host", default=HOST, help="its address (default: %(default)s)")
    parser.add_argument("--project", action="append", help="one that exists; local-project")
    parser.add_argument("--parallel_jobs", type=int, default=2, help="how many run at once")
    given = parser.parse_args(arguments)
    if not os.environ.get(EMULATOR):
        sys.exit(f"Set {EMULATOR} to the address of the local storage service.")
    logging.basicConfig(level=logging.INFO)
    listen(given.port, given.host).close()  # before any job is begun
    with running(
        given.directory.resolve(),
        given.grpc_port,
        projects=given.project or ["local-project"],
        parallel_jobs=given.parallel_jobs,
        host=given.host,
    ) as app:
        serve(app, given.port, given.host)


if __name__ == "__main__":
    main()
