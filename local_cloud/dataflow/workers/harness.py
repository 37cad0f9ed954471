"""The worker processes of a run, and what Beam's runner needs to speak with them.

A worker that dies is replaced by another process when the next bundle is for it; what it was
working on fails at once, with the reason.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import threading
from collections.abc import Callable, Mapping
from typing import Any

import grpc
from apache_beam.portability.api import beam_fn_api_pb2, beam_fn_api_pb2_grpc, endpoints_pb2
from apache_beam.runners.portability.fn_api_runner import worker_handlers
from apache_beam.runners.worker import data_plane
from apache_beam.utils import thread_pool_executor
from google.protobuf import text_format

from local_cloud.dataflow.workers.usage import Usage
from local_cloud.dataflow.workers.worker_logs import WorkerLogs

ENVIRONMENT_URN = "local_cloud:environment:worker:v1"
Start = Callable[[Mapping[str, str], Callable[[int], None]], int]
_HOST = "127.0.0.1"
# For a worker's DoFns to be torn down.
_GRACE_SECONDS = 5
_SERVER_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 20_000),
]


class LoopbackServer(worker_handlers.GrpcServer):  # type: ignore[misc]
    """Beam's server for workers, on one port of loopback instead of four of all interfaces.

    Args:
        logs: Takes the workers' log.
        state: Beam's.
        provision_info: Beam's.
        worker_manager: Beam's.
    """

    def __init__(
        self, logs: WorkerLogs, state: Any, provision_info: Any, worker_manager: Any
    ) -> None:
        self.state = state
        self.provision_info = provision_info
        pool = thread_pool_executor.shared_unbounded_instance()
        self._server = grpc.server(pool, options=_SERVER_OPTIONS)
        port = self._server.add_insecure_port(f"{_HOST}:0")
        self.control_port = self.data_port = self.state_port = self.logging_port = port
        self.control_handler = worker_handlers.BeamFnControlServicer(worker_manager)
        self.data_plane_handler = data_plane.BeamFnDataServicer(
            worker_handlers.DATA_BUFFER_TIME_LIMIT_MS
        )
        add = beam_fn_api_pb2_grpc
        add.add_BeamFnControlServicer_to_server(self.control_handler, self._server)
        add.add_BeamFnDataServicer_to_server(self.data_plane_handler, self._server)
        state_servicer = worker_handlers.GrpcStateServicer(state)
        add.add_BeamFnStateServicer_to_server(state_servicer, self._server)
        add.add_BeamFnLoggingServicer_to_server(logs, self._server)
        self._server.start()

    def close(self) -> None:
        """Ends the server; its workers have ended."""
        self.control_handler.done()
        self._server.stop(None)


class Connection:
    """One worker process, from its start to its end.

    Args:
        worker_id: Its name; no other process has it.
        server: What it connects to.
        start: Starts it.
    """

    def __init__(self, worker_id: str, server: LoopbackServer, start: Start) -> None:
        self.worker_id = worker_id
        self.data = server.data_plane_handler.get_conn_by_worker_id(worker_id)
        self._control = server.control_handler.get_conn_by_worker_id(worker_id)
        self._lock = threading.Lock()
        self._pending: list[worker_handlers.ControlFuture] = []
        self._was_used = False
        self._ended = threading.Event()
        self.loss: str | None = None
        url = endpoints_pb2.ApiServiceDescriptor(url=f"{_HOST}:{server.control_port}")
        address = text_format.MessageToString(url)
        names = ("CONTROL_API_SERVICE_DESCRIPTOR", "LOGGING_API_SERVICE_DESCRIPTOR")
        variables = {**dict.fromkeys(names, address), "WORKER_ID": worker_id}
        self.pid = start(variables, self._exited)

    def push(self, request: beam_fn_api_pb2.InstructionRequest) -> worker_handlers.ControlFuture:
        """Gives the worker something to do; if it is dead, or dies of it, the answer says so."""
        with self._lock:
            if self.loss is not None:
                return worker_handlers.ControlFuture(request.instruction_id, self._lost())
            self._was_used = True
            future = self._control.push(request)
            self._pending = [one for one in self._pending if not one.is_done()] + [future]
            return future

    def wait_for_loss(self) -> str | None:
        """Why the process is no more; None if it still runs after a while."""
        self._ended.wait(_GRACE_SECONDS)
        return self.loss

    def close(self) -> None:
        """Ends the process, if it can be, in order."""
        if self._was_used and self.loss is None:
            self._control.push(worker_handlers.BeamFnControlServicer._DONE_MARKER)
            self._ended.wait(_GRACE_SECONDS)
        self.kill()
        self._ended.wait(_GRACE_SECONDS)

    def kill(self) -> None:
        """Kills the process."""
        if not self._ended.is_set():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def _exited(self, status: int) -> None:
        with self._lock:
            self.loss = _describe_exit(self.worker_id, status)
            for future in self._pending:
                if not future.is_done():
                    future.set(self._lost())
        self._ended.set()

    def _lost(self) -> beam_fn_api_pb2.InstructionResponse:
        return beam_fn_api_pb2.InstructionResponse(error=self.loss)


class Worker(worker_handlers.GrpcWorkerHandler):  # type: ignore[misc]
    """A worker of the pool: one process, or after its loss another one.

    Args:
        pool: The run's pool.
        state: Beam's.
        provision_info: Beam's.
        server: What workers connect to.
    """

    def __init__(self, pool: WorkerPool, state: Any, provision_info: Any, server: Any) -> None:
        super().__init__(state, provision_info, server)
        self._pool = pool
        self._server = server
        self._number = pool.add(self)
        self._starts = 0
        self._lock = threading.Lock()
        self.current: Connection | None = None

    def start_worker(self) -> None:
        """Starts the first process."""
        self.connection()

    def connection(self) -> Connection:
        """The process to work with, started if there is none.

        Raises:
            JobError: It cannot be started.
        """
        with self._lock:
            if self.current is None or self.current.loss is not None:
                name = f"sdk-{self._number}-{self._starts}"
                self._starts += 1
                self.current = Connection(name, self._server, self._pool.start)
                self._pool.changed()
            return self.current

    def close(self) -> None:
        """Ends the process."""
        if self.current is not None:
            self._pool.look()
            self.current.close()

    def host_from_worker(self) -> str:
        """Where workers find the server."""
        return _HOST


class WorkerPool:
    """All workers of a run.

    Args:
        start: Starts a worker process with further variables; is given what to call at its end,
            and returns the process id.
        on_change: Is given the ids of the processes whenever they are others.
    """

    def __init__(self, start: Start, on_change: Callable[[list[int]], None]) -> None:
        self._start = start
        self._on_change = on_change
        self._workers: list[Worker] = []
        self.usage = Usage()

    def add(self, worker: Worker) -> int:
        """Takes in a worker and returns its number."""
        self._workers.append(worker)
        return len(self._workers) - 1

    def start(self, variables: Mapping[str, str], on_exit: Callable[[int], None]) -> int:
        """Starts a worker process."""

        def ended(status: int) -> None:
            on_exit(status)
            self.changed()

        return self._start(variables, ended)

    def pids(self) -> list[int]:
        """The ids of the processes that run."""
        connections = [worker.current for worker in self._workers]
        return [one.pid for one in connections if one is not None and one.loss is None]

    def look(self) -> None:
        """Looks at what the processes that run have used."""
        self.usage.look(self.pids())

    def kill_one(self) -> bool:
        """Kills one worker process; returns whether there was one."""
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                return True
        return False

    def changed(self) -> None:
        """Tells which processes there are."""
        self.look()
        self._on_change(self.pids())


def install(pool: WorkerPool, logs: WorkerLogs) -> None:
    """Makes Beam's runner of this process use a pool for `ENVIRONMENT_URN`."""

    def create(_: bytes, state: Any, provision_info: Any, server: Any) -> Worker:
        return Worker(pool, state, provision_info, server)

    worker_handlers.WorkerHandler.register_environment(ENVIRONMENT_URN, bytes)(create)
    # The runner names its server's class nowhere else.
    worker_handlers.GrpcServer = functools.partial(LoopbackServer, logs)


def _describe_exit(worker_id: str, status: int) -> str:
    reason = f"exited with status {status}"
    if status < 0:
        memory = "; out of memory?" if status == -signal.SIGKILL else ""
        reason = f"killed by signal {-status}{memory}"
    return (
        f"SDK harness {worker_id} disconnected: worker lost ({reason}). This usually means that"
        " the process running the pipeline code has crashed. Inspect the worker logs to determine"
        " the cause of the crash."
    )
