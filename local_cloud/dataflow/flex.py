"""Flex templates: the user's own program, run here, makes the job."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from google.cloud import dataflow_v1beta3 as api
from google.protobuf.json_format import ParseDict, ParseError

from local_cloud.dataflow.bucket import MissingObjectError, make_bucket, read_object, write_object
from local_cloud.dataflow.jobs import as_submitted, check_job, name_taken, new_job
from local_cloud.dataflow.launcher import LAUNCH_FILE, Launch
from local_cloud.dataflow.names import check_job_name, check_labels, not_created, traced
from local_cloud.dataflow.service import Dataflow
from local_cloud.dataflow.store import NameTakenError
from local_cloud.dataflow.templates import check_parameters, parse_spec, read_json, refuse_update
from local_cloud.dataflow.views import summary
from local_cloud.errors import ServiceError
from local_cloud.images import Image, read_images

_LAUNCHER = (sys.executable, "-m", "local_cloud.dataflow.launcher")
_PY_FILE = "FLEX_TEMPLATE_PYTHON_PY_FILE"
# Which option each of the image's other variables stands for.
_VARIABLE_OPTIONS = {
    "FLEX_TEMPLATE_PYTHON_REQUIREMENTS_FILE": "requirements_file",
    "FLEX_TEMPLATE_PYTHON_SETUP_FILE": "setup_file",
    "FLEX_TEMPLATE_PYTHON_EXTRA_PACKAGES": "extra_package",
    "FLEX_TEMPLATE_PYTHON_CONTAINER_IMAGE": "sdk_container_image",
}
# Which of Beam's options each field of FlexTemplateRuntimeEnvironment stands for.
_ENVIRONMENT_OPTIONS = {
    "num_workers": "num_workers",
    "max_workers": "max_num_workers",
    "machine_type": "machine_type",
    "disk_size_gb": "disk_size_gb",
    "service_account_email": "service_account_email",
    "network": "network",
    "subnetwork": "subnetwork",
    "kms_key_name": "dataflow_kms_key",
    "sdk_container_image": "sdk_container_image",
    "worker_region": "worker_region",
    "worker_zone": "worker_zone",
    "staging_location": "staging_location",
    "temp_location": "temp_location",
}


def launch_flex_template(
    service: Dataflow, request: api.LaunchFlexTemplateRequest
) -> api.LaunchFlexTemplateResponse:
    """Creates a job, and starts the launcher that is to submit its pipeline.

    As on the real service, the launcher does not submit: it is told to write the job to a file,
    and the service goes on with what it finds there, under the id that it gave out before.
    """
    service.check_project(request.project_id, "dataflow.jobs.create")
    location = service.location(request.location)
    launch = request.launch_parameter
    if launch.update:
        raise refuse_update()
    check_job_name(launch.job_name)
    spec, image = _template(service, launch)
    check_parameters(launch.parameters, spec.metadata.parameters)
    environment = _merged(spec.default_environment, launch.environment)
    labels = dict(environment.additional_user_labels)
    check_labels(labels)
    if request.validate_only:
        return api.LaunchFlexTemplateResponse()
    placeholder = api.Job(name=launch.job_name, labels=labels)
    stored = new_job(placeholder, request.project_id, location, "JOB_STATE_QUEUED")
    options = _options(launch, environment, request.project_id, location)
    folder = f"{options['staging_location'].rstrip('/')}/template_launches/{stored.id}"
    job_file = f"{folder}/job_object"
    options["template_location"] = job_file
    try:
        service.store.insert(stored)
    except NameTakenError:
        raise name_taken(launch.job_name) from None
    directory = service.lifecycle.directory(stored.id)
    started = _launch(image, options, environment, folder, directory)
    (directory / LAUNCH_FILE).write_text(started.model_dump_json())
    service.lifecycle.launch(
        stored.id,
        [*_LAUNCHER, str(directory)],
        adopt=lambda: _adopt(service, stored.id, job_file, labels),
        keep_log=lambda log: _keep_log(service, stored.id, started.console_log, log),
    )
    return api.LaunchFlexTemplateResponse(job=summary(stored))


def _template(
    service: Dataflow, launch: api.LaunchFlexTemplateParameter
) -> tuple[api.ContainerSpec, Image]:
    """The spec that a launch names, and what stands for its image."""
    if launch.container_spec_gcs_path:
        uri = launch.container_spec_gcs_path
        spec = parse_spec(read_json(uri), uri)
    else:
        uri, spec = "containerSpec", launch.container_spec
    if not spec.image:
        raise ServiceError(400, traced(f"Invalid template file {uri}: it names no image"))
    image = read_images(service.directory).get(spec.image)
    if image is None or _PY_FILE not in image.environment:
        missing = "is not known here" if image is None else f"does not set {_PY_FILE}"
        raise ServiceError(
            400,
            traced(
                f"The image {spec.image} of {uri} {missing}. Say what stands for it with "
                "`python -m local_cloud image add`."
            ),
        )
    return spec, image


def _merged(
    default: api.FlexTemplateRuntimeEnvironment, given: api.FlexTemplateRuntimeEnvironment
) -> api.FlexTemplateRuntimeEnvironment:
    merged = api.FlexTemplateRuntimeEnvironment()
    pb = api.FlexTemplateRuntimeEnvironment.pb(merged)
    pb.CopyFrom(api.FlexTemplateRuntimeEnvironment.pb(default))
    pb.MergeFrom(api.FlexTemplateRuntimeEnvironment.pb(given))
    return merged


def _options(
    launch: api.LaunchFlexTemplateParameter,
    environment: api.FlexTemplateRuntimeEnvironment,
    project: str,
    location: str,
) -> dict[str, str]:
    """The options of the launcher, without those that the image sets."""
    options = {
        "runner": "DataflowRunner",
        "project": project,
        "region": location,
        "job_name": launch.job_name,
    }
    for field, option in _ENVIRONMENT_OPTIONS.items():
        if value := getattr(environment, field):
            options[option] = str(value)
    options |= launch.parameters
    staging = options.get("staging_location") or options.get("temp_location")
    if not staging:
        # The bucket that the real service makes for a project's region when no other is named.
        bucket = f"dataflow-staging-{location}-{project}"
        make_bucket(bucket, project, location)
        staging = f"gs://{bucket}/staging"
    for option in ("staging_location", "temp_location"):
        options.setdefault(option, staging)
        if not options[option].startswith("gs://"):
            raise not_created(400, f"The {option} {options[option]!r} does not begin with gs://.")
    return options


def _launch(
    image: Image,
    options: Mapping[str, str],
    environment: api.FlexTemplateRuntimeEnvironment,
    folder: str,
    directory: Path,
) -> Launch:
    """The launcher's command."""
    arguments = [f"--{name}={value}" for name, value in options.items()]
    for variable, option in _VARIABLE_OPTIONS.items():
        if value := image.environment.get(variable):
            arguments.append(f"--{option}={value}")
    arguments += [f"--experiments={name}" for name in environment.additional_experiments]
    arguments += [
        option if option.startswith("--") else f"--{option}"
        for option in environment.additional_pipeline_options
    ]
    return Launch(
        command=[image.python, image.environment[_PY_FILE], *arguments],
        working_directory=image.directory or str(directory),
        environment=image.environment,
        console_log=f"{folder}/console_logs",
    )


