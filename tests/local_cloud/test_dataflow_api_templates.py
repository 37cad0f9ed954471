"""Classic and flex templates, staged in the local storage; the jobs' processes are acted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud.storage import Bucket, Client
from googleapiclient.errors import HttpError

from tests.local_cloud.dataflow_server import (
    PLACE,
    ROOT,
    DataflowServer,
    dataflow_server,
    free_port,
    job_body,
    wait_for,
)

pytestmark = pytest.mark.usefixtures("bucket")

IMAGE = "local/acted-launcher"
# A program that does with its options what Beam's DataflowRunner does with --template_location.
PROGRAM = """
import json, os, sys, time, urllib.request

options = dict(argument[2:].split("=", 1) for argument in sys.argv[1:])
print("launching", options["job_name"], "from", os.path.basename(os.getcwd()))
if options["act"] == "refuse":
    sys.exit("ValueError: no such table")
if options["act"] == "hang":
    time.sleep(600)
body = json.loads(os.environ["JOB_BODY"])
body["name"] = options["job_name"]
body["environment"]["sdkPipelineOptions"]["options"] |= options
if options["act"] != "forget":
    bucket, _, name = options["template_location"].removeprefix("gs://").partition("/")
    url = f"{os.environ['STORAGE_EMULATOR_HOST']}/upload/storage/v1/b/{bucket}/o"
    query = f"?uploadType=media&name={name.replace('/', '%2F')}"
    urllib.request.urlopen(url + query, json.dumps(body).encode()).close()
