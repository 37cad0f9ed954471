"""The proxy: ends TLS for the hosts that it stands in for, refuses all others."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections import Counter
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

from local_cloud.gateway.hosts import METADATA_HOSTS, Backend, Hosts, is_google, needs_path
from local_cloud.settings import HOST

_log = logging.getLogger("local_cloud.gateway")
BUFFER_BYTES = 256 * 1024


@dataclass(frozen=True)
class _Head:
    """The first line and the headers of a request, as they came."""

    method: str
    target: str
    raw: bytes

    def with_path(self, path: str) -> bytes:
        """The request for a path, as the only one of its connection.

        A connection that has been looked into can go on to another service: it must not.
        """
        first, rest = self.raw.split(b"\r\n", 1)
        version = first.rsplit(b" ", 1)[1]
        lines = [
            line
            for line in rest.split(b"\r\n")
            if not line.lower().startswith((b"connection:", b"proxy-connection:"))
        ]
        request = f"{self.method} {path} ".encode("latin-1") + version
        return b"\r\n".join([request, b"Connection: close", *lines])


class Proxy:
    """Where clients' connections come in.

    Attributes:
        refused: How often each host was refused.
    """

    def __init__(self, hosts: Hosts, certificate: Path) -> None:
        self.refused: Counter[str] = Counter()
        self._hosts = hosts
        self._contexts = {
            http2: _server_context(certificate, http2=http2) for http2 in (False, True)
        }

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one connection to its end."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, ssl.SSLError):
            try:
                head = await _read_head(reader)
                if head is not None and head.method == "CONNECT":
                    await self._connect(head, reader, writer)
                elif head is not None:
                    await self._forward(head, reader, writer)
            finally:
                writer.close()

    async def _connect(
        self, head: _Head, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        host, _, port = head.target.lower().rpartition(":")
        if host in self._hosts.pass_through and not is_google(host):
            await self._tunnel(host, int(port), reader, writer)
            return
        backend = self._hosts.backend(host)
        if backend is None and not needs_path(host):
            await self._refuse(host, writer)
            return
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        http2 = backend is not None and backend.http2_port is not None
        await writer.start_tls(self._contexts[http2])
        if backend is None:
            await self._forward_by_path(host, reader, writer)
            return
        chosen = writer.get_extra_info("ssl_object").selected_alpn_protocol()
        target = backend.http2_port if chosen == "h2" else backend.port
        await _splice((reader, writer), await asyncio.open_connection(HOST, target))

    async def _tunnel(
        self, host: str, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            upstream = await asyncio.open_connection(host, port)
        except OSError as error:
            sentence = f"The local cloud lets {host} through, but cannot reach it: {error}."
            await _answer(writer, HTTPStatus.BAD_GATEWAY, "Unreachable", sentence)
            return
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await _splice((reader, writer), upstream)

    async def _forward_by_path(
        self, host: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        head = await _read_head(reader)
        if head is None:
            return
        backend = self._hosts.backend(host, head.target)
        if backend is None:
            await self._refuse(f"{host}{head.target.partition('?')[0]}", writer)
            return
        upstream = await asyncio.open_connection(HOST, backend.port)
        upstream[1].write(head.with_path(head.target))
        await _splice((reader, writer), upstream)

    async def _forward(
        self, head: _Head, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Answers a request that is for this port itself, or for a host over plain HTTP."""
        url = urlsplit(head.target)
        host = url.hostname or ""
        if not url.scheme:
            backend: Backend | None = self._hosts.backends["identity"]
        elif host in METADATA_HOSTS:
            backend = self._hosts.backends["identity"]
        else:
            backend = self._hosts.backend(host, url.path)
        if backend is None:
            await self._refuse(host, writer)
            return
        path = (url.path or "/") + (f"?{url.query}" if url.query else "")
        upstream = await asyncio.open_connection(HOST, backend.port)
        upstream[1].write(head.with_path(path))
        await _splice((reader, writer), upstream)

    async def _refuse(self, host: str, writer: asyncio.StreamWriter) -> None:
        self.refused[host] += 1
        sentence = self._hosts.refusal(host)
        _log.warning("%s", sentence)
        # Many clients show nothing but the reason.
        await _answer(writer, HTTPStatus.FORBIDDEN, "Refused by the local cloud", sentence)


async def _answer(
    writer: asyncio.StreamWriter, status: HTTPStatus, reason: str, sentence: str
) -> None:
    body = f"{sentence}\n".encode()
    head = (
        f"HTTP/1.1 {status.value} {reason}\r\nContent-Type: text/plain\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    writer.write(head.encode() + body)
    await writer.drain()


def _server_context(certificate: Path, *, http2: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.set_alpn_protocols(["h2", "http/1.1"] if http2 else ["http/1.1"])
    return context


async def _read_head(reader: asyncio.StreamReader) -> _Head | None:
    """The head of the next request; None where there is none, or what came is none."""
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return None
    match raw.split(b"\r\n", 1)[0].decode("latin-1").split(" "):
        case [method, target, version] if version.startswith("HTTP/1"):
            return _Head(method, target, raw)
    return None


_Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _splice(client: _Stream, upstream: _Stream) -> None:
    """Carries bytes both ways until both ends are done, or one breaks."""
    try:
        async with asyncio.TaskGroup() as both:
            both.create_task(_pump(client[0], upstream[1]))
            both.create_task(_pump(upstream[0], client[1]))
    except* OSError:
        # What has broken on one side is to break on the other: no answer may look whole.
        client[1].transport.abort()
    finally:
        upstream[1].close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(BUFFER_BYTES):
        writer.write(chunk)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
    else:  # TLS cannot be closed one way.
        writer.close()
