"""The page: jobs, and what there is to see of one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from google.cloud import dataflow_v1beta3 as api
from google.protobuf.json_format import MessageToDict
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from local_cloud.dataflow.events import LOG_FILE, Importance, Metric, Step
from local_cloud.dataflow.lifecycle import METRICS
from local_cloud.dataflow.names import parse_time
from local_cloud.dataflow.service import Dataflow
from local_cloud.dataflow.store import Listing, MessageRange, StoredJob, StoredMessage
from local_cloud.dataflow.views import job_steps, shown
from local_cloud.errors import ServiceError

_SHOWN_JOBS = 200
_SHOWN_MESSAGES = 500
_LOG_TAIL_BYTES = 50_000
# Nothing is loaded but the style sheet, and nothing runs, whatever a job is called.
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_SHOWN_FROM: dict[str, Importance] = {
    "errors": "JOB_MESSAGE_ERROR",
    "warnings": "JOB_MESSAGE_WARNING",
    "basic": "JOB_MESSAGE_BASIC",
    "detailed": "JOB_MESSAGE_DETAILED",
    "debug": "JOB_MESSAGE_DEBUG",
}
_ENVIRONMENT = Environment(
    loader=PackageLoader("local_cloud.dataflow", "pages"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclass(frozen=True)
class JobRow:
    """A job as the page shows it."""

    job: StoredJob
    message: api.Job

    @property
    def state(self) -> str:
        """Its state, for people."""
        return self.job.state.removeprefix("JOB_STATE_").replace("_", " ").capitalize()

    @property
    def created(self) -> str:
        """When it was created."""
        return _clock(self.job.create_time)

    @property
    def ended(self) -> str:
        """When it ended; empty before."""
        return _clock(self.job.state_time) if self.job.is_terminal else ""

    @property
    def duration(self) -> str:
        """For how long it has run, or ran."""
        end = parse_time(self.job.state_time) if self.job.is_terminal else datetime.now(UTC)
        return str(timedelta(seconds=int((end - parse_time(self.job.create_time)).total_seconds())))

    @property
    def kind(self) -> str:
        """Batch or streaming."""
        return str(self.message.type_.name).removeprefix("JOB_TYPE_").capitalize()


def routes(service: Dataflow) -> list[Route]:
    """The routes of the page."""

    async def jobs(_: Request) -> Response:
        return await run_in_threadpool(_jobs_page, service)

    async def job(request: Request) -> Response:
        wanted = request.query_params.get("messages", "basic")
        return await run_in_threadpool(_job_page, service, request.path_params["job_id"], wanted)

    async def log(request: Request) -> Response:
        found = _job(service, request.path_params["job_id"])
        path = service.lifecycle.directory(found.id) / LOG_FILE
        text = path.read_text(errors="replace") if path.exists() else ""
        return PlainTextResponse(text, headers=_HEADERS)

    async def style(_: Request) -> Response:
        content = _ENVIRONMENT.get_template("style.css").render()
        return Response(content, media_type="text/css", headers=_HEADERS)

    return [
        Route("/", jobs),
        Route("/style.css", style),
        Route("/jobs/{job_id}", job),
        Route("/jobs/{job_id}/log", log),
    ]


def _jobs_page(service: Dataflow) -> Response:
    found = [job for job, _ in service.store.list_jobs(Listing(), _SHOWN_JOBS)]
    found.sort(key=lambda job: job.create_time, reverse=True)
    rows = [JobRow(job, shown(job)) for job in found]
    refresh = any(not job.is_terminal for job in found)
    return _render("jobs.html", rows=rows, refresh=refresh, limit=_SHOWN_JOBS)


def _job_page(service: Dataflow, job_id: str, wanted: str) -> Response:
    job = _job(service, job_id)
    importance = _SHOWN_FROM.get(wanted, "JOB_MESSAGE_BASIC")
    row = JobRow(job, shown(job))
    options = MessageToDict(api.Environment.pb(row.message.environment).sdk_pipeline_options)
    _, content = service.store.report(job_id, "metrics") or ("", "[]")
    _, steps = job_steps(service.store, job_id)
    messages = service.store.messages(job_id, MessageRange(importance=importance))
    errors = service.store.messages(job_id, MessageRange(importance="JOB_MESSAGE_ERROR"))
    return _render(
        "job.html",
        row=row,
        refresh=not job.is_terminal,
        error=errors[-1].text if errors and job.state == "JOB_STATE_FAILED" else "",
        steps=steps,
        counters=list(_counters(METRICS.validate_json(content), steps)),
        messages=[_readable(message) for message in messages[-_SHOWN_MESSAGES:]],
        importances=list(_SHOWN_FROM),
        wanted=wanted,
        options=sorted(options.get("options", {}).items()),
        log=_log_tail(service, job_id),
    )


def _job(service: Dataflow, job_id: str) -> StoredJob:
    job = service.store.get(job_id)
    if job is None:
        raise ServiceError(404, f"There is no job {job_id}.")
    return job


def _counters(metrics: list[Metric], steps: list[Step]) -> Iterator[tuple[str, str, str]]:
    """The user's counters, each once: step, name, value."""
    names = {step.name: step.user_name for step in steps}
    rows = {}
    for metric in metrics:
        if metric.origin == "user":
            counted = metric.distribution
            value = f"{metric.scalar:,}" if metric.scalar is not None else ""
            if counted is not None:
                value = (
                    f"{counted.count:,} values from {counted.min:,} to {counted.max:,}, "
                    f"{counted.sum:,} in all"
                )
            rows[names.get(metric.step, metric.step), metric.name] = value
    for (step, name), value in sorted(rows.items()):
        yield step, name, value


def _readable(message: StoredMessage) -> tuple[str, str, str]:
    word = message.importance.removeprefix("JOB_MESSAGE_").lower()
    return _clock(message.time), word, message.text


def _clock(time: str) -> str:
    return f"{parse_time(time):%Y-%m-%d %H:%M:%S}"


def _log_tail(service: Dataflow, job_id: str) -> str:
    path = service.lifecycle.directory(job_id) / LOG_FILE
    if not path.exists():
        return ""
    with path.open("rb") as log:
        log.seek(max(0, path.stat().st_size - _LOG_TAIL_BYTES))
        return log.read().decode(errors="replace")


def _render(name: str, **values: object) -> Response:
    return HTMLResponse(_ENVIRONMENT.get_template(name).render(values), headers=_HEADERS)
