"""The gRPC side, which Beam and Airflow's triggers speak."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from local_cloud.dataflow.methods import METHODS, PACKAGE, Method
from local_cloud.dataflow.service import Dataflow
from local_cloud.errors import ServiceError, internal_error
from local_cloud.faults import Dropped, Faults
from local_cloud.serving import HOST

_THREADS = 16
_LARGEST_MESSAGE = 20 * 1024 * 1024

_LOGGER = logging.getLogger(__name__)


def start(service: Dataflow, faults: Faults, port: int, host: str = HOST) -> grpc.Server:
    """Serves the methods on a port of an address, loopback's.

    Raises:
        SystemExit: The port is taken.
    """
    server = grpc.server(
        ThreadPoolExecutor(_THREADS, thread_name_prefix="grpc"),
        options=[
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", _LARGEST_MESSAGE),
        ],
    )
    handlers: dict[str, dict[str, grpc.RpcMethodHandler[Any, Any]]] = defaultdict(dict)
    for method in METHODS:
        name, _, rpc = method.rpc.partition("/")
        handlers[name][rpc] = grpc.unary_unary_rpc_method_handler(
            _handler(service, faults, method),
            request_deserializer=method.request.deserialize,
            response_serializer=method.response.serialize,
        )
    for name, rpcs in handlers.items():
        handler = grpc.method_handlers_generic_handler(f"{PACKAGE}.{name}", rpcs)
        server.add_generic_rpc_handlers((handler,))
    try:
        server.add_insecure_port(f"{host}:{port}")
    except RuntimeError:
        raise SystemExit(
            f"Port {port} of {host} cannot be used: it is taken. Choose another one."
        ) from None
    server.start()
    return server


def _handler(
    service: Dataflow, faults: Faults, method: Method
) -> Callable[[Any, grpc.ServicerContext], Any]:
    ids = dict(method.routes())
    regional = next(iter(ids))

    def answer(request: Any, context: grpc.ServicerContext) -> Any:
        names = f"{request.project_id} {request.location} {getattr(request, 'job_id', '')}"
        try:
            with faults.around(regional, names):
                return method.call(service, request)
        except Dropped:
            context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
        except ServiceError as error:
            context.abort(error.code, error.message)
        except Exception as error:
            _LOGGER.exception("%s", method.rpc)
            context.abort(grpc.StatusCode.INTERNAL, internal_error(error).message)

    return answer
