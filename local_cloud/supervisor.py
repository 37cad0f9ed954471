"""Runs the services of a local cloud: starts them, keeps them running, ends all of them.

``python -m local_cloud.supervisor --directory D`` prints one line when all are ready, as JSON: an
empty object, or one with the ``error``. Then it serves until it is told to end.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import json
import logging
import os
import secrets
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from local_cloud.environment import (
    client_environment,
    format_environment,
    outer_bundle,
)
from local_cloud.files import Files, write_atomically
from local_cloud.gateway.hosts import CERTIFIED_HOSTS
from local_cloud.identity import prepare_identity
from local_cloud.loopback import make_bucket
from local_cloud.services import Service, services_of
from local_cloud.settings import LocalCloudError, Settings, load_settings

_log = logging.getLogger("local_cloud.supervisor")
_PRIVATE = 0o600
_START_SECONDS = 60
_POLL_SECONDS = 0.05
# How long a service may take to end in order. A Dataflow service has workers to end.
_END_SECONDS = 8
_LOCK_SECONDS = 1
_BACKOFF_SECONDS = 0.5
_MAX_BACKOFF_SECONDS = 30.0
_TAIL_LINES = 15


@dataclass
class _Running:
    """A service's process, and what has become of the ones before."""

    service: Service
    process: asyncio.subprocess.Process | None = None
    state: str = "starting"
    restarts: int = 0
    log_start: int = field(default=0)


class Supervisor:
    """The processes of one local cloud."""

    def __init__(self, files: Files, settings: Settings) -> None:
        self._files = files
        self._environment = {
            **os.environ,
            **client_environment(files, settings, os.environ),
            "PYTHONUNBUFFERED": "1",
        }
        self._running = [_Running(service) for service in services_of(files, settings)]

    async def start(self) -> None:
        """Starts all services and waits until they are ready.

        Raises:
            LocalCloudError: One of them died, or is not ready in time; has what it last said.
        """
        try:
            async with asyncio.TaskGroup() as group:
                for running in self._running:
                    group.create_task(self._launch(running))
        except* LocalCloudError as errors:
            # The first to fail is why others may have failed.
            raise errors.exceptions[0] from None

    async def keep(self) -> None:
        """Starts again what dies, for ever; waits longer each time it dies again."""
        async with asyncio.TaskGroup() as group:
            for running in self._running:
                group.create_task(self._keep(running))

    async def end(self) -> None:
        """Ends all services, and whatever they have started in their process groups."""
        await asyncio.gather(*(_end(running) for running in self._running))
        self._files.status.unlink(missing_ok=True)

    async def _keep(self, running: _Running) -> None:
        backoff = _BACKOFF_SECONDS
        while True:
            assert running.process is not None  # noqa: S101 - it has been started
            started = asyncio.get_running_loop().time()
            status = await running.process.wait()
            _kill_group(running.process.pid)
            if asyncio.get_running_loop().time() - started > _MAX_BACKOFF_SECONDS:
                backoff = _BACKOFF_SECONDS
            name = running.service.name
            _log.error("%s ended with status %s; starts again in %s s", name, status, backoff)
            self._note(running, "restarting")
            await asyncio.sleep(backoff)
            backoff = min(2 * backoff, _MAX_BACKOFF_SECONDS)
            running.restarts += 1
            try:
                await self._launch(running)
            except LocalCloudError as error:
                _log.error("%s", error)

    async def _launch(self, running: _Running) -> None:
        service = running.service
        with self._files.log(service.name).open("ab") as log:
            running.log_start = log.tell()
            running.process = await asyncio.create_subprocess_exec(
                *service.command,
                # Nothing is written to it: it is what ends the service when this process is gone.
                stdin=asyncio.subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=self._environment,
                cwd=_import_directory(),
                start_new_session=True,
            )
        self._note(running, "starting")
        died = asyncio.create_task(running.process.wait())
        try:
            async with asyncio.timeout(_START_SECONDS):
                while not await service.is_ready():
                    if died.done():
                        raise LocalCloudError(
                            f"{service.name} does not start:{self._tail(running)}"
                        )
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            _kill_group(running.process.pid)
            raise LocalCloudError(
                f"{service.name} is not ready after {_START_SECONDS} s:{self._tail(running)}"
            ) from None
        finally:
            died.cancel()
        self._note(running, "ready")
        _log.info("%s is ready", service.name)

    def _note(self, running: _Running, state: str) -> None:
        running.state = state
        services = {
            one.service.name: {
                "state": one.state,
                "pid": one.process.pid if one.process else None,
                "restarts": one.restarts,
            }
            for one in self._running
        }
        document = {"pid": os.getpid(), "services": services}
        write_atomically(self._files.status, json.dumps(document, indent=2) + "\n")

    def _tail(self, running: _Running) -> str:
        """What a service has said since it was started, on lines of their own."""
        with self._files.log(running.service.name).open("rb") as log:
            log.seek(running.log_start)
            lines = log.read().decode(errors="replace").splitlines()
        if len(lines) <= 1:
            return " " + "".join(lines)
        return "\n" + "\n".join(f"  {line}" for line in lines[-_TAIL_LINES:])


