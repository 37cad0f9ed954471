"""Launching a job by its flex template: the call of Dataflow's API that stands for a launcher here.

Which of a job's options is a parameter of its template, and which is one of Beam's that has a place
of its own in the call: https://cloud.google.com/dataflow/docs/reference/rest/v1b3/projects.
locations.flexTemplates/launch
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from airflow.sdk.exceptions import AirflowException, AirflowFailException
from googleapiclient.errors import HttpError

from tallyflow.dataflow_jobs import DataflowJobs, Job

# Beam's options that are fields of FlexTemplateRuntimeEnvironment.
_ENVIRONMENT = {
    "num_workers": "numWorkers",
    "max_num_workers": "maxWorkers",
    "machine_type": "machineType",
    "worker_machine_type": "machineType",
    "disk_size_gb": "diskSizeGb",
    "service_account_email": "serviceAccountEmail",
    "temp_location": "tempLocation",
    "staging_location": "stagingLocation",
    "network": "network",
    "subnetwork": "subnetwork",
    "dataflow_kms_key": "kmsKeyName",
    "worker_region": "workerRegion",
    "worker_zone": "workerZone",
    "sdk_container_image": "sdkContainerImage",
}
# Those that have no field there.
_ADDITIONAL = frozenset(
    {
        *("number_of_worker_harness_threads", "worker_disk_type", "disk_type"),
        *("resource_hint", "resource_hints", "dataflow_service_option", "dataflow_service_options"),
    }
)
# What the call itself says, or the account that makes it.
_OF_THE_CALL = frozenset(
    {"project", "region", "runner", "job_name", "labels", "impersonate_service_account"}
)
_PACKAGES = frozenset(
    {"extra_package", "extra_packages", "requirements_file", "setup_file", "sdk_location"}
)


class TemplateError(AirflowException):
    """A template could not be launched; the message says why."""


def launch(jobs: DataflowJobs, template: str, options: Mapping[str, Any]) -> Job:
    """Has Dataflow launch a job by a template; the job has its id when this returns.

    Args:
        jobs: Where.
        template: URL of its spec.
        options: Of the pipeline, with the job's name and labels.

    Raises:
        AirflowFailException: An option has no place in a template.
        TemplateError: Dataflow refused; its cause is the client's error.
        Exception: The call failed otherwise: whether there is a job is not known.
    """
    service = jobs.hook.get_conn()
    templates = service.projects().locations().flexTemplates()
    body = {"launchParameter": launch_parameter(template, options)}
    call = templates.launch(projectId=jobs.project, location=jobs.location, body=body)
    try:
        answer = call.execute()
    except HttpError as error:
        raise TemplateError(
            f"Dataflow does not launch the template {template} ({int(error.resp.status)}): "
            f"{_said(error)}\nThe template's parameters are those of the job's own options, by "
            "`make templates` of the same version as the DAGs; docs/deploy.md"
        ) from error
    return Job.of(answer["job"])


def launch_parameter(template: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The body of the call.

    Raises:
        AirflowFailException: An option has no place in it.
    """
    environment: dict[str, Any] = {"additionalUserLabels": options.get("labels", {})}
    parameters: dict[str, str] = {}
    additional: list[str] = []
    if package := next((name for name in options if name in _PACKAGES), None):
        raise AirflowFailException(
            f"{package}={options[package]!r} does not go with the template {template}: its image "
            "has the packages of the job; delete the option"
        )
    for name, value in options.items():
        if name in _OF_THE_CALL or value is None:
            continue
        if field := _field(name, value):
            environment |= field
        elif isinstance(value, list) or name in _ADDITIONAL:
            values = value if isinstance(value, list) else [value]
            additional += [f"{name}={_text(one)}" for one in values]
        elif value is not False:  # as on a command line, where such an option is left out
            parameters[name] = _text(value)
    if additional:
        environment["additionalPipelineOptions"] = additional
    return {
        "jobName": options["job_name"],
        "containerSpecGcsPath": template,
        "parameters": parameters,
        "environment": environment,
    }


def _field(name: str, value: Any) -> dict[str, Any]:
    """The field of the environment that an option is; empty if it is none."""
    match name:
        case "flexrs_goal":
            return {"flexrsGoal": f"FLEXRS_{value}"}
        case "use_public_ips":
            return {"ipConfiguration": f"WORKER_IP_{'PUBLIC' if value else 'PRIVATE'}"}
        case "experiment" | "experiments":
            return {"additionalExperiments": [value] if isinstance(value, str) else value}
    return {_ENVIRONMENT[name]: value} if name in _ENVIRONMENT else {}


def _text(value: object) -> str:
    return "true" if value is True else str(value)


def _said(error: HttpError) -> str:
    """What Dataflow says is wrong, without the envelope."""
    try:
        return str(json.loads(error.content)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return str(error.reason)
