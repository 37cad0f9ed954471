"""The clients that speak gRPC, Airflow's among them, and the calls they make; acted processes."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from airflow.providers.google.cloud.hooks.dataflow import (
    AsyncDataflowHook,
    DataflowJobStatus,
    _DataflowJobsController,
)
from google.api_core.exceptions import (
    AlreadyExists,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ServiceUnavailable,
)
from google.auth.credentials import AnonymousCredentials
from google.cloud import dataflow_v1beta3 as api
from google.cloud.dataflow_v1beta3.services.jobs_v1_beta3.transports import (
    JobsV1Beta3RestTransport,
)
from google.cloud.dataflow_v1beta3.services.messages_v1_beta3.transports import (
    MessagesV1Beta3GrpcTransport,
)
from google.cloud.dataflow_v1beta3.services.metrics_v1_beta3.transports import (
    MetricsV1Beta3GrpcTransport,
)
from google.protobuf.json_format import ParseDict
from googleapiclient.errors import HttpError
from googleapiclient.http import BatchHttpRequest

from tests.local_cloud.dataflow_server import (
    PLACE,
    PROJECT,
    REGION,
    DataflowServer,
    dataflow_server,
    job_body,
)

PLACE_MESSAGE = {"project_id": PROJECT, "location": REGION}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DataflowServer]:
    with dataflow_server(tmp_path_factory.mktemp("dataflow")) as running:
        yield running


def job_message(name: str, act: str = "succeed") -> api.Job:
    job = api.Job()
    ParseDict(job_body(name, act), api.Job.pb(job))
    return job


def add_fault(server: DataflowServer, **fault: Any) -> None:
    url = f"{server.url}/_local_cloud/faults"
    body = json.dumps(fault).encode()
    urllib.request.urlopen(urllib.request.Request(url, body, method="POST")).close()  # noqa: S310


def test_a_job_over_grpc(server: DataflowServer) -> None:
    jobs = server.jobs_client()
    created = jobs.create_job(request={**PLACE_MESSAGE, "job": job_message("grpc-job")})
    assert created.current_state == api.JobState.JOB_STATE_PENDING
    server.wait_for_state(created.id)
    found = jobs.get_job(request={**PLACE_MESSAGE, "job_id": created.id, "view": 2})
    assert found.current_state == api.JobState.JOB_STATE_DONE
    assert found.environment.temp_storage_prefix == "gs://bucket/temp"
    messages = api.MessagesV1Beta3Client(
        transport=MessagesV1Beta3GrpcTransport(channel=server.channel)
    ).list_job_messages(request={**PLACE_MESSAGE, "job_id": created.id, "page_size": 1})
    assert [message.message_text.split()[1] for message in messages] == [
        *("debug", "detailed", "basic", "warning")
    ]
    metrics = api.MetricsV1Beta3Client(
        transport=MetricsV1Beta3GrpcTransport(channel=server.channel)
    ).get_job_metrics(request={**PLACE_MESSAGE, "job_id": created.id})
    assert {metric.scalar for metric in metrics.metrics if metric.name.name == "lines"} == {42}
    aggregated = jobs.aggregated_list_jobs(request={"project_id": PROJECT, "page_size": 1})
    assert created.id in [job.id for job in aggregated]


def test_beams_transport_reads_the_rest_answers(server: DataflowServer) -> None:
    transport = JobsV1Beta3RestTransport(
        host=f"127.0.0.1:{server.port}",
        url_scheme="http",
        credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
    )
    jobs = api.JobsV1Beta3Client(transport=transport)
    created = jobs.create_job(request={**PLACE_MESSAGE, "job": job_message("rest-job")})
    assert created.current_state == api.JobState.JOB_STATE_PENDING
    listed = jobs.list_jobs(request={**PLACE_MESSAGE, "filter": 1, "name": "rest-job"})
    assert [job.id for job in listed] == [created.id]


def test_errors_over_grpc_have_their_codes(server: DataflowServer) -> None:
    jobs = server.jobs_client()
    with pytest.raises(NotFound, match="could not be found in our system"):
        jobs.get_job(request={**PLACE_MESSAGE, "job_id": "unknown"})
    with pytest.raises(PermissionDenied):
        jobs.list_jobs(request={"project_id": "other", "location": REGION}).pages.__next__()
    with pytest.raises(InvalidArgument):
        jobs.create_job(request={**PLACE_MESSAGE, "job": job_message("Upper")})
    request = {**PLACE_MESSAGE, "job": job_message("twice-over-grpc", "wait")}
    jobs.create_job(request=request)
    with pytest.raises(AlreadyExists, match="already an active job named twice-over-grpc"):
        jobs.create_job(request=request)


def test_faults_meet_calls_over_grpc(server: DataflowServer) -> None:
    jobs = server.jobs_client()
    job_id = server.submit("faulty-job")["id"]
    request = {**PLACE_MESSAGE, "job_id": job_id}
    add_fault(server, method="dataflow.projects.locations.jobs.get", matching=job_id, status=403)
    with pytest.raises(PermissionDenied, match="told to fail"):
        jobs.get_job(request=request)
    add_fault(server, method="dataflow.*.jobs.get", drop="response")
    with pytest.raises(ServiceUnavailable):
        jobs.get_job(request=request, retry=None)
    assert jobs.get_job(request=request).id == job_id


def test_faults_meet_calls_over_rest(server: DataflowServer) -> None:
    job_id = server.submit("faulty-rest-job")["id"]
    add_fault(server, method="dataflow.projects.locations.jobs.get", status=503)
    with pytest.raises(HttpError, match="503"):
        server.state(job_id)
    assert server.state(job_id).startswith("JOB_STATE_")


def test_airflows_async_hook(server: DataflowServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """What its triggers call; only the hook's way to a client is ours."""
    job_id = server.submit("airflow-async-job")["id"]
    server.wait_for_state(job_id)

    async def client(_: AsyncDataflowHook, client_class: Any) -> Any:
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{server.grpc_port}")
        transport = client_class.get_transport_class("grpc_asyncio")
        return client_class(transport=transport(channel=channel))

    monkeypatch.setattr(AsyncDataflowHook, "initialize_client", client)
    hook = AsyncDataflowHook()

    async def calls() -> tuple[Any, list[str], list[str]]:
        status = await hook.get_job_status(job_id, PROJECT, location=REGION)
        jobs = await hook.list_jobs(project_id=PROJECT, location=REGION, jobs_filter=2)
        messages = await hook.list_job_messages(job_id, PROJECT, location=REGION)
        return status, [job.id async for job in jobs], [m.message_text async for m in messages]

    status, ids, texts = asyncio.run(calls())
    assert status.name == DataflowJobStatus.JOB_STATE_DONE
    assert job_id in ids
    assert texts == ["a basic message", "a warning message"]  # it asks for no others


