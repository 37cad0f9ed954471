"""Jobs through the REST API, with the client that Airflow's hook uses; processes are acted."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from googleapiclient.errors import HttpError

from tests.local_cloud.dataflow_server import PLACE, DataflowServer, dataflow_server, job_body


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DataflowServer]:
    with dataflow_server(tmp_path_factory.mktemp("dataflow")) as running:
        yield running


def error_of(call: Any) -> tuple[int, str]:
    with pytest.raises(HttpError) as caught:
        call.execute()
    return caught.value.resp.status, caught.value.reason


def request(server: DataflowServer, method: str, path: str, body: Any = None) -> Any:
    content = json.dumps(body).encode() if body is not None else None
    call = urllib.request.Request(f"{server.url}{path}", content, method=method)  # noqa: S310
    with urllib.request.urlopen(call) as answer:  # noqa: S310
        return json.load(answer)


def test_a_created_job_has_a_documented_id_and_waits_for_workers(server: DataflowServer) -> None:
    job = server.submit("created-job", labels={"team": "data"})
    assert re.fullmatch(r"\d{4}-\d\d-\d\d_\d\d_\d\d_\d\d-\d{19}", job["id"])
    assert job["currentState"] == "JOB_STATE_PENDING"
    assert job["labels"] == {"team": "data"}
    assert job["startTime"] == job["createTime"]
    assert server.wait_for_state(job["id"]) == "JOB_STATE_DONE"


def test_views_show_more_and_more(server: DataflowServer) -> None:
    job_id = server.submit("viewed-job")["id"]
    server.wait_for_state(job_id)

    def view(name: str) -> dict[str, Any]:
        return dict(server.jobs().get(**PLACE, jobId=job_id, view=name).execute())

    summary = view("JOB_VIEW_SUMMARY")
    assert summary == server.jobs().get(**PLACE, jobId=job_id).execute()
    assert summary["jobMetadata"]["sdkVersion"]["version"] == "2.77.0"
    assert not {"environment", "steps", "pipelineDescription"} & set(summary)
    described = view("JOB_VIEW_DESCRIPTION")
    assert [step["name"] for step in described["steps"]] == ["ref_1", "ref_2"]
    assert described["environment"]["tempStoragePrefix"] == "gs://bucket/temp"
    stages = view("JOB_VIEW_ALL")["stageStates"]
    assert {stage["executionStageState"] for stage in stages} == {"JOB_STATE_DONE"}


def test_requests_carry_enums_as_integers_and_answers_as_asked(server: DataflowServer) -> None:
    path = "/v1b3/projects/local-project/locations/us-central1/jobs"
    body = {**job_body("integer-job"), "type": 1}
    assert request(server, "POST", path, body)["type"] == "JOB_TYPE_BATCH"
    asked = request(server, "GET", f"{path}?$alt=json%3Benum-encoding%3Dint&name=integer-job")
    assert asked["jobs"][0]["type"] == 1


def test_paths_without_a_region_mean_the_default_one(server: DataflowServer) -> None:
    job = request(server, "POST", "/v1b3/projects/local-project/jobs", job_body("old-path-job"))
    found = request(server, "GET", f"/v1b3/projects/local-project/jobs/{job['id']}")
    assert found["location"] == "us-central1"


@pytest.mark.parametrize("name", ["", "Upper", "1st", "ends-", "under_score", "a" * 1025, "a\nb"])
def test_a_name_that_no_job_can_have_is_refused(server: DataflowServer, name: str) -> None:
    status, text = error_of(server.jobs().create(**PLACE, body=job_body(name)))
    assert status == 400
    assert "must consist of only the characters [-a-z0-9]" in text


@pytest.mark.parametrize(
    "labels",
    [
        *({"Team": "x"}, {"": "x"}, {"team": "X"}, {"team": "x" * 64}, {"1": ""}, {"é" * 64: ""}),
        {f"key{i}": "" for i in range(65)},
    ],
)
def test_labels_that_no_job_can_have_are_refused(
    server: DataflowServer, labels: dict[str, str]
) -> None:
    body = job_body("labelled-job", labels=labels)
    assert error_of(server.jobs().create(**PLACE, body=body))[0] == 400


def test_a_temp_location_outside_of_cloud_storage_is_refused(server: DataflowServer) -> None:
    body = job_body("misplaced-job")
    body["environment"]["tempStoragePrefix"] = "/tmp/beam"  # noqa: S108
    status, text = error_of(server.jobs().create(**PLACE, body=body))
    assert (status, "'/tmp/beam' is not a Cloud Storage path" in text) == (400, True)


def test_a_job_without_a_staged_pipeline_is_refused(server: DataflowServer) -> None:
    status, text = error_of(server.jobs().create(**PLACE, body={"name": "bare-job"}))
    assert (status, "names no staged pipeline" in text) == (400, True)


def test_unknown_fields_and_parameters_are_refused_by_name(server: DataflowServer) -> None:
    body = {**job_body("odd-job"), "colour": "red"}
    status, text = error_of(server.jobs().create(**PLACE, body=body))
    assert status == 400
    assert "Unknown name \"colour\" at 'job': Cannot find field." in text
    with pytest.raises(urllib.error.HTTPError) as caught:
        request(server, "GET", "/v1b3/projects/local-project/jobs?colour=red")
    assert caught.value.code == 400
    assert "Cannot bind query parameter" in caught.value.read().decode()


@pytest.mark.parametrize("body", [b"{", b"[1]", b"\xff", b'{"labels": 3}', b'{"type": "NO_TYPE"}'])
def test_a_body_that_is_no_job_is_refused(server: DataflowServer, body: bytes) -> None:
    url = f"{server.url}/v1b3/projects/local-project/jobs"
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(urllib.request.Request(url, body, method="POST"))  # noqa: S310
    assert caught.value.code == 400


def test_unknown_projects_regions_and_jobs(server: DataflowServer) -> None:
    jobs = server.jobs()
    body = job_body("lost-job")
    status, text = error_of(jobs.create(projectId="other", location="us-central1", body=body))
    assert status == 403
    assert "user does not have write access to project: other" in text
    assert error_of(jobs.list(projectId="other", location="us-central1"))[0] == 403
    status, text = error_of(jobs.create(projectId="local-project", location="moon", body=body))
    assert (status, "invalid regional endpoint (moon)" in text) == (400, True)
    status, text = error_of(jobs.get(**PLACE, jobId="2026-01-01_00_00_00-1"))
    assert (status, "could not be found in our system" in text) == (404, True)
    elsewhere = server.submit("here-job")["id"]
    call = jobs.get(projectId="local-project", location="europe-west1", jobId=elsewhere)
    assert error_of(call)[0] == 404


def test_a_second_active_job_of_a_name_is_refused_until_the_first_ends(
    server: DataflowServer,
) -> None:
    first = server.submit("one-name", "wait")
    status, text = error_of(server.jobs().create(**PLACE, body=job_body("one-name")))
    assert status == 409
    assert "There is already an active job named one-name." in text
    other = {"projectId": "local-project", "location": "europe-west1"}
    server.jobs().create(**other, body=job_body("one-name")).execute()
    cancel(server, first["id"])
    server.wait_for_state(first["id"], "JOB_STATE_CANCELLED")
    assert server.submit("one-name")["id"] != first["id"]


def test_a_repeated_request_creates_one_job(server: DataflowServer) -> None:
    first = server.submit("repeated-job", clientRequestId="request-1")
    server.wait_for_state(first["id"])
    assert server.submit("repeated-job", clientRequestId="request-1")["id"] == first["id"]


def test_another_request_for_an_active_name_gets_the_active_job(server: DataflowServer) -> None:
    """Beam compares the request's id in the answer, and raises DataflowJobAlreadyExistsError."""
    first = server.submit("contested-job", "wait", clientRequestId="request-1")
    second = server.submit("contested-job", clientRequestId="request-2")
    assert (second["id"], second["clientRequestId"]) == (first["id"], "request-1")
    cancel(server, first["id"])


