"""What is sent to Dataflow to launch a job by its template, and what becomes of a refusal."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from airflow.sdk.exceptions import AirflowFailException
from googleapiclient.errors import HttpError

from tallyflow.beam_job import BeamJobOperator
from tallyflow.dataflow_jobs import DataflowJobs, Job
from tallyflow.flex_template import TemplateError, launch, launch_parameter
from tallyflow.job_failure import permanent_reason
from tallyflow.job_options import WORK_LABEL, Work
from tallyflow.settings import Settings

_TEMPLATE = "gs://bucket/templates/count_elements.json"
_JOB = {"job_name": "count-1", "labels": {"team": "data", "tallyflow-work": "1"}}


def jobs_that_answer(answer: object) -> tuple[DataflowJobs, list[dict[str, Any]]]:
    """A client whose calls to launch a template are kept, and so answered."""
    calls: list[dict[str, Any]] = []

    def execute() -> object:
        if isinstance(answer, Exception):
            raise answer
        return answer

    def call(**arguments: Any) -> SimpleNamespace:
        calls.append(arguments)
        return SimpleNamespace(execute=execute)

    templates = SimpleNamespace(launch=call)
    locations = SimpleNamespace(flexTemplates=lambda: templates)
    projects = SimpleNamespace(locations=lambda: locations)
    hook = SimpleNamespace(get_conn=lambda: SimpleNamespace(projects=lambda: projects))
    return DataflowJobs(cast("Any", hook), "project", "region"), calls


def refusal(status: int, message: str) -> HttpError:
    content = json.dumps({"error": {"message": message}}).encode()
    return HttpError(cast("Any", SimpleNamespace(status=status, reason="refused")), content)


def test_the_jobs_own_options_are_parameters_and_beams_are_the_environment() -> None:
    settings = Settings(
        runner="DataflowRunner",
        storage="gs://bucket",
        templates="gs://bucket/templates",
        use_public_ips=False,
        disk_type="pd-ssd",
        min_ram="16GB",
        shuffle_mode="appliance",
        num_workers=2,
        dataflow_kms_key="projects/p/locations/l/keyRings/r/cryptoKeys/k",
    )
    own = {"input": "gs://b/*", "by": "word", "top": 3, "allow_empty": True, "describe": False}
    of_call = {"project": "p", "region": "r", "impersonate_service_account": "a@p"}
    more = {"flexrs_goal": "COST_OPTIMIZED", "report": None}
    options = {**settings.default_pipeline_options(), **own, **of_call, **more, **_JOB}
    assert launch_parameter(_TEMPLATE, options) == {
        "jobName": "count-1",
        "containerSpecGcsPath": _TEMPLATE,
        "parameters": {"input": "gs://b/*", "by": "word", "top": "3", "allow_empty": "true"},
        "environment": {
            "additionalUserLabels": {"team": "data", "tallyflow-work": "1"},
            "additionalExperiments": ["shuffle_mode=appliance"],
            "additionalPipelineOptions": [
                "worker_disk_type=compute.googleapis.com/projects//zones//diskTypes/pd-ssd",
                "resource_hints=min_ram=16GB",
            ],
            "diskSizeGb": 50,
            "flexrsGoal": "FLEXRS_COST_OPTIMIZED",
            "ipConfiguration": "WORKER_IP_PRIVATE",
            "kmsKeyName": "projects/p/locations/l/keyRings/r/cryptoKeys/k",
            "machineType": "n2-standard-4",
            "maxWorkers": 10,
            "numWorkers": 2,
            "tempLocation": "gs://bucket/tmp",
        },
    }


def test_what_is_sent_is_what_the_api_has_fields_for() -> None:
    from google.cloud import dataflow_v1beta3 as api  # noqa: PLC0415 - takes a second
    from google.protobuf.json_format import ParseDict  # noqa: PLC0415

    every = {"use_public_ips": True, "flexrs_goal": "SPEED_OPTIMIZED", "experiments": "one"}
    fields = ("subnetwork", "service_account_email", "staging_location", "worker_zone", "network")
    options = {**_JOB, **every, **dict.fromkeys(fields, "x"), "disk_size_gb": 50, "lookup": ["a=b"]}
    found = api.LaunchFlexTemplateParameter()
    ParseDict(launch_parameter(_TEMPLATE, options), api.LaunchFlexTemplateParameter.pb(found))
    assert list(found.environment.additional_pipeline_options) == ["lookup=a=b"]
    assert found.environment.flexrs_goal.name == "FLEXRS_SPEED_OPTIMIZED"


def test_a_package_has_no_place_in_a_template() -> None:
    with pytest.raises(AirflowFailException, match="extra_package='dist/x.whl' does not go with"):
        launch_parameter(_TEMPLATE, {**_JOB, "extra_package": "dist/x.whl"})


def test_a_launch_is_answered_with_the_job() -> None:
    answer = {"job": {"id": "1", "name": "count-1", "currentState": "JOB_STATE_QUEUED"}}
    jobs, calls = jobs_that_answer(answer)
    assert launch(jobs, _TEMPLATE, _JOB).id == "1"
    (call,) = calls
    assert (call["projectId"], call["location"]) == ("project", "region")
    assert call["body"]["launchParameter"]["jobName"] == "count-1"


@pytest.mark.parametrize(
    ("status", "is_permanent"), [(400, True), (403, True), (404, True), (429, False), (503, False)]
)
def test_a_refusal_is_explained_and_tried_again_only_where_that_may_help(
    status: int, *, is_permanent: bool
) -> None:
    said = "The template parameters are invalid. Details:\nFound unexpected parameters: ['topp']"
    jobs, _ = jobs_that_answer(refusal(status, said))
    with pytest.raises(TemplateError, match=rf"count_elements.json \({status}\): The template"):
        launch(jobs, _TEMPLATE, _JOB)
    with pytest.raises(TemplateError) as caught:
        launch(jobs, _TEMPLATE, _JOB)
    assert (permanent_reason(caught.value) is not None) == is_permanent


def test_a_task_that_is_killed_while_its_launch_is_unanswered_ends_the_job_that_came_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tallyflow.beam_job.time.sleep", lambda _: None)
    job = Job("1", "count-1", "JOB_STATE_QUEUED", labels={WORK_LABEL: "work"})
    others = replace(job, id="2", labels={WORK_LABEL: "another"})
    cancelled: list[str] = []
    client = SimpleNamespace(
        named=lambda _: [job, others],
        cancel=lambda job_id, **_: cancelled.append(job_id),
        get=lambda _: replace(job, state="JOB_STATE_CANCELLED") if cancelled else job,
    )
    operator = BeamJobOperator(
        task_id="count",
        runner="DataflowRunner",
        py_file="beam_jobs.count_elements",
        template=_TEMPLATE,
        dataflow_config={"job_name": "count"},
    )
    cast("Any", operator)._cast_dataflow_config()
    operator._work = Work("count-1", "work")
    operator._jobs = cast("Any", SimpleNamespace(other=lambda: client))
    operator.on_kill()
    assert set(cancelled) == {"1"}
