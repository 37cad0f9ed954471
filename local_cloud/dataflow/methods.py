"""The methods of the Dataflow API v1b3 that are served here, over REST and gRPC alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from google.cloud import dataflow_v1beta3 as api

from local_cloud.dataflow import flex, jobs, reports, templates
from local_cloud.dataflow.service import Dataflow

PACKAGE = "google.dataflow.v1beta3"
_PROJECT = "/v1b3/projects/{projectId}"
_REGION = f"{_PROJECT}/locations/{{location}}"


@dataclass(frozen=True)
class Method:
    """One method.

    Attributes:
        name: Its id, without the resource that it belongs to.
        verb: Its HTTP verb.
        path: Its path behind that of the resource.
        rpc: Its gRPC service and method.
        request: The type of its request.
        response: The type of its answer.
        call: What does it.
        body: The field of the request that the HTTP body is; ``*`` for all of it.
        scope: The resources it is found below: the region, the project as in older clients, both.
    """

    name: str
    verb: str
    path: str
    rpc: str
    request: Any
    response: Any
    call: Callable[[Dataflow, Any], Any]
    body: str = ""
    scope: Literal["both", "project", "region"] = "both"

    def routes(self) -> Iterator[tuple[str, str]]:
        """The method's ids, each with the template of its path."""
        if self.scope != "project":
            yield f"dataflow.projects.locations.{self.name}", f"{_REGION}/{self.path}"
        if self.scope != "region":
            yield f"dataflow.projects.{self.name}", f"{_PROJECT}/{self.path}"


_JOB = "jobs/{jobId}"

METHODS = (
    Method(
        "jobs.create", "POST", "jobs", "JobsV1Beta3/CreateJob",
        api.CreateJobRequest, api.Job, jobs.create_job, body="job",
    ),
    Method(
        "jobs.get", "GET", _JOB, "JobsV1Beta3/GetJob",
        api.GetJobRequest, api.Job, jobs.get_job,
    ),
    Method(
        "jobs.update", "PUT", _JOB, "JobsV1Beta3/UpdateJob",
        api.UpdateJobRequest, api.Job, jobs.update_job, body="job",
    ),
    Method(
        "jobs.list", "GET", "jobs", "JobsV1Beta3/ListJobs",
        api.ListJobsRequest, api.ListJobsResponse, jobs.list_jobs,
    ),
    Method(
        "jobs.aggregated", "GET", "jobs:aggregated", "JobsV1Beta3/AggregatedListJobs",
        api.ListJobsRequest, api.ListJobsResponse, jobs.aggregated_list_jobs, scope="project",
    ),
    Method(
        "jobs.messages.list", "GET", f"{_JOB}/messages", "MessagesV1Beta3/ListJobMessages",
        api.ListJobMessagesRequest, api.ListJobMessagesResponse, reports.list_job_messages,
    ),
    Method(
        "jobs.getMetrics", "GET", f"{_JOB}/metrics", "MetricsV1Beta3/GetJobMetrics",
        api.GetJobMetricsRequest, api.JobMetrics, reports.get_job_metrics,
    ),
    Method(
        "templates.create", "POST", "templates", "TemplatesService/CreateJobFromTemplate",
        api.CreateJobFromTemplateRequest, api.Job, templates.create_job_from_template, body="*",
    ),
    Method(
        "templates.launch", "POST", "templates:launch", "TemplatesService/LaunchTemplate",
        api.LaunchTemplateRequest, api.LaunchTemplateResponse, templates.launch_template,
        body="launch_parameters",
    ),
    Method(
        "templates.get", "GET", "templates:get", "TemplatesService/GetTemplate",
        api.GetTemplateRequest, api.GetTemplateResponse, templates.get_template,
    ),
    Method(
        "flexTemplates.launch", "POST", "flexTemplates:launch",
        "FlexTemplatesService/LaunchFlexTemplate",
        api.LaunchFlexTemplateRequest, api.LaunchFlexTemplateResponse, flex.launch_flex_template,
        body="*", scope="region",
    ),
)  # fmt: skip