def test_lists_are_filtered_and_paged(server: DataflowServer) -> None:
    running = server.submit("listed-running", "wait")["id"]
    ended = [server.submit(f"listed-{i}")["id"] for i in range(5)]
    for job_id in ended:
        server.wait_for_state(job_id)
    server.wait_for_state(running, "JOB_STATE_RUNNING")
    jobs = server.jobs()

    def pages(**query: Any) -> list[list[str]]:
        call, found = jobs.list(**PLACE, **query), []
        while call is not None:
            answer = call.execute()
            found.append([job["id"] for job in answer.get("jobs", [])])
            call = jobs.list_next(call, answer)
        return found

    in_pages = pages(pageSize=2)
    assert all(len(page) == 2 for page in in_pages[:-1])
    everything = [job_id for page in in_pages for job_id in page]
    assert everything == pages()[0]
    assert len(set(everything)) == len(everything)
    assert everything[0] == running
    assert [job_id for job_id in everything if job_id in ended] == ended[::-1]
    assert running in pages(filter="ACTIVE")[0]
    assert not set(ended) & set(pages(filter="ACTIVE")[0])
    assert running not in pages(filter="TERMINATED")[0]
    assert pages(name="listed-3") == [[ended[3]]]
    assert error_of(jobs.list(**PLACE, pageToken="nonsense"))[0] == 400
    assert error_of(jobs.list(**PLACE, pageSize=-1))[0] == 400
    cancel(server, running)


