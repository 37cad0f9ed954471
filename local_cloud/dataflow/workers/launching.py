"""Starts worker processes: a launcher in their environment has Beam imported and forks them."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from local_cloud.dataflow.workers import closure
from local_cloud.dataflow.workers.environment import Environment
from local_cloud.dataflow.workers.errors import JobError
from local_cloud.environment import OUTER_PREFIX

_SCRIPT = Path(__file__).with_name("launcher.py")
_HIDDEN = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
OnExit = Callable[[int], None]


class Launcher:
    """The launcher of one environment.

    Args:
        environment: Where its workers run.
    """

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [environment.python, "-s", _SCRIPT, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr,
                env=worker_variables(environment),
                cwd=environment.directory,
            )
        self._lock = threading.Lock()
        self._first: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._pids: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._on_exit: dict[int, OnExit] = {}
        self._ended: dict[int, int] = {}
        self._exits = threading.Lock()
        self._loaded: frozenset[str] | None = None
        threading.Thread(target=self._read, name="launcher", daemon=True).start()

    def can_run(self, environment: Environment) -> bool:
        """Whether it can fork workers of an environment: its own, or one that adds to it.

        What it has imported already must not be among what is added.
        """
        if environment == self.environment:
            return True
        if environment.base != self.environment:
            return False
        loaded = self._wait_until_ready()
        added = closure.installed(environment.site)
        return all(loaded.isdisjoint(closure.module_names(one)) for one in added)

    def start(
        self,
        environment: Environment,
        variables: Mapping[str, str],
        directory: Path,
        on_exit: OnExit,
    ) -> int:
        """Starts a worker and returns its process id.

        Args:
            environment: Where it runs; one that `can_run` says yes to.
            variables: What it has beside the environment's variables.
            directory: The folder to start in, if that is of no matter to the environment.
            on_exit: Is called once with the process's exit status.

        Raises:
            JobError: Beam cannot be imported there.
        """
        self._wait_until_ready()
        request = {
            "variables": {**worker_variables(environment), **variables},
            "directory": str(environment.directory or directory),
            "path": str(environment.directory) if environment.directory else None,
            "site": str(environment.site) if environment != self.environment else None,
        }
        with self._lock:
            data = json.dumps(request).encode() + b"\n"
            sent = socket.send_fds(self._socket, [data], [sys.stderr.fileno()])
            self._socket.sendall(data[sent:])
            pid = self._pids.get()
            if pid < 0:
                raise JobError(_NO_START.format("its launcher has ended"))
        with self._exits:
            status = self._ended.pop(pid, None)
            if status is None:
                self._on_exit[pid] = on_exit
        if status is not None:
            on_exit(status)
        return pid

    def close(self) -> None:
        """Ends it and its workers."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._process.wait()

    def _wait_until_ready(self) -> frozenset[str]:
        with self._lock:
            if self._loaded is None:
                message = self._first.get()
                if "ready" not in message:
                    raise JobError(_NO_START.format(message.get("failed", "it has ended")))
                self._loaded = frozenset(message["ready"])
            return self._loaded

    def _read(self) -> None:
        with contextlib.suppress(OSError), self._socket.makefile("rb") as lines:
            self._first.put(json.loads(next(lines, b"{}")))
            for line in lines:
                message = json.loads(line)
                if "status" not in message:
                    self._pids.put(message["pid"])
                else:
                    self._exited(message["pid"], message["status"])
        self._pids.put(-1)
        for pid in list(self._on_exit):
            self._exited(pid, -signal.SIGKILL)

    def _exited(self, pid: int, status: int) -> None:
        with self._exits:
            on_exit = self._on_exit.pop(pid, None)
            if on_exit is None:  # It ended before its start returned.
                self._ended[pid] = status
        if on_exit:
            on_exit(status)


_NO_START = "Error message from worker: the SDK harness could not be started: {}"


def worker_variables(environment: Environment) -> dict[str, str]:
    """The environment variables of this process, as an environment's processes are to have them."""
    kept = {name: value for name, value in os.environ.items() if name not in _HIDDEN}
    kept = {name: value for name, value in kept.items() if not name.startswith(OUTER_PREFIX)}
    path = f"{environment.python.parent}{os.pathsep}{kept.get('PATH', os.defpath)}"
    # gRPC would go to the client environment's proxy even for this machine.
    return {**kept, "PATH": path, "no_grpc_proxy": "127.0.0.1,localhost", **environment.variables}