def _adopt(service: Dataflow, job_id: str, job_file: str, labels: Mapping[str, str]) -> None:
    """Goes on with the job that the launcher wrote to a file."""
    job = api.Job()
    try:
        content = read_object(job_file)
        ParseDict(json.loads(content), api.Job.pb(job), ignore_unknown_fields=True)
        job.labels.update(labels)
        check_job(job)
    except MissingObjectError:
        opened = traced(f"Unable to open template file: {job_file}.")
        raise RuntimeError(
            f"Failed to read the job file: {job_file} with error message: {opened}. "
            "The launcher ended well, but ran no pipeline with the options it was given."
        ) from None
    except (ValueError, ParseError, ServiceError) as error:
        raise RuntimeError(f"Failed to read the job file: {job_file}: {error}") from error
    service.store.replace_job(job_id, as_submitted(job))
    service.store.move(job_id, "JOB_STATE_PENDING")


def _keep_log(service: Dataflow, job_id: str, uri: str, log: Path) -> None:
    """Puts what the launcher printed where its messages say that it is."""
    try:
        write_object(uri, log.read_bytes())
    except MissingObjectError:
        text = f"The console log cannot be written: {uri} is in no bucket that exists."
        service.store.add_message(job_id, "JOB_MESSAGE_WARNING", text)