def test_the_aggregated_list_has_the_jobs_of_all_regions(server: DataflowServer) -> None:
    place = {"projectId": "local-project", "location": "asia-east1"}
    job = server.jobs().create(**place, body=job_body("far-job")).execute()
    aggregated = server.discovery().projects().jobs().aggregated(projectId="local-project")
    assert job["id"] in [found["id"] for found in aggregated.execute()["jobs"]]
    assert job["id"] not in [found["id"] for found in server.jobs().list(**PLACE).execute()["jobs"]]


def cancel(server: DataflowServer, job_id: str, state: str = "JOB_STATE_CANCELLED") -> Any:
    return server.jobs().update(**PLACE, jobId=job_id, body={"requestedState": state}).execute()


def test_only_what_is_allowed_can_be_requested_of_a_job(server: DataflowServer) -> None:
    running = server.submit("changed-job", "wait")["id"]
    for body in ({"requestedState": "JOB_STATE_RUNNING"}, {}):
        assert error_of(server.jobs().update(**PLACE, jobId=running, body=body))[0] == 400
    drain = {"requestedState": "JOB_STATE_DRAINED"}
    status, text = error_of(server.jobs().update(**PLACE, jobId=running, body=drain))
    assert (status, "Only streaming jobs can be drained" in text) == (400, True)
    assert cancel(server, running)["requestedState"] == "JOB_STATE_CANCELLED"
    server.wait_for_state(running, "JOB_STATE_CANCELLED")
    body = {"requestedState": "JOB_STATE_CANCELLED"}
    status, text = error_of(server.jobs().update(**PLACE, jobId=running, body=body))
    assert (status, "Job has terminated in state CANCELLED" in text) == (400, True)


def test_a_batch_job_cannot_be_updated(server: DataflowServer) -> None:
    running = server.submit("old-job", "wait")["id"]
    call = server.jobs().create(**PLACE, body=job_body("old-job"), replaceJobId=running)
    status, text = error_of(call)
    assert (status, "cannot be updated" in text) == (400, True)
    call = server.jobs().create(**PLACE, body=job_body("old-job"), replaceJobId="unknown")
    assert error_of(call)[0] == 404
    cancel(server, running)


def test_messages_are_filtered_and_paged(server: DataflowServer) -> None:
    job_id = server.submit("talking-job")["id"]
    server.wait_for_state(job_id)
    everything = [f"a {word} message" for word in ("debug", "detailed", "basic", "warning")]
    assert server.messages(job_id) == everything
    assert server.messages(job_id, minimumImportance="JOB_MESSAGE_BASIC") == everything[2:]
    messages = server.jobs().messages()
    call, found = messages.list(**PLACE, jobId=job_id, pageSize=3), []
    while call is not None:
        answer = call.execute()
        found.append(answer["jobMessages"])
        call = messages.list_next(call, answer)
    assert [len(page) for page in found] == [3, 1]
    last = found[1][0]
    assert last["messageImportance"] == "JOB_MESSAGE_WARNING"
    assert server.messages(job_id, startTime=last["time"]) == everything[3:]
    assert server.messages(job_id, endTime=last["time"]) == everything[:3]


def test_worker_counts_are_autoscaling_events(server: DataflowServer) -> None:
    job_id = server.submit("scaling-job")["id"]
    server.wait_for_state(job_id)
    events = server.jobs().messages().list(**PLACE, jobId=job_id).execute()["autoscalingEvents"]
    assert [event.get("currentNumWorkers", "0") for event in events] == ["2", "0"]


def test_metrics_name_their_step_as_the_pipeline_does(server: DataflowServer) -> None:
    job_id = server.submit("counting-job")["id"]
    server.wait_for_state(job_id)
    metrics = server.jobs().getMetrics(**PLACE, jobId=job_id).execute()["metrics"]
    lines = [metric for metric in metrics if metric["name"]["name"] == "lines"]
    assert [metric["scalar"] for metric in lines] == [42, 42]
    assert {metric["name"]["context"]["step"] for metric in lines} == {"ref_1"}
    assert [metric["name"]["context"].get("tentative") for metric in lines] == ["true", None]
    sizes = next(metric for metric in metrics if metric["name"]["name"] == "sizes")
    assert sizes["distribution"] == {"count": 2, "sum": 10, "min": 4, "max": 6, "mean": 5}


def test_a_directory_serves_one_service(server: DataflowServer, tmp_path: Path) -> None:
    others = [
        DataflowServer(server.directory),
        DataflowServer(tmp_path / "1", grpc_port=server.grpc_port),
        DataflowServer(tmp_path / "2", port=server.port),
    ]
    processes = [other.launch() for other in others]
    assert [process.wait(20) for process in processes] == [1, 1, 1]
    job_id = server.submit("undisturbed-job")["id"]
    assert server.wait_for_state(job_id) == "JOB_STATE_DONE"
