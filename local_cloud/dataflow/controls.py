"""Faults of jobs on demand: a worker dies, a job vanishes."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from local_cloud.dataflow.service import Dataflow
from local_cloud.errors import ServiceError


def routes(service: Dataflow) -> list[Route]:
    """The routes, outside of the API."""

    async def lose(request: Request) -> Response:
        await run_in_threadpool(service.lifecycle.lose, _known(request))
        return Response(status_code=204)

    async def kill_worker(request: Request) -> Response:
        job_id = _known(request)
        if not service.lifecycle.kill_worker(job_id):
            raise ServiceError(409, f"The job {job_id} has no process: it waits or has ended.")
        return Response(status_code=204)

    def _known(request: Request) -> str:
        job_id: str = request.path_params["job_id"]
        if service.store.get(job_id) is None:
            raise ServiceError(404, f"There is no job {job_id}.")
        return job_id

    path = "/_local_cloud/jobs/{job_id}"
    return [
        Route(f"{path}:lose", lose, methods=["POST"]),
        Route(f"{path}:kill_worker", kill_worker, methods=["POST"]),
    ]