"""


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    directory = str(tmp_path_factory.mktemp("storage"))
    arguments = ["--directory", directory, "--port", str(port), "--bucket", "bucket"]
    process = subprocess.Popen(
        [sys.executable, "-m", "local_cloud.storage", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    url = f"http://127.0.0.1:{port}"

    def is_ready() -> bool:
        try:
            with urllib.request.urlopen(f"{url}/_local_cloud/ready"):  # noqa: S310
                return True
        except OSError:
            return False

    wait_for(is_ready)
    yield url
    process.terminate()
    process.wait(20)


@pytest.fixture(scope="module")
def server(storage: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DataflowServer]:
    directory = tmp_path_factory.mktemp("dataflow")
    program = tmp_path_factory.mktemp("program")
    (program / "main.py").write_text(PROGRAM)
    image = {
        "python": sys.executable,
        "directory": str(program),
        "environment": {
            "FLEX_TEMPLATE_PYTHON_PY_FILE": "main.py",
            "JOB_BODY": json.dumps(job_body("replaced")),
        },
    }
    (directory / "images.json").write_text(json.dumps({IMAGE: image}))
    with dataflow_server(directory, environment={"STORAGE_EMULATOR_HOST": storage}) as running:
        yield running


@pytest.fixture(scope="module")
def bucket(storage: str) -> Bucket:
    credentials = AnonymousCredentials()  # type: ignore[no-untyped-call]
    client = Client(
        project="local-project", credentials=credentials, client_options={"api_endpoint": storage}
    )
    bucket = client.bucket("bucket")
    template = job_body("staged", clientRequestId="of-the-staging")
    options = template["environment"]["sdkPipelineOptions"]["options"]
    options["input"] = None
    template["environment"]["workerPools"] = [{"kind": "harness"}]
    metadata = {
        "name": "Counts",
        "parameters": [
            {"name": "act", "isOptional": True},
            {"name": "input", "helpText": "gs://BUCKET/FILES", "regexes": ["gs://.+"]},
        ],
    }
    spec = {
        "image": IMAGE,
        "sdkInfo": {"language": "PYTHON"},
        "metadata": {"name": "Flex", "parameters": [{"name": "act", "label": "what it does"}]},
    }
    for name, content in {
        "plain": template,
        "described": template,
        "described_metadata": metadata,
        "spec.json": spec,
        "strange.json": {**spec, "image": "gcr.io/unknown"},
    }.items():
        bucket.blob(name).upload_from_string(json.dumps(content))
    bucket.blob("broken.json").upload_from_string("{")
    return bucket


def launch(server: DataflowServer, template: str, **body: Any) -> dict[str, Any]:
    templates = server.discovery().projects().locations().templates()
    gcs_path = f"gs://bucket/{template}"
    query = {"validateOnly": body.pop("validateOnly", False)}
    return dict(templates.launch(**PLACE, **query, gcsPath=gcs_path, body=body).execute())


def launch_flex(
    server: DataflowServer, name: str, act: str = "succeed", spec: str = "spec.json", **more: Any
) -> dict[str, Any]:
    templates = server.discovery().projects().locations().flexTemplates()
    parameter = {
        "jobName": name,
        "containerSpecGcsPath": f"gs://bucket/{spec}",
        "parameters": {"act": act},
        "environment": {"tempLocation": "gs://bucket/temp", "additionalUserLabels": {"run": "1"}},
        **more,
    }
    validate_only = parameter.pop("validateOnly", False)
    body = {"launchParameter": parameter, "validateOnly": validate_only}
    return dict(templates.launch(**PLACE, body=body).execute())


def test_a_classic_template_is_launched_with_its_parameters(server: DataflowServer) -> None:
    environment = {
        "tempLocation": "gs://bucket/other",
        "maxWorkers": 7,
        "additionalUserLabels": {"run": "2"},
    }
    parameters = {"input": "gs://bucket/day.csv"}
    job = launch(
        server, "plain", jobName="classic", parameters=parameters, environment=environment
    )["job"]
    assert server.wait_for_state(job["id"]) == "JOB_STATE_DONE"
    assert (job["name"], job["labels"]) == ("classic", {"run": "2"})
    found = server.jobs().get(**PLACE, jobId=job["id"], view="JOB_VIEW_ALL").execute()
    options = found["environment"]["sdkPipelineOptions"]["options"]
    assert options["input"] == "gs://bucket/day.csv"
    assert options["max_num_workers"] == 7
    assert found["environment"]["tempStoragePrefix"] == "gs://bucket/other"
    again = launch(server, "plain", jobName="classic", parameters=parameters)["job"]
    assert again["id"] != job["id"]


def test_a_classic_template_by_the_older_method(server: DataflowServer) -> None:
    templates = server.discovery().projects().locations().templates()
    body = {"jobName": "created", "gcsPath": "gs://bucket/plain"}
    job = templates.create(**PLACE, body=body).execute()
    assert server.wait_for_state(job["id"]) == "JOB_STATE_DONE"


@pytest.mark.parametrize(
    ("template", "parameters", "status", "text"),
    [
        ("missing", {}, 404, "Unable to open template file: gs://bucket/missing"),
        ("broken.json", {}, 400, "Invalid template file gs://bucket/broken.json"),
        ("plain", {"inputt": "x"}, 400, r"'inputt' \(perhaps you meant 'input'\)"),
        ("described", {}, 400, "Missing required parameter: input"),
        ("described", {"input": "here"}, 400, "does not match"),
        ("described", {"input": "gs://a", "other": ""}, 400, "unexpected parameters: \\['other'"),
    ],
)
def test_a_launch_that_cannot_work_is_refused(
    server: DataflowServer,
    template: str,
    parameters: dict[str, str],
    status: int,
    text: str,
) -> None:
    with pytest.raises(HttpError, match=text) as caught:
        launch(server, template, jobName="refused", parameters=parameters)
    assert caught.value.resp.status == status


def test_validate_only_creates_no_job(server: DataflowServer) -> None:
    assert not launch(server, "plain", jobName="validated", validateOnly=True)
    assert not launch_flex(server, "validated", validateOnly=True)
    assert not server.jobs().list(**PLACE, name="validated").execute()


def test_templates_tell_what_they_take(server: DataflowServer) -> None:
    templates = server.discovery().projects().locations().templates()
    classic = templates.get(**PLACE, gcsPath="gs://bucket/described").execute()
    assert classic["templateType"] == "LEGACY"
    assert [one["name"] for one in classic["metadata"]["parameters"]] == ["act", "input"]
    flex = templates.get(**PLACE, gcsPath="gs://bucket/spec.json").execute()
    assert (flex["templateType"], flex["metadata"]["name"]) == ("FLEX", "Flex")


def test_a_flex_job_keeps_its_id_from_launch_to_end(server: DataflowServer, bucket: Bucket) -> None:
    job = launch_flex(server, "flex-job")["job"]
    assert job["currentState"] == "JOB_STATE_QUEUED"
    assert server.wait_for_state(job["id"]) == "JOB_STATE_DONE"
    found = server.jobs().get(**PLACE, jobId=job["id"], view="JOB_VIEW_ALL").execute()
    assert (found["name"], found["labels"]) == ("flex-job", {"run": "1"})
    options = found["environment"]["sdkPipelineOptions"]["options"]
    assert options["runner"] == "DataflowRunner"
    assert (options["project"], options["region"]) == ("local-project", "us-central1")
    assert options["staging_location"] == "gs://bucket/temp"
    assert "a basic message" in server.messages(job["id"])
    logs = bucket.blob(f"temp/template_launches/{job['id']}/console_logs")
    assert "launching flex-job from program" in logs.download_as_text()


def test_a_flex_launch_without_places_gets_the_default_bucket(
    server: DataflowServer, bucket: Bucket
) -> None:
    job = launch_flex(server, "placeless", environment={})["job"]
    assert server.wait_for_state(job["id"]) == "JOB_STATE_DONE"
    assert bucket.client.bucket("dataflow-staging-us-central1-local-project").exists()


@pytest.mark.parametrize(
    ("act", "text"),
    [
        ("refuse", "ValueError: no such table"),
        ("forget", "Failed to read the job file: gs://bucket/temp/template_launches/"),
    ],
)
def test_a_launcher_that_submits_nothing_fails_the_job(
    server: DataflowServer, act: str, text: str
) -> None:
    job = launch_flex(server, f"{act}-job", act)["job"]
    assert server.wait_for_state(job["id"]) == "JOB_STATE_FAILED"
    assert text in "\n".join(server.messages(job["id"], minimumImportance="JOB_MESSAGE_ERROR"))


def test_a_launch_can_be_cancelled(server: DataflowServer) -> None:
    job_id = launch_flex(server, "hanging-job", "hang")["job"]["id"]
    wait_for(lambda: server.messages(job_id))
    body = {"requestedState": "JOB_STATE_CANCELLED"}
    server.jobs().update(**PLACE, jobId=job_id, body=body).execute()
    assert server.wait_for_state(job_id) == "JOB_STATE_CANCELLED"


def test_an_image_that_nothing_stands_for_is_refused(server: DataflowServer) -> None:
    with pytest.raises(HttpError, match="python -m local_cloud image add"):
        launch_flex(server, "strange-job", spec="strange.json")


def test_a_flex_launch_of_an_active_name_is_refused(server: DataflowServer) -> None:
    server.submit("busy-name", "wait")
    with pytest.raises(HttpError, match="already an active job named busy-name") as caught:
        launch_flex(server, "busy-name")
    assert caught.value.resp.status == 409
