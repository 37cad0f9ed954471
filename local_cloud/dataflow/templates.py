"""Classic templates: a job in a file, launched with the parameters that it left open."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from google.cloud import dataflow_v1beta3 as api
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError

from local_cloud.dataflow.bucket import MissingObjectError, read_object
from local_cloud.dataflow.jobs import check_job, name_taken, new_job
from local_cloud.dataflow.names import check_job_name, check_labels, traced
from local_cloud.dataflow.service import Dataflow
from local_cloud.dataflow.store import NameTakenError, StoredJob
from local_cloud.dataflow.views import summary
from local_cloud.errors import ServiceError


def launch_template(
    service: Dataflow, request: api.LaunchTemplateRequest
) -> api.LaunchTemplateResponse:
    """Creates a job from a classic template."""
    if request.dynamic_template:
        raise ServiceError(501, "Dynamic templates are not known here; use a flex template.")
    parameters = request.launch_parameters
    if parameters.update:
        raise refuse_update()
    service.check_project(request.project_id, "dataflow.jobs.create")
    location = service.location(request.location)
    job = _templated_job(
        request.gcs_path, parameters.job_name, parameters.parameters, parameters.environment
    )
    if request.validate_only:
        return api.LaunchTemplateResponse()
    stored = _submit(service, job, request.project_id, location)
    return api.LaunchTemplateResponse(job=summary(stored))


def create_job_from_template(
    service: Dataflow, request: api.CreateJobFromTemplateRequest
) -> api.Job:
    """Creates a job from a classic template; the older form of `launch_template`."""
    service.check_project(request.project_id, "dataflow.jobs.create")
    location = service.location(request.location)
    job = _templated_job(
        request.gcs_path, request.job_name, request.parameters, request.environment
    )
    return summary(_submit(service, job, request.project_id, location))


def get_template(service: Dataflow, request: api.GetTemplateRequest) -> api.GetTemplateResponse:
    """Tells what a template, classic or flex, takes."""
    service.check_project(request.project_id, "dataflow.jobs.get")
    service.location(request.location)
    template = read_json(request.gcs_path)
    if "image" in template:
        spec = parse_spec(template, request.gcs_path)
        return api.GetTemplateResponse(
            metadata=spec.metadata,
            template_type=api.GetTemplateResponse.TemplateType.FLEX,
            runtime_metadata=api.RuntimeMetadata(
                sdk_info=spec.sdk_info, parameters=spec.metadata.parameters
            ),
        )
    metadata = _metadata(request.gcs_path)
    return api.GetTemplateResponse(
        metadata=metadata,
        template_type=api.GetTemplateResponse.TemplateType.LEGACY,
        runtime_metadata=api.RuntimeMetadata(
            sdk_info=api.SDKInfo(language=api.SDKInfo.Language.PYTHON),
            parameters=metadata.parameters,
        ),
    )


def refuse_update() -> ServiceError:
    """The error for a launch that is to take the place of a running job."""
    return ServiceError(400, traced("Only streaming jobs can be updated; batch jobs cannot."))


def read_json(uri: str) -> dict[str, Any]:
    """A JSON object in a bucket.

    Raises:
        ServiceError: It is missing, or something else.
    """
    try:
        content = json.loads(read_object(uri))
    except MissingObjectError:
        raise ServiceError(404, traced(f"Unable to open template file: {uri}.")) from None
    except ValueError as error:
        raise _invalid(uri, str(error)) from None
    if not isinstance(content, dict):
        raise _invalid(uri, "it is not a JSON object")
    return content


def parse_spec(content: Mapping[str, Any], uri: str) -> api.ContainerSpec:
    """The spec of a flex template.

    Raises:
        ServiceError: It is none.
    """
    spec = api.ContainerSpec()
    _parse(content, api.ContainerSpec.pb(spec), uri)
    return spec


def check_parameters(given: Mapping[str, str], known: Sequence[api.ParameterMetadata]) -> None:
    """Fails on parameters that the metadata of a template does not allow.

    Raises:
        ServiceError: They are such.
    """
    names = [parameter.name for parameter in known]
    problems = []
    if unexpected := [name for name in given if name not in names]:
        problems.append(f"Found unexpected parameters: [{_with_guesses(unexpected, names)}]")
    for parameter in known:
        if parameter.name not in given:
            if not parameter.is_optional:
                problems.append(f"Missing required parameter: {parameter.name}")
        elif not all(re.fullmatch(regex, given[parameter.name]) for regex in parameter.regexes):
            problems.append(f"{parameter.name}: {parameter.help_text} (does not match its regex)")
    if problems:
        raise _bad_parameters(problems)


def _templated_job(
    uri: str, name: str, given: Mapping[str, str], environment: api.RuntimeEnvironment
) -> api.Job:
    """The job that a template and the values for it make."""
    check_job_name(name)
    job = api.Job()
    pb = api.Job.pb(job)
    _parse(read_json(uri), pb, uri)
    job.name = name
    pb.ClearField("client_request_id")
    settings = MessageToDict(pb.environment.sdk_pipeline_options)
    options = settings.setdefault("options", {})
    metadata = _metadata(uri)
    if metadata.parameters:
        check_parameters(given, metadata.parameters)
    elif unexpected := [key for key in given if key not in options]:
        guesses = _with_guesses(unexpected, options)
        raise _bad_parameters([f"Found unexpected parameters: [{guesses}]"])
    options.update(given)
    _apply_environment(job, options, environment)
    pb.environment.sdk_pipeline_options.Clear()
    ParseDict(settings, pb.environment.sdk_pipeline_options)
    check_job(job)
    return job


def _apply_environment(
    job: api.Job, options: dict[str, Any], environment: api.RuntimeEnvironment
) -> None:
    """Puts what a launch says of the job's workers and places in the place of the template's."""
    if environment.temp_location:
        job.environment.temp_storage_prefix = environment.temp_location
    given = {
        "temp_location": environment.temp_location,
        "num_workers": environment.num_workers,
        "max_num_workers": environment.max_workers,
        "machine_type": environment.machine_type,
    }
    options.update({option: value for option, value in given.items() if value})
    for pool in job.environment.worker_pools:
        pool.num_workers = environment.num_workers or pool.num_workers
        pool.machine_type = environment.machine_type or pool.machine_type
        if environment.max_workers:
            pool.autoscaling_settings.max_num_workers = environment.max_workers
    job.environment.experiments.extend(environment.additional_experiments)
    check_labels(environment.additional_user_labels)
    job.labels.update(environment.additional_user_labels)


def _submit(service: Dataflow, job: api.Job, project: str, location: str) -> StoredJob:
    stored = new_job(job, project, location, "JOB_STATE_PENDING")
    try:
        service.store.insert(stored)
    except NameTakenError:
        raise name_taken(job.name) from None
    service.lifecycle.submit(stored.id)
    return stored


def _metadata(uri: str) -> api.TemplateMetadata:
    """The metadata file beside a classic template; empty where there is none."""
    metadata = api.TemplateMetadata()
    try:
        content = read_object(f"{uri}_metadata")
    except MissingObjectError:
        return metadata
    try:
        _parse(json.loads(content), api.TemplateMetadata.pb(metadata), f"{uri}_metadata")
    except ValueError as error:
        raise _invalid(f"{uri}_metadata", str(error)) from None
    return metadata


def _parse(content: Any, message: Any, uri: str) -> None:
    try:
        ParseDict(content, message, ignore_unknown_fields=True)
    except ParseError as error:
        raise _invalid(uri, str(error)) from None


def _invalid(uri: str, reason: str) -> ServiceError:
    return ServiceError(400, traced(f"Invalid template file {uri}: {reason}"))


def _bad_parameters(problems: Iterable[str]) -> ServiceError:
    return ServiceError(
        400, traced("The template parameters are invalid. Details:\n" + "\n".join(problems))
    )


def _with_guesses(unexpected: Iterable[str], known: Iterable[str]) -> str:
    guesses = {name: difflib.get_close_matches(name, list(known), 1) for name in unexpected}
    return ", ".join(
        f"'{name}' (perhaps you meant '{guess[0]}')" if guess else f"'{name}'"
        for name, guess in guesses.items()
    )
