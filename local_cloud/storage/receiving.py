"""Receiving contents: from the body of a request to a file, in constant memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Mapping
from email.message import Message

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from local_cloud.storage.contents import BLOCK_BYTES, ContentWriter
from local_cloud.storage.errors import invalid

_MAX_HEAD_BYTES = 1024 * 1024


async def receive(chunks: AsyncIterable[bytes], writer: ContentWriter) -> bool:
    """Writes what arrives; a block is written and hashed in a thread while the next one arrives.

    Args:
        chunks: The content.
        writer: Takes it.

    Returns:
        Whether all arrived; False when the connection was lost.
    """
    arrived: list[bytes] = []
    size = 0
    writing: Awaitable[None] | None = None
    complete = True
    try:
        async for chunk in chunks:
            arrived.append(chunk)
            size += len(chunk)
            if size >= BLOCK_BYTES:
                block = b"".join(arrived)
                arrived, size = [], 0
                if writing:
                    await writing
                writing = asyncio.ensure_future(run_in_threadpool(writer.write, block))
    except ClientDisconnect:
        complete = False
    finally:
        if writing:
            await writing
    await run_in_threadpool(writer.write, b"".join(arrived))
    return complete


async def skip(chunks: AsyncIterable[bytes], size: int) -> AsyncIterator[bytes]:
    """What comes after the first `size` bytes."""
    async for chunk in chunks:
        if size < len(chunk):
            yield chunk[size:]
        size -= min(size, len(chunk))


class RelatedBody:
    """A body of ``multipart/related`` that arrives: a resource, then a content."""

    def __init__(self, content_type: str, chunks: AsyncIterable[bytes]) -> None:
        message = Message()
        message["content-type"] = content_type
        boundary = message.get_param("boundary")
        if not isinstance(boundary, str):
            raise invalid("The multipart upload names no boundary in its Content-Type.")
        # Some clients quote it the way that only shells know.
        self._delimiter = b"--" + boundary.strip("'").encode()
        self._newline = b"\r\n"
        self._chunks = aiter(chunks)
        self._arrived = bytearray()

    async def head(self) -> tuple[bytes, Mapping[str, str]]:
        """The resource, and the headers of the content.

        Raises:
            StorageError: The body is malformed.
        """
        await self._until(self._delimiter)
        # apitools ends lines with \n alone.
        self._newline = b"\r\n" if (await self._until(b"\n")).endswith(b"\r") else b"\n"
        await self._headers()
        resource = await self._until(self._newline + self._delimiter)
        await self._until(self._newline)
        return resource, await self._headers()

    async def content(self) -> AsyncIterator[bytes]:
        """The content; to be read after the head.

        Raises:
            StorageError: The body ends before the content does.
        """
        end = self._newline + self._delimiter
        while (at := self._arrived.find(end)) < 0:
            safe = len(self._arrived) - len(end)
            if safe > 0:
                yield bytes(self._arrived[:safe])
                del self._arrived[:safe]
            await self._more()
        yield bytes(self._arrived[:at])
        async for _ in self._chunks:
            pass

    async def _headers(self) -> Mapping[str, str]:
        headers = {}
        while line := await self._until(self._newline):
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.strip().lower()] = value.strip()
        return headers

    async def _until(self, marker: bytes) -> bytes:
        while (at := self._arrived.find(marker)) < 0:
            if len(self._arrived) > _MAX_HEAD_BYTES:
                raise invalid("The multipart upload does not keep to its boundary.")
            await self._more()
        found = bytes(self._arrived[:at])
        del self._arrived[: at + len(marker)]
        return found

    async def _more(self) -> None:
        try:
            self._arrived += await anext(self._chunks)
        except StopAsyncIteration:
            raise invalid("The multipart upload ends before its closing boundary.") from None
