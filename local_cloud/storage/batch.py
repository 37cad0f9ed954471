"""POST /batch/storage/v1: up to a hundred calls in one request, answered one after the other."""

from __future__ import annotations

import email.message
from email.parser import BytesParser
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Scope

from local_cloud.storage.calls import body
from local_cloud.storage.errors import invalid

_MAX_CALLS = 100
_BOUNDARY = "batch_of_the_local_cloud"


async def run_batch(request: Request) -> Response:
    """Makes the calls in the parts of a ``multipart/mixed`` body."""
    content_type = request.headers.get("content-type", "")
    message = BytesParser().parsebytes(
        b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + await body(request)
    )
    parts = message.get_payload() if message.is_multipart() else None
    if not isinstance(parts, list):
        raise invalid("Failed to parse batch request: it is not multipart/mixed.")
    if len(parts) > _MAX_CALLS:
        raise invalid(f"The batch has {len(parts)} calls; at most {_MAX_CALLS} are allowed.")
    answers = bytearray()
    for part in parts:
        assert isinstance(part, email.message.Message)  # noqa: S101 - the parser's doing
        text = part.get_payload(decode=True)
        if not isinstance(text, bytes):
            raise invalid("Failed to parse batch request: a part is no HTTP request.")
        answer = await _run(request, text)
        content_id = str(part.get("Content-ID", "")).strip().removeprefix("<")
        answers += (
            f"--{_BOUNDARY}\r\nContent-Type: application/http\r\n"
            f"Content-ID: <response-{content_id or '>'}\r\n\r\n"
        ).encode()
        answers += answer + b"\r\n"
    answers += f"--{_BOUNDARY}--\r\n".encode()
    return Response(
        bytes(answers), headers={"Content-Type": f"multipart/mixed; boundary={_BOUNDARY}"}
    )


async def _run(outer: Request, text: bytes) -> bytes:
    scope, content = _parse(outer, text)
    messages: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": content, "more_body": False}

    async def send(message: Message) -> None:
        messages.append(message)

    await outer.app(scope, receive, send)
    start, *rest = messages
    answer = bytearray(f"HTTP/1.1 {_status_line(start['status'])}\r\n".encode())
    for name, value in start.get("headers", []):
        answer += name + b": " + value + b"\r\n"
    return bytes(answer + b"\r\n" + b"".join(message.get("body", b"") for message in rest))


def _parse(outer: Request, text: bytes) -> tuple[Scope, bytes]:
    """The scope of an inner call and its body."""
    line, _, rest = text.lstrip().replace(b"\r\n", b"\n").partition(b"\n")
    head, _, content = rest.partition(b"\n\n") if not rest.startswith(b"\n") else (b"", b"", rest)
    try:
        verb, target, *_ = line.decode("ascii").split()
    except ValueError:
        raise invalid("Failed to parse batch request: a part is no HTTP request.") from None
    url = urlsplit(target)
    headers = [(b"host", outer.headers.get("host", "").encode())]
    for header in head.splitlines():
        name, _, value = header.partition(b":")
        if name.strip().lower() not in (b"host", b"content-length"):
            headers.append((name.strip().lower(), value.strip()))
    kept = ("type", "asgi", "http_version", "server", "client", "scheme", "root_path", "state")
    scope = {
        **{key: outer.scope[key] for key in kept if key in outer.scope},
        "method": verb,
        "path": url.path,
        "raw_path": url.path.encode(),
        "query_string": url.query.encode(),
        "headers": headers,
    }
    return scope, content.strip()


def _status_line(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)
