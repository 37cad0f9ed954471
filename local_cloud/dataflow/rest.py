"""The REST side: each method's path, query and body become its request message.

The rules are those of google.api.http, with JSON as the proto3 specification maps it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local_cloud.dataflow.methods import METHODS, Method
from local_cloud.dataflow.service import Dataflow
from local_cloud.errors import ServiceError

# https://cloud.google.com/apis/docs/system-parameters
_SYSTEM_PARAMETERS = frozenset(
    "$alt alt $callback callback $.xgafv access_token fields $fields key oauth_token prettyPrint "
    "$prettyPrint quotaUser $userProject userProject uploadType upload_protocol userIp".split()
)
_LARGEST_BODY = 10 * 1024 * 1024
_UNKNOWN_FIELD = re.compile(r'has no field named "(?P<name>[^"]*)"(?: at "(?P<at>[^"]*)")?')


def routes(service: Dataflow) -> list[Route]:
    """The routes of the API, named by the ids of the methods."""
    return [
        _route(service, method, name, path) for method in METHODS for name, path in method.routes()
    ]


def _route(service: Dataflow, method: Method, name: str, path: str) -> Route:
    async def answer(request: Request) -> Response:
        message = _message(
            method,
            [*request.path_params.items(), *request.query_params.multi_items()],
            await _body(request) if method.body else None,
        )
        response = await run_in_threadpool(method.call, service, message)
        alt = request.query_params.get("$alt") or request.query_params.get("alt", "json")
        document = MessageToDict(
            method.response.pb(response), use_integers_for_enums="enum-encoding=int" in alt
        )
        return JSONResponse(_whole(document))

    return Route(path, answer, methods=[method.verb], name=name)


def _whole(document: Any) -> Any:
    """A document with whole numbers written as such, as the service does: 42, not 42.0."""
    match document:
        case dict():
            return {key: _whole(value) for key, value in document.items()}
        case list():
            return [_whole(value) for value in document]
        case float() if document.is_integer():
            return int(document)
    return document


async def _body(request: Request) -> Any:
    content = b""
    async for chunk in request.stream():
        content += chunk
        if len(content) > _LARGEST_BODY:
            raise ServiceError(
                400, f"Request payload size exceeds the limit: {_LARGEST_BODY} bytes."
            )
    try:
        return json.loads(content or b"{}")
    except ValueError as error:
        raise _invalid(str(error)) from None


def _message(method: Method, parameters: Iterable[tuple[str, str]], body: Any) -> Any:
    """The request of a method."""
    message = method.request()
    pb = method.request.pb(message)
    content: dict[str, Any] = {}
    if method.body == "*" and body is not None:
        if not isinstance(body, dict):
            raise _invalid("The body is not an object.")
        content = dict(body)
    elif body is not None:
        content[method.body] = body
    for name, value in parameters:
        if name not in _SYSTEM_PARAMETERS:
            _bind(pb.DESCRIPTOR, content, name, value)
    try:
        ParseDict(content, pb)
    except ParseError as error:
        raise _invalid(_explained(str(error), method)) from None
    return message


def _bind(descriptor: Any, content: dict[str, Any], name: str, value: str) -> None:
    """Puts a parameter of the path or the query, such as ``a.b=c``, where it belongs."""
    *parents, last = name.split(".")
    target = content
    for part in parents:
        field = _field(descriptor, part, name)
        descriptor = field.message_type
        target = target.setdefault(field.name, {})
        if descriptor is None or not isinstance(target, dict):
            raise _unbound(name)
    field = _field(descriptor, last, name)
    bound: Any = value
    if field.type == FieldDescriptor.TYPE_BOOL and value in ("true", "false"):
        bound = value == "true"
    if field.is_repeated:
        target.setdefault(field.name, []).append(bound)
    else:
        target.pop(field.json_name, None)
        target[field.name] = bound


def _field(descriptor: Any, part: str, name: str) -> FieldDescriptor:
    if descriptor is not None:
        for field in descriptor.fields:
            if part in (field.name, field.json_name):
                return field  # type: ignore[no-any-return]
    raise _unbound(name)


def _unbound(name: str) -> ServiceError:
    return _invalid(
        f'Unknown name "{name}": Cannot bind query parameter. '
        f"Field '{name}' could not be found in request message."
    )


def _invalid(reason: str) -> ServiceError:
    return ServiceError(400, f"Invalid JSON payload received. {reason}")


def _explained(error: str, method: Method) -> str:
    """A parser's error in the service's words."""
    found = _UNKNOWN_FIELD.search(error)
    if not found:
        return error
    at = (found["at"] or "").partition(".")[2] or method.body.strip("*")
    place = f" at '{at}'" if at else ""
    return f'Unknown name "{found["name"]}"{place}: Cannot find field.'
