"""A call as its method sees it, and how methods become endpoints."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Match, Route
from starlette.types import Scope

from local_cloud.storage.errors import answering_disk_errors, invalid
from local_cloud.storage.preconditions import NotModified
from local_cloud.storage.store import Store

_MAX_BODY_BYTES = 16 * 1024 * 1024

Endpoint = Callable[[Request], Awaitable[Response]]


class RawRoute(Route):
    """A route that sees the path as it was sent: a ``%2F`` is part of a name."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """How well the route fits a request; path parameters come out decoded."""
        if scope["type"] != "http":
            return Match.NONE, {}
        match, child = super().matches({**scope, "path": scope["raw_path"].decode("latin-1")})
        for key, value in child.get("path_params", {}).items():
            # What is not UTF-8 becomes what the check of names refuses.
            child["path_params"][key] = unquote(value, errors="surrogateescape")
        return match, child


@dataclass(frozen=True)
class Call:
    """A call without its body, which a method may stream.

    Attributes:
        store: The data.
        method: Of HTTP.
        base: How the client reaches the service: scheme, host and port.
        path: The parameters in the path.
        query: The other parameters.
        headers: By their names in lower case.
        hashes: The values of ``x-goog-hash``, which may be there twice.
    """

    store: Store
    method: str
    base: str
    path: Mapping[str, str]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    hashes: list[str]

    @classmethod
    def of(cls, request: Request) -> Call:
        """The call that a request makes."""
        return cls(
            store=request.app.state.store,
            method=request.method,
            base=str(request.base_url).rstrip("/"),
            path=request.path_params,
            query=request.query_params,
            headers=request.headers,
            hashes=request.headers.getlist("x-goog-hash"),
        )

    @property
    def generation(self) -> int | None:
        """The generation that the call is about, if it says one."""
        return self.number("generation")

    def number(self, parameter: str) -> int | None:
        """A parameter that is a number.

        Raises:
            StorageError: It is none.
        """
        text = self.query.get(parameter)
        if text is None:
            return None
        if not text.isdecimal():
            raise invalid(f"Invalid value for {parameter}: {text!r}", location=parameter)
        return int(text)

    def flag(self, parameter: str) -> bool:
        """A parameter that is true or false."""
        return self.query.get(parameter, "").lower() == "true"


def reading(method: Callable[[Call], Response]) -> Endpoint:
    """The endpoint of a method that needs no body; it runs in a thread."""

    async def endpoint(request: Request) -> Response:
        return await answer(method, Call.of(request))

    return endpoint


def with_resource(method: Callable[[Call, dict[str, Any]], Response]) -> Endpoint:
    """The endpoint of a method that takes a JSON resource; it runs in a thread."""

    async def endpoint(request: Request) -> Response:
        return await answer(method, Call.of(request), parse_resource(await body(request)))

    return endpoint


async def answer(method: Callable[..., Response], *arguments: Any) -> Response:
    """Runs a method in a thread.

    Raises:
        ServiceError: The method refuses, or the disk is full.
    """
    try:
        with answering_disk_errors():
            return await run_in_threadpool(method, *arguments)
    except NotModified:
        return Response(status_code=304)


async def body(request: Request) -> bytes:
    """All of a body that is no content of an object.

    Raises:
        StorageError: It is too long for that.
    """
    received = bytearray()
    async for chunk in request.stream():
        received += chunk
        if len(received) > _MAX_BODY_BYTES:
            raise invalid(f"The request is longer than {_MAX_BODY_BYTES} bytes.")
    return bytes(received)


def parse_resource(text: bytes) -> dict[str, Any]:
    """The JSON object in a body, which may be empty.

    Raises:
        StorageError: It is something else.
    """
    try:
        resource = json.loads(text or b"{}")
    except ValueError:
        raise invalid("Parse Error", xml_code="ParseError") from None
    if not isinstance(resource, dict):
        raise invalid("The request's body is no JSON object.")
    return resource


def json_response(resource: Mapping[str, Any], status: int = 200) -> Response:
    """The answer with a resource, which may have an ETag."""
    headers = {"ETag": resource["etag"]} if "etag" in resource else {}
    return JSONResponse(
        resource, status, {**headers, "Cache-Control": "no-cache, no-store, max-age=0"}
    )
