"""Several calls in one HTTP request, as Airflow's hook cancels jobs."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from email.message import Message
from email.parser import BytesParser
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Message as Part

from local_cloud.errors import ServiceError

# What a call has of the request that it came in.
_SHARED = ("type", "asgi", "http_version", "scheme", "server", "client", "state")


async def _batch(request: Request) -> Response:
    """Answers the calls of a batch, in their order."""
    head = f"Content-Type: {request.headers.get('content-type', '')}\r\n\r\n".encode()
    parts = BytesParser().parsebytes(head + await request.body())
    if not parts.is_multipart():
        raise ServiceError(400, "The body of a batch is multipart/mixed.")
    answers = [await _answer(request, part) for part in _messages(parts)]
    boundary = f"batch_{secrets.token_hex(12)}"
    body = b"".join(b"--%s\r\n%s\r\n" % (boundary.encode(), answer) for answer in answers)
    return Response(
        body + b"--%s--\r\n" % boundary.encode(),
        media_type=f"multipart/mixed; boundary={boundary}",
    )


ROUTE = Route("/batch", _batch, methods=["POST"], name="dataflow.batch")


def _messages(parts: Message) -> Iterable[Message]:
    payload = parts.get_payload()
    return [part for part in payload if isinstance(part, Message)]


async def _answer(request: Request, part: Message) -> bytes:
    """Has the app answer one call, as if it had come alone."""
    content = part.get_payload(decode=True)
    line, _, rest = (content if isinstance(content, bytes) else b"").partition(b"\n")
    words = line.decode("latin-1").split()
    if len(words) < 2:  # noqa: PLR2004 - a method and an address
        raise ServiceError(400, "A part of the batch is not an HTTP request.")
    call = BytesParser().parsebytes(rest)
    address = urlsplit(words[1])
    body = call.get_payload(decode=True)
    scope = {
        **{key: request.scope[key] for key in _SHARED if key in request.scope},
        "method": words[0],
        "path": address.path,
        "raw_path": address.path.encode(),
        "query_string": address.query.encode(),
        "headers": [(name.lower().encode(), value.encode()) for name, value in call.items()],
    }
    status, sent = HTTPStatus.OK, b""

    async def receive() -> Part:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Part) -> None:
        nonlocal status, sent
        if message["type"] == "http.response.start":
            status = HTTPStatus(message["status"])
        else:
            sent += message.get("body", b"")

    await request.app(scope, receive, send)
    name = part.get("Content-ID", "").strip("<>")
    return (
        f"Content-Type: application/http\r\nContent-ID: <response-{name}>\r\n\r\n"
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(sent)}\r\n\r\n"
    ).encode() + sent
