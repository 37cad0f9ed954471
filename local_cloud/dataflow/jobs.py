"""Creating, reading, listing and ending jobs."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

from google.cloud import dataflow_v1beta3 as api
from google.protobuf.json_format import MessageToDict

from local_cloud.dataflow.names import (
    check_job_name,
    check_labels,
    new_job_id,
    not_created,
    now,
    traced,
)
from local_cloud.dataflow.service import Dataflow
from local_cloud.dataflow.store import Listing, NameTakenError, StoredJob
from local_cloud.dataflow.views import shown, summary, view
from local_cloud.errors import ServiceError

_LARGEST_PAGE = 100
_PENDING = "JOB_STATE_PENDING"
_END_WORDS = {"JOB_STATE_DONE": "SUCCESS", "JOB_STATE_FAILED": "FAILED"}


def create_job(service: Dataflow, request: api.CreateJobRequest) -> api.Job:
    """Accepts a job as Beam submits it."""
    service.check_project(request.project_id, "dataflow.jobs.create")
    location = service.location(request.location)
    job = request.job
    check_job(job)
    if job.client_request_id:
        again = service.store.of_request(
            request.project_id, location, job.name, job.client_request_id
        )
        if again is not None:
            return view(service.store, again, request.view)
    replaced = request.replace_job_id or job.replace_job_id
    if replaced:
        old = service.job(request.project_id, location, replaced, "dataflow.jobs.get")
        _refuse_update(old)
    stored = new_job(job, request.project_id, location, _PENDING)
    try:
        service.store.insert(stored)
    except NameTakenError:
        active = service.store.active_of_name(request.project_id, location, job.name)
        # A client that names its request compares the answer with it, and says so to its user.
        if active is not None and job.client_request_id and active.client_request_id:
            return summary(active)
        raise name_taken(job.name) from None
    service.lifecycle.submit(stored.id)
    return view(service.store, stored, request.view)


def check_job(job: api.Job) -> None:
    """Fails for a job that cannot be run.

    Raises:
        ServiceError: It is such a job.
    """
    check_job_name(job.name)
    check_labels(job.labels)
    location = job.environment.temp_storage_prefix
    if location and not location.startswith(("gs://", "storage.googleapis.com/")):
        raise not_created(
            400, f"The temp location {location!r} is not a Cloud Storage path: gs://BUCKET/FOLDER."
        )
    options = MessageToDict(api.Environment.pb(job.environment).sdk_pipeline_options)
    if not str(options.get("options", {}).get("pipelineUrl", "")).startswith("gs://"):
        raise not_created(
            400,
            "The job names no staged pipeline (environment.sdkPipelineOptions.options.pipelineUrl "
            "in Cloud Storage). Only pipelines submitted in Beam's portable form can be run.",
        )


def new_job(job: api.Job, project: str, location: str, state: str) -> StoredJob:
    """What is kept of a job that is created now."""
    time = now()
    return StoredJob(
        id=new_job_id(),
        project=project,
        location=location,
        name=job.name,
        client_request_id=job.client_request_id,
        state=state,
        state_time=time,
        create_time=time,
        start_time=time if state == _PENDING else "",
        requested_state="",
        started=False,
        job=as_submitted(job),
    )


def as_submitted(job: api.Job) -> bytes:
    """A submitted job, serialized, without what only the service says of jobs."""
    kept = type(api.Job.pb(job))()
    kept.CopyFrom(api.Job.pb(job))
    for field in "current_state current_state_time requested_state create_time start_time".split():
        kept.ClearField(field)
    kept.type_ = kept.type_ or int(api.JobType.JOB_TYPE_BATCH)
    serialized: bytes = kept.SerializeToString()
    return serialized


def name_taken(name: str) -> ServiceError:
    """The error for a second active job of one name."""
    return ServiceError(
        409,
        traced(
            f"There is already an active job named {name}. If you want to submit a second job, "
            "try again by setting a different name."
        ),
        reason="alreadyExists",
    )


def get_job(service: Dataflow, request: api.GetJobRequest) -> api.Job:
    """Tells how a job is."""
    job = service.job(request.project_id, request.location, request.job_id, "dataflow.jobs.get")
    return view(service.store, job, request.view)


def list_jobs(service: Dataflow, request: api.ListJobsRequest) -> api.ListJobsResponse:
    """Lists the jobs of one region."""
    location = service.location(request.location)
    return _page(service, request, Listing(location=location))


def aggregated_list_jobs(service: Dataflow, request: api.ListJobsRequest) -> api.ListJobsResponse:
    """Lists the jobs of all regions."""
    return _page(service, request, Listing())


def _page(
    service: Dataflow, request: api.ListJobsRequest, listing: Listing
) -> api.ListJobsResponse:
    service.check_project(request.project_id, "dataflow.jobs.list")
    wanted = api.ListJobsRequest.Filter
    active = {wanted.ACTIVE: True, wanted.TERMINATED: False}.get(request.filter)
    listing = replace(listing, project=request.project_id, name=request.name, active=active)
    size = page_size(request.page_size, _LARGEST_PAGE)
    found = service.store.list_jobs(listing, size + 1, read_token(request.page_token, 3))
    token = write_token(found[size - 1][1]) if len(found) > size else ""
    return api.ListJobsResponse(
        jobs=[summary(job) for job, _ in found[:size]], next_page_token=token
    )


def page_size(wanted: int, largest: int) -> int:
    """How many entries a page has.

    Raises:
        ServiceError: The request wants a negative number.
    """
    if wanted < 0:
        raise ServiceError(400, traced(f"The page size must not be negative: {wanted}"))
    return min(wanted or largest, largest)


def write_token(key: tuple[object, ...]) -> str:
    """The token of the page behind an entry."""
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode()


def read_token(token: str, length: int) -> tuple[object, ...] | None:
    """The key that `write_token` was given; None for the first page.

    Raises:
        ServiceError: The token is not one of this service.
    """
    if not token:
        return None
    try:
        key = json.loads(base64.urlsafe_b64decode(token))
    except ValueError:
        key = None
    if not isinstance(key, list) or len(key) != length:
        raise ServiceError(400, traced(f"Invalid page token: {token!r}"))
    return tuple(key)


def update_job(service: Dataflow, request: api.UpdateJobRequest) -> api.Job:
    """Cancels a job; the other changes are for streaming jobs."""
    job = service.job(request.project_id, request.location, request.job_id, "dataflow.jobs.update")
    wanted = request.job.requested_state
    if wanted == api.JobState.JOB_STATE_CANCELLED:
        if job.is_terminal:
            raise _not_modified(_has_terminated(job, "cancel"))
        service.store.set_requested_state(job.id, wanted.name)
        service.lifecycle.cancel(job.id)
    elif wanted in (api.JobState.JOB_STATE_DRAINED, api.JobState.JOB_STATE_DRAINING):
        if job.is_terminal:
            raise _not_modified(_has_terminated(job, "drain"))
        raise _not_modified(
            f"Operation drain not allowed for JOB {job.id}. Only streaming jobs can be drained."
        )
    elif wanted == api.JobState.JOB_STATE_UNKNOWN:
        raise _not_modified("The request names no requested state, and a batch job has no other.")
    else:
        raise _not_modified(f"{wanted.name} is not a state that can be requested.")
    return summary(service.store.get(job.id) or job)


def _refuse_update(old: StoredJob) -> None:
    """Raises the error for a job that is to take the place of an old one."""
    if old.is_terminal:
        raise not_created(400, _has_terminated(old, "update"))
    kind = shown(old).type_.name
    raise not_created(
        400, f"The job {old.id} cannot be updated: it is {kind}, not JOB_TYPE_STREAMING."
    )


def _not_modified(cause: str) -> ServiceError:
    return ServiceError(400, traced(f"Workflow modification failed. Causes: {traced(cause)}"))


def _has_terminated(job: StoredJob, operation: str) -> str:
    word = _END_WORDS.get(job.state, job.state.removeprefix("JOB_STATE_"))
    return (
        f"Operation {operation} not allowed for JOB {job.id}. Job has terminated in state {word}."
    )
