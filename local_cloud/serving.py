"""What the services have in common: an app with faults and readiness, served on loopback."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
import traceback
from collections.abc import Sequence

import uvicorn
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from local_cloud.errors import ServiceError, internal_error
from local_cloud.faults import Dropped, Fault, Faults, refuse

HOST = "127.0.0.1"
_OWN = "/_local_cloud/"
READY = f"{_OWN}ready"
FAULTS = f"{_OWN}faults"


def build_app(routes: Sequence[BaseRoute], faults: Faults) -> Starlette:
    """The HTTP side of a service.

    Args:
        routes: The API, each route named by the id of its method.
        faults: What is to happen to calls; also changed through this app's own routes.
    """

    async def ready(_: Request) -> Response:
        return PlainTextResponse("ready\n")

    async def list_faults(_: Request) -> Response:
        return JSONResponse([fault.model_dump() for fault in faults.pending()])

    async def add_fault(request: Request) -> Response:
        try:
            fault = Fault.model_validate_json(await request.body())
        except ValidationError as error:
            raise ServiceError(400, str(error)) from None
        faults.add(fault)
        return JSONResponse(fault.model_dump(), status_code=201)

    async def clear_faults(_: Request) -> Response:
        faults.clear()
        return Response(status_code=204)

    app = Starlette(
        routes=[
            Route(READY, ready),
            Route(FAULTS, list_faults, methods=["GET"]),
            Route(FAULTS, add_fault, methods=["POST"]),
            Route(FAULTS, clear_faults, methods=["DELETE"]),
            *routes,
        ],
        exception_handlers={ServiceError: _answer_error, Exception: _answer_unexpected},
    )
    # HTTPException of Starlette (no such route, wrong method) is answered in Google's form too.
    app.add_exception_handler(404, _answer_no_route)
    app.add_exception_handler(405, _answer_no_route)
    app.add_middleware(_FaultMiddleware, routes=routes, faults=faults)
    app.add_middleware(_WebPageMiddleware)
    return app


class _WebPageMiddleware:
    """Refuses what a web page sends: it must not run jobs here, whosever it is.

    A browser lets any page send requests to loopback, and says so in ``Origin``.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        if scope["type"] == "http" and any(name == b"origin" for name, _ in scope["headers"]):
            text = "The local cloud takes no requests from web pages (those with an Origin)."
            app = _error_response(ServiceError(403, text))
        await app(scope, receive, send)


class _FaultMiddleware:
    """Does to each call of the API what its fault says."""

    def __init__(self, app: ASGIApp, routes: Sequence[BaseRoute], faults: Faults) -> None:
        self._app = app
        self._routes = routes
        self._faults = faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        fault = self._fault(scope) if scope["type"] == "http" else None
        if fault is None:
            await self._app(scope, receive, send)
            return
        await asyncio.sleep(fault.delay)
        try:
            refuse(fault)
        except ServiceError as error:
            await _error_response(error)(scope, receive, send)
        except Dropped:
            _drop_connection(scope)
        else:
            drops = fault.drop == "response"
            await self._app(scope, receive, _sink if drops else send)
            if drops:
                _drop_connection(scope)

    def _fault(self, scope: Scope) -> Fault | None:
        if not self._faults.pending() or scope["path"].startswith(_OWN):
            return None
        for route in self._routes:
            if isinstance(route, Route) and route.matches(scope)[0] == Match.FULL:
                query = scope["query_string"].decode("latin-1")
                return self._faults.take(route.name, f"{scope['path']}?{query}")
        return None


async def _sink(_: Message) -> None:
    """Takes the place of what sends an answer that is to be lost."""


def _drop_connection(scope: Scope) -> None:
    # The transport that `_Protocol` put there: ASGI itself has no way to end a connection.
    scope["state"]["transport"].abort()


class UvicornConfig(uvicorn.Config):
    """Uvicorn's configuration, with the connection's transport in each request's state."""

    def load(self) -> None:
        """Puts a protocol of our own in place of the one that uvicorn chose."""
        super().load()
        protocol = self.http_protocol_class

        class WithTransport(protocol):  # type: ignore[valid-type,misc]
            def connection_made(self, transport: asyncio.Transport) -> None:
                super().connection_made(transport)
                self.app_state = {**self.app_state, "transport": transport}  # type: ignore[has-type]

        self.http_protocol_class = WithTransport


def serve(app: ASGIApp, port: int, host: str = HOST) -> None:
    """Serves an app on a port of an address, loopback's, until the process is told to end.

    Raises:
        SystemExit: The port is taken.
    """
    # So that libraries that log at INFO say so in the service's log, each line with its time.
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    config = UvicornConfig(app, log_config=None, access_log=False, timeout_graceful_shutdown=3)
    uvicorn.Server(config).run(sockets=[listen(port, host)])


def listen(port: int, host: str = HOST) -> socket.socket:
    """A listening socket on an address, loopback's.

    Raises:
        SystemExit: The port is taken; says so in a sentence.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    # A port whose last connections are still closing can be used again; one in use cannot.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        sys.exit(f"Port {port} of {host} cannot be used: {error.strerror}. Choose another one.")
    listener.listen(512)
    return listener


def _error_response(error: ServiceError) -> Response:
    return JSONResponse(error.body(), status_code=error.status)


async def _answer_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, ServiceError)  # noqa: S101 - Starlette calls it for no other
    return _error_response(error)


async def _answer_unexpected(_: Request, error: Exception) -> Response:
    traceback.print_exception(error)
    return _error_response(internal_error(error))


async def _answer_no_route(request: Request, error: Exception) -> Response:
    message = f"The local cloud has no method {request.method} {request.url.path}: {error}"
    return _error_response(ServiceError(getattr(error, "status_code", 404), message))
