"""Jobs as the API shows them."""

from __future__ import annotations

from google.cloud import dataflow_v1beta3 as api
from google.protobuf.json_format import MessageToDict

from local_cloud.dataflow.events import Step
from local_cloud.dataflow.lifecycle import STEPS
from local_cloud.dataflow.names import parse_time
from local_cloud.dataflow.store import Store, StoredJob

_STEP_STATES = {
    "PENDING": api.JobState.JOB_STATE_PENDING,
    "RUNNING": api.JobState.JOB_STATE_RUNNING,
    "DONE": api.JobState.JOB_STATE_DONE,
    "FAILED": api.JobState.JOB_STATE_FAILED,
}


def job_steps(store: Store, job_id: str) -> tuple[str, list[Step]]:
    """The steps of a job as they were reported last, and when that was."""
    time, content = store.report(job_id, "steps") or ("", "[]")
    return time, STEPS.validate_json(content)


def shown(stored: StoredJob) -> api.Job:
    """A job with all that was submitted and its state now."""
    job: api.Job = api.Job.deserialize(stored.job)
    job.id = stored.id
    job.project_id = stored.project
    job.location = stored.location
    job.name = stored.name
    job.current_state = getattr(api.JobState, stored.state)
    pb = api.Job.pb(job)
    pb.current_state_time.FromJsonString(stored.state_time)
    pb.create_time.FromJsonString(stored.create_time)
    if stored.start_time:
        pb.start_time.FromJsonString(stored.start_time)
    if stored.requested_state:
        job.requested_state = getattr(api.JobState, stored.requested_state)
    job.job_metadata.sdk_version = sdk_version(job)
    return job


def summary(job: StoredJob) -> api.Job:
    """A job as `JOB_VIEW_SUMMARY` and lists show it."""
    full = shown(job)
    return api.Job(
        id=full.id,
        project_id=full.project_id,
        name=full.name,
        type_=full.type_,
        current_state=full.current_state,
        current_state_time=full.current_state_time,
        requested_state=full.requested_state,
        create_time=full.create_time,
        start_time=full.start_time,
        replace_job_id=full.replace_job_id,
        client_request_id=full.client_request_id,
        labels=full.labels,
        location=full.location,
        job_metadata=full.job_metadata,
    )


def view(store: Store, job: StoredJob, wanted: api.JobView) -> api.Job:
    """A job as a view shows it."""
    if wanted not in (api.JobView.JOB_VIEW_ALL, api.JobView.JOB_VIEW_DESCRIPTION):
        return summary(job)
    time, steps = job_steps(store, job.id)
    full = shown(job) if wanted == api.JobView.JOB_VIEW_ALL else summary(job)
    if wanted == api.JobView.JOB_VIEW_DESCRIPTION:
        full.environment = shown(job).environment
    else:
        full.stage_states = [
            api.ExecutionStageState(
                execution_stage_name=step.name,
                execution_stage_state=_STEP_STATES[step.state],
                current_state_time=parse_time(time),
            )
            for step in steps
        ]
    full.steps = [
        api.Step(name=step.name, kind="ParallelDo", properties={"user_name": step.user_name})
        for step in steps
    ]
    full.pipeline_description.original_pipeline_transform = [
        api.TransformSummary(id=step.name, name=step.user_name) for step in steps
    ]
    return full


def sdk_version(job: api.Job) -> api.SdkVersion:
    """The version of Beam that submitted a job."""
    agent = MessageToDict(api.Environment.pb(job.environment).user_agent)
    return api.SdkVersion(
        version=str(agent.get("version", "")),
        version_display_name=str(agent.get("name", "")),
        sdk_support_status=api.SdkVersion.SdkSupportStatus.SUPPORTED,
    )
