"""A call of the API, as its handlers see it, and the route that leads to it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local_cloud.bigquery.naming import not_found
from local_cloud.errors import ServiceError


@dataclass(frozen=True)
class Call:
    """A call.

    Attributes:
        path: The parts of the path: ``project``, ``dataset``, …
        query: The parameters.
        body: The document that came with it.
        if_match: The etag that a resource must have to be changed.
    """

    path: Mapping[str, str]
    query: Mapping[str, str]
    body: Mapping[str, Any]
    if_match: str | None = None

    @property
    def project(self) -> str:
        """The project that is spoken of."""
        return self.path["project"]

    def flag(self, name: str) -> bool:
        """Whether a parameter is true."""
        return self.query.get(name, "").lower() == "true"

    def number(self, name: str, default: int) -> int:
        """A parameter that is a whole number, at least 0."""
        found = self.query.get(name) or self.body.get(name) or default
        try:
            number = int(found)
        except ValueError:
            number = -1
        if number < 0:
            raise ServiceError(400, f"Invalid value for {name}: {found}", location=name)
        return number


Handler = Callable[[Call], Mapping[str, Any] | None]


def route(method: str, path: str, name: str, handler: Handler, projects: Sequence[str]) -> Route:
    """The route of a method.

    Args:
        method: The HTTP method.
        path: Below the API's root.
        name: The method's id, ``bigquery.`` left out.
        handler: Answers with a document, or with nothing.
        projects: Those that exist.
    """

    async def endpoint(request: Request) -> Response:
        if (project := request.path_params.get("project", projects[0])) not in projects:
            raise not_found("Project", project)
        body = _document(await request.body())
        expected = request.headers.get("if-match")
        call = Call(request.path_params, request.query_params, body, expected)
        answer = await run_in_threadpool(handler, call)
        return Response(status_code=204) if answer is None else JSONResponse(answer)

    return Route(f"/bigquery/v2{path}", endpoint, methods=[method], name=f"bigquery.{name}")


def _document(body: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(body or b"{}")
    except ValueError as error:
        raise ServiceError(400, f"Parse Error: {error}", reason="parseError") from error
    if not isinstance(found, dict):
        raise ServiceError(400, "Parse Error: not an object", reason="parseError")
    return found


def page(
    call: Call, kind: str, key: str, found: Sequence[Mapping[str, Any]], default: int
) -> dict[str, Any]:
    """A page of a list.

    Args:
        call: Says which one.
        kind: Of the list.
        key: Under which the items are.
        found: All items.
        default: How many a page has if the call does not say.
    """
    start = call.number("pageToken", 0)
    size = call.number("maxResults", default) or default
    answer: dict[str, Any] = {"kind": kind, key: list(found[start : start + size])}
    if start + size < len(found):
        answer["nextPageToken"] = str(start + size)
    return answer