def test_airflows_controller_waits_for_jobs_and_cancels_them(server: DataflowServer) -> None:
    """It cancels with a batch of calls, to an address that is not the client's own."""
    dataflow = server.discovery()
    dataflow.new_batch_http_request = lambda: BatchHttpRequest(batch_uri=f"{server.url}/batch")
    done = server.submit("airflow-done")["id"]
    _DataflowJobsController(
        dataflow=dataflow,
        project_number=PROJECT,
        location=REGION,
        job_id=done,
        poll_sleep=0,
    ).wait_for_done()
    running = [server.submit(f"airflow-cancelled-{i}", "wait")["id"] for i in range(2)]
    controller = _DataflowJobsController(
        dataflow=dataflow,
        project_number=PROJECT,
        location=REGION,
        name="airflow-cancelled",
        poll_sleep=0,
    )
    controller.cancel()
    assert {server.state(job_id) for job_id in running} == {"JOB_STATE_CANCELLED"}


def test_a_batch_answers_each_call_on_its_own(server: DataflowServer) -> None:
    job_id = server.submit("batched-job")["id"]
    answers: list[tuple[Any, Any]] = []
    batch = BatchHttpRequest(
        callback=lambda _, found, error: answers.append((found, error)),
        batch_uri=f"{server.url}/batch",
    )
    for wanted in (job_id, "unknown"):
        batch.add(server.jobs().get(**PLACE, jobId=wanted))
    batch.execute()
    assert answers[0][0]["id"] == job_id
    assert answers[1][1].resp.status == 404
