"""Runs the gateway: ``python -m local_cloud.gateway --help``."""

from __future__ import annotations

import argparse
import asyncio
import logging
from pathlib import Path

import uvicorn
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from local_cloud.faults import Faults
from local_cloud.files import Files
from local_cloud.gateway.hosts import Backend, Hosts
from local_cloud.gateway.identity import Identity
from local_cloud.gateway.proxy import BUFFER_BYTES, Proxy
from local_cloud.serving import HOST, UvicornConfig, build_app, listen
from local_cloud.settings import DEFAULT_PROJECT, DEFAULT_REGION

_GRACE_SECONDS = 3


def main() -> None:
    """Serves until the process is told to end."""
    arguments = _parser().parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    asyncio.run(_serve(arguments))


async def _serve(arguments: argparse.Namespace) -> None:
    files = Files(arguments.directory)
    # The APIs of identity have a port of their own, which clients reach through the proxy's.
    listener = listen(arguments.port, arguments.host)
    inner = listen(0)
    backends = {"identity": Backend(inner.getsockname()[1])}
    if arguments.storage_port:
        backends["storage"] = Backend(arguments.storage_port)
    if arguments.dataflow_port:
        backends["dataflow"] = Backend(arguments.dataflow_port, arguments.dataflow_grpc_port)
    if arguments.bigquery_port:
        backends["bigquery"] = Backend(arguments.bigquery_port)
    hosts = Hosts(backends, frozenset(host.lower() for host in arguments.pass_through))
    proxy = Proxy(hosts, files.server)
    identity = Identity(arguments.project, DEFAULT_REGION, files.service_account)

    async def refused(_: Request) -> Response:
        return JSONResponse(dict(proxy.refused))

    routes: list[BaseRoute] = [Route("/_local_cloud/refused", refused), *identity.routes()]
    config = UvicornConfig(
        build_app(routes, Faults()),
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    server = await asyncio.start_server(proxy.serve, sock=listener, limit=BUFFER_BYTES)
    await uvicorn.Server(config).serve(sockets=[inner])
    # Nothing waits for the clients: what they have open ends with the process.
    server.close()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m local_cloud.gateway", description=__doc__)
    parser.add_argument(
        "--directory", type=Path, required=True, help="the local cloud's; has its certificates"
    )
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--host", default=HOST, help="its address (default: %(default)s)")
    for name in ("storage", "dataflow", "dataflow_grpc", "bigquery"):
        parser.add_argument(f"--{name}_port", type=int, help="without it, the service is refused")
    parser.add_argument("--project", default=DEFAULT_PROJECT)
    parser.add_argument(
        "--pass_through", action="append", default=[], metavar="HOST",
        help="a host, not Google's, that clients may reach",
    )  # fmt: skip
    return parser


if __name__ == "__main__":
    main()