async def _end(running: _Running) -> None:
    process = running.process
    if process is None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(_END_SECONDS):
            await process.wait()
    except TimeoutError:
        _log.warning("%s does not end: killed", running.service.name)
    _kill_group(process.pid)
    await process.wait()


def _kill_group(leader: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def _import_directory() -> Path:
    """Where `python -m` finds this package, wherever the local cloud was started from."""
    return Path(__file__).parent.parent


async def _run(files: Files, settings: Settings) -> None:
    _cancel_when_told(asyncio.current_task())
    supervisor = Supervisor(files, settings)
    try:
        await supervisor.start()
        for bucket in settings.buckets:
            await asyncio.to_thread(make_bucket, settings, bucket)
        _tell_starter({})
        await supervisor.keep()
    except LocalCloudError as error:
        _tell_starter({"error": str(error)})
        sys.exit(1)
    finally:
        await supervisor.end()


def _cancel_when_told(task: asyncio.Task[None] | None) -> None:
    """Cancels a task when the process is told to end; told again, it is ending already."""
    told = False

    def end() -> None:
        nonlocal told
        if not told and task is not None:
            told = True
            task.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, end)


def _prepare(files: Files, settings: Settings) -> None:
    bundle = outer_bundle(os.environ) if settings.pass_through else None
    prepare_identity(files, settings, CERTIFIED_HOSTS, bundle)
    if not files.postgres_password.exists():
        write_atomically(files.postgres_password, secrets.token_hex(16), _PRIVATE)
    variables = client_environment(files, settings, os.environ)
    write_atomically(files.environment, format_environment(variables), _PRIVATE)
    for name in settings.services:
        if name != "gateway":
            files.data(name).mkdir(exist_ok=True)


def _tell_starter(document: dict[str, str]) -> None:
    # The starter may be gone, or go when it has read this.
    with contextlib.suppress(OSError):
        os.write(sys.stdout.fileno(), (json.dumps(document) + "\n").encode())
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


def _lock(files: Files) -> IO[str]:
    """Holds the directory until the process ends, however it ends."""
    lock = files.lock.open("w")
    deadline = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() < deadline:  # Who asks whether it is locked locks it for a moment.
                time.sleep(_POLL_SECONDS)
                continue
            _tell_starter({"error": f"A local cloud runs in {files.directory} already."})
            sys.exit(1)
        return lock


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the local cloud that a directory's settings describe."""
    parser = argparse.ArgumentParser(prog="python -m local_cloud.supervisor")
    parser.add_argument("--directory", type=Path, required=True)
    files = Files(parser.parse_args(arguments).directory.resolve())
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    with _lock(files):
        files.status.unlink(missing_ok=True)  # Of one that was killed.
        settings = load_settings(files.directory)
        _prepare(files, settings)
        with contextlib.suppress(asyncio.CancelledError, KeyboardInterrupt):
            asyncio.run(_run(files, settings))


if __name__ == "__main__":
    main()
