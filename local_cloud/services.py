"""How each service is started, and how it is known to be ready."""

from __future__ import annotations

import asyncio
import struct
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus

from local_cloud.files import Files
from local_cloud.settings import HOST, PORTS, Settings

_READY = "/_local_cloud/ready"
_PATIENCE_SECONDS = 5
_POSTGRES_PROTOCOL = 3 << 16


@dataclass(frozen=True)
class Service:
    """A process of the local cloud.

    Attributes:
        name: One of `SERVICES`.
        command: What starts it.
        is_ready: Whether it answers.
    """

    name: str
    command: tuple[str, ...]
    is_ready: Callable[[], Awaitable[bool]]


def services_of(files: Files, settings: Settings) -> list[Service]:
    """The services that the settings name."""
    return [_service(name, files, settings) for name in settings.services]


def _service(name: str, files: Files, settings: Settings) -> Service:
    port = settings.ports[name]
    arguments = ["--port", str(port)]
    if name != "postgres":
        arguments += ["--host", settings.address]
    if name == "gateway":
        arguments += ["--directory", str(files.directory), *_gateway_arguments(settings)]
    else:
        arguments += ["--directory", str(files.data(name))]
    if name in ("storage", "dataflow", "bigquery"):
        for project in settings.projects:
            arguments += ["--project", project]
    if name == "dataflow":
        arguments += ["--grpc_port", str(settings.ports["dataflow_grpc"])]
        arguments += ["--parallel_jobs", str(settings.parallel_jobs)]
    if name == "postgres":
        arguments += ["--password_file", str(files.postgres_password)]

    async def is_ready() -> bool:
        return await (_accepts_logins(port) if name == "postgres" else _answers_ready(port))

    command = (sys.executable, "-m", "local_cloud.leash", f"local_cloud.{name}", *arguments)
    return Service(name, command, is_ready)


def _gateway_arguments(settings: Settings) -> list[str]:
    arguments = ["--project", settings.projects[0]]
    for host in settings.pass_through:
        arguments += ["--pass_through", host]
    for service in ("storage", "dataflow", "bigquery"):
        if service in settings.services:
            for name in PORTS[service]:
                arguments += [f"--{name}_port", str(settings.ports[name])]
    return arguments


async def _answers_ready(port: int) -> bool:
    request = f"GET {_READY} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode()
    answer = await _ask(port, request, len("HTTP/1.1 200"))
    return answer.endswith(str(HTTPStatus.OK.value).encode())


async def _accepts_logins(port: int) -> bool:
    """Whether Postgres asks who it is that connects; an error is its answer while it starts."""
    parameters = b"user\0postgres\0\0"
    startup = struct.pack("!ii", 8 + len(parameters), _POSTGRES_PROTOCOL) + parameters
    return await _ask(port, startup, 1) == b"R"


async def _ask(port: int, request: bytes, answer_bytes: int) -> bytes:
    """The first bytes of an answer; none where nothing answers."""
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            reader, writer = await asyncio.open_connection(HOST, port)
            try:
                writer.write(request)
                return await reader.readexactly(answer_bytes)
            finally:
                writer.close()
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        return b""
