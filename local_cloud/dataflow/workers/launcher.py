"""Runs in the workers' environment: imports Beam once, then forks a worker for each request.

A script of its own that imports nothing of `local_cloud`, which the workers do not have. It is
started with the number of a socket on which it speaks JSON, one object per line:

    to its starter     {"ready": [names of the loaded modules]} or {"failed": traceback}
    from its starter   {"variables": ..., "directory": ..., "path": ..., "site": ...}, and the log
    to its starter     {"pid": ...}, and when that process has ended {"pid": ..., "status": ...}

When the socket ends, so do all workers.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import selectors
import signal
import site
import socket
import sys
import tempfile
import traceback
import types
from typing import Any

# So long may a request be: it holds the environment variables.
_REQUEST_BYTES = 4 * 1024 * 1024


def main() -> None:
    """Serves one starter, to its end."""
    del sys.path[0]  # Of this script; workers are to find none of its neighbours.
    starter = socket.socket(fileno=int(sys.argv[1]))
    try:
        _import_beam()
    except BaseException:  # noqa: BLE001  (whatever a job's package does when imported)
        _send(starter, {"failed": traceback.format_exc()})
        return
    loaded = [name for name, one in sys.modules.items() if getattr(one, "__file__", None)]
    _send(starter, {"ready": loaded})
    _serve(starter)


def _import_beam() -> None:
    importlib.import_module("apache_beam.runners.worker.sdk_worker_main")
    with contextlib.suppress(ImportError):  # An image may have Beam without its gcp extra.
        importlib.import_module("apache_beam.io.gcp.gcsio")


def _serve(starter: socket.socket) -> None:
    children: set[int] = set()
    wakeup, signalled = socket.socketpair()
    for one in (wakeup, signalled):
        one.setblocking(False)
    signal.set_wakeup_fd(signalled.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    with selectors.DefaultSelector() as selector:
        selector.register(starter, selectors.EVENT_READ)
        selector.register(wakeup, selectors.EVENT_READ)
        while True:
            ready = {key.fileobj for key, _ in selector.select()}
            if wakeup in ready:
                wakeup.recv(4096)
                _report_ended(starter, children)
            if starter in ready:
                request, logs = _receive(starter)
                if request is None:
                    break
                children.add(_fork(request, logs[0], starter))
                os.close(logs[0])
    for child in children:
        os.kill(child, signal.SIGKILL)


def _fork(request: dict[str, Any], log: int, starter: socket.socket) -> int:
    pid = os.fork()
    if pid:
        _send(starter, {"pid": pid})
        return pid
    status = 1
    try:
        starter.close()
        _run_worker(request, log)
        status = 0
    except BaseException:  # noqa: BLE001  (the end of the process, whatever it is)
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _run_worker(request: dict[str, Any], log: int) -> None:
    """Makes this process what ``python -m apache_beam.runners.worker.sdk_worker_main`` is."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ.clear()
    os.environ.update(request["variables"])
    os.chdir(request["directory"])
    tempfile.tempdir = None  # TMPDIR is another one now.
    if request["site"]:
        _add_site(request["site"])
    if request["path"]:
        sys.path.insert(0, request["path"])
    sys.argv = ["sdk_worker_main"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed()  # Not that of all other workers.
    worker: Any = importlib.import_module("apache_beam.runners.worker.sdk_worker_main")
    worker.main(sys.argv)


def _add_site(folder: str) -> None:
    """Lets a folder of packages come before those that are there."""
    before = list(sys.path)
    site.addsitedir(folder)
    added = [path for path in sys.path if path not in before]
    first_site = next((i for i, path in enumerate(before) if "site-packages" in path), len(before))
    sys.path[:] = [*before[:first_site], *added, *before[first_site:]]
    importlib.invalidate_caches()


def _report_ended(starter: socket.socket, children: set[int]) -> None:
    for child in list(children):
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            children.discard(pid)
            _send(starter, {"pid": pid, "status": os.waitstatus_to_exitcode(status)})


def _receive(starter: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    data, descriptors, _, _ = socket.recv_fds(starter, _REQUEST_BYTES, 1)
    while data and not data.endswith(b"\n"):
        more = starter.recv(_REQUEST_BYTES)
        data = data + more if more else b""
    return (json.loads(data) if data else None), descriptors


def _send(starter: socket.socket, message: dict[str, Any]) -> None:
    starter.sendall(json.dumps(message).encode() + b"\n")


if __name__ == "__main__":
    main()
