"""What a job tells while it runs: messages and metrics."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from google.cloud import dataflow_v1beta3 as api

from local_cloud.dataflow.events import Importance, Metric
from local_cloud.dataflow.jobs import page_size, read_token, write_token
from local_cloud.dataflow.lifecycle import METRICS
from local_cloud.dataflow.names import now, parse_time, time_text
from local_cloud.dataflow.service import Dataflow
from local_cloud.dataflow.store import IMPORTANCES, MessageRange

_LARGEST_PAGE = 1000


def list_job_messages(
    service: Dataflow, request: api.ListJobMessagesRequest
) -> api.ListJobMessagesResponse:
    """Lists the messages of a job, oldest first."""
    job = service.job(
        request.project_id, request.location, request.job_id, "dataflow.messages.list"
    )
    pb = api.ListJobMessagesRequest.pb(request)
    after = read_token(request.page_token, 2)
    within = MessageRange(
        start=time_text(pb.start_time.ToDatetime(UTC)) if pb.HasField("start_time") else "",
        end=time_text(pb.end_time.ToDatetime(UTC)) if pb.HasField("end_time") else "~",
        importance=_importance(request.minimum_importance),
        after=(str(after[0]), int(str(after[1]))) if after else ("", 0),
    )
    size = page_size(request.page_size, _LARGEST_PAGE)
    found = service.store.messages(job.id, within, size + 1)
    token = ""
    if len(found) > size:
        token = write_token((found[size - 1].time, found[size - 1].number))
    return api.ListJobMessagesResponse(
        job_messages=[
            api.JobMessage(
                id=f"JOB_MESSAGE_{message.number}",
                time=parse_time(message.time),
                message_text=message.text,
                message_importance=getattr(api.JobMessageImportance, message.importance),
            )
            for message in found[:size]
        ],
        next_page_token=token,
        # Events have no pages of their own: they come with the first page of messages.
        autoscaling_events=[] if after else _autoscaling_events(service, job.id, within),
    )


def _importance(wanted: api.JobMessageImportance) -> Importance:
    name = api.JobMessageImportance(wanted).name
    return next((one for one in IMPORTANCES if one == name), IMPORTANCES[0])


def _autoscaling_events(
    service: Dataflow, job_id: str, within: MessageRange
) -> list[api.AutoscalingEvent]:
    return [
        api.AutoscalingEvent(
            current_num_workers=workers,
            target_num_workers=workers,
            event_type=api.AutoscalingEvent.AutoscalingEventType.CURRENT_NUM_WORKERS_CHANGED,
            description=api.StructuredMessage(
                message_text=f"The job has {workers} workers.", message_key="workers"
            ),
            time=parse_time(time),
            worker_pool="Regular",
        )
        for time, workers in service.store.worker_counts(job_id, within)
    ]


def get_job_metrics(service: Dataflow, request: api.GetJobMetricsRequest) -> api.JobMetrics:
    """Tells the metrics of a job; what has not changed since a time is left out."""
    job = service.job(request.project_id, request.location, request.job_id, "dataflow.metrics.get")
    time, content = service.store.report(job.id, "metrics") or (now(), "[]")
    metrics = METRICS.validate_json(content)
    pb = api.GetJobMetricsRequest.pb(request)
    if pb.HasField("start_time"):
        metrics = metrics if time >= time_text(pb.start_time.ToDatetime(UTC)) else []
    updated = parse_time(time)
    return api.JobMetrics(
        metric_time=updated, metrics=[_metric(metric, updated) for metric in metrics]
    )


def _metric(metric: Metric, updated: datetime) -> api.MetricUpdate:
    context = {}
    if metric.step:
        context["step"] = metric.step
    if metric.namespace:
        context["namespace"] = metric.namespace
    if metric.tentative:
        context["tentative"] = "true"
    value: dict[str, Any] = {}
    if metric.distribution is not None:
        counted = metric.distribution
        mean = counted.sum / counted.count if counted.count else 0
        value["distribution"] = {**counted.model_dump(), "mean": mean}
    else:
        value["scalar"] = metric.scalar
    return api.MetricUpdate(
        name=api.MetricStructuredName(origin=metric.origin, name=metric.name, context=context),
        kind=metric.kind,
        cumulative=True,
        update_time=updated,
        **value,
    )
