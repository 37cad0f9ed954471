"""Jobs: started in the background, remembered for ever, finished in one transaction."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

from local_cloud.bigquery import load, query_jobs
from local_cloud.bigquery.naming import already_exists, not_found
from local_cloud.bigquery.store import Json, Store, now_ms
from local_cloud.errors import ServiceError, internal_error

_JOB_ID = re.compile(r"[A-Za-z0-9_\-]{1,1024}")
_CANCELLED = "Job execution was cancelled: User requested cancellation"
_THREADS = 4
_USER = "local@local-cloud.invalid"


class Jobs:
    """The jobs of a store; those that a stop interrupted are run again at the next start."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="job")
        self._changed = threading.Condition()
        self._cancelled: set[tuple[str, str]] = set()
        for job in store.unfinished_jobs():
            # Nothing of it is visible: a job's rows and its end are one transaction.
            self._pool.submit(self._run, job)

    def insert(self, project: str, body: Mapping[str, Any]) -> Json:
        """Starts a job.

        Args:
            project: Where it runs and is billed.
            body: The job's resource, as the client has it.

        Raises:
            ServiceError: The job's id is taken, or its settings are refused.
        """
        configuration = dict(body.get("configuration") or {})
        kind = next(
            (one for one in ("load", "query", "copy", "extract") if one in configuration), ""
        )
        if kind not in ("load", "query"):
            raise ServiceError(
                501 if kind else 400,
                f"The local BigQuery has no {kind} jobs." if kind else "Job has no configuration.",
            )
        reference = body.get("jobReference") or {}
        job_id = reference.get("jobId") or f"job_{uuid4().hex}"
        if not _JOB_ID.fullmatch(job_id):
            raise ServiceError(
                400,
                f'Invalid job ID "{job_id}". Job IDs must be alphanumeric (plus underscores and '
                "dashes) and must be at most 1024 characters long.",
            )
        location = reference.get("location") or "US"
        configuration["jobType"] = kind.upper()
        if configuration.get("dryRun"):
            return self._dry_run(project, kind, configuration, location)
        {"load": load.check, "query": query_jobs.check}[kind](configuration[kind])
        if kind == "query":
            configuration["query"] = self._with_destination(project, job_id, configuration["query"])
        job = _resource(project, job_id, location, configuration)
        if not self._store.insert_job(project, job_id, job):
            raise already_exists("Job", f"{project}:{location}.{job_id}")
        self._pool.submit(self._run, job)
        return job

    def _dry_run(self, project: str, kind: str, configuration: Json, location: str) -> Json:
        if kind != "query":
            raise ServiceError(400, "Only query jobs can be run dry (dryRun).")
        statistics = query_jobs.dry_run(self._store, configuration["query"], project)
        job = _resource(project, "", location, configuration)
        del job["id"], job["selfLink"], job["jobReference"]["jobId"]
        job["status"] = {"state": "DONE"}
        job["statistics"] |= statistics
        return job

    def _with_destination(self, project: str, job_id: str, config: Mapping[str, Any]) -> Json:
        if config.get("destinationTable"):
            return dict(config) | {
                "writeDisposition": config.get("writeDisposition") or "WRITE_EMPTY"
            }
        if self._store.dataset(project, query_jobs.RESULTS) is None:
            reference = {"projectId": project, "datasetId": query_jobs.RESULTS}
            self._store.put_dataset({"datasetReference": reference, "location": "US"})
        table = query_jobs.anonymous_table(project, job_id)
        return dict(config) | {
            "destinationTable": table.to_json(),
            "writeDisposition": "WRITE_TRUNCATE",
            "createDisposition": "CREATE_IF_NEEDED",
        }

    def get(self, project: str, job_id: str, location: str | None) -> Json:
        """A job's resource.

        Raises:
            ServiceError: There is none of this id, or not in this location.
        """
        job = self._store.job(project, job_id)
        if job is None or location not in (None, "", job["jobReference"]["location"]):
            raise not_found("Job", f"{project}:{location or 'US'}.{job_id}")
        return job

    def cancel(self, project: str, job_id: str, location: str | None) -> Json:
        """Asks a job to end; one that is done stays as it is."""
        job = self.get(project, job_id, location)
        if job["status"]["state"] != "DONE":
            self._cancelled.add((project, job_id))
            with self._store.transaction():
                job = self.get(project, job_id, location)
                if job["status"]["state"] == "PENDING":
                    self._finish(job, _failed("stopped", _CANCELLED))
        return self.get(project, job_id, location)

    def wait(self, project: str, job_id: str, location: str | None, seconds: float) -> Json:
        """A job's resource, once it is done or this time is over."""

        def done() -> bool:
            return bool(self.get(project, job_id, location)["status"]["state"] == "DONE")

        with self._changed:
            self._changed.wait_for(done, seconds)
        return self.get(project, job_id, location)

    def _run(self, job: Json) -> None:
        reference = job["jobReference"]
        key = (reference["projectId"], reference["jobId"])
        with self._store.transaction():
            if key in self._cancelled:
                return
            job["status"] = {"state": "RUNNING"}
            job["statistics"]["startTime"] = str(now_ms())
            self._store.put_job(job)

        def finish(statistics: Json) -> None:
            if key in self._cancelled:
                raise ServiceError(499, _CANCELLED, reason="stopped")
            job["statistics"] |= statistics
            self._finish(job, {"state": "DONE"})

        run = load.run if "load" in job["configuration"] else query_jobs.run
        try:
            run(self._store, job, finish)
        except ServiceError as error:
            details = getattr(error, "details", ())
            self._finish(job, _failed(error.reason, error.message, details, error.location))
        except Exception as error:
            logging.exception("job %s failed", key)
            self._finish(job, _failed("internalError", internal_error(error).message))
        self._cancelled.discard(key)
        with self._changed:
            self._changed.notify_all()

    def _finish(self, job: Json, status: Json) -> None:
        job["status"] = status
        job["statistics"]["endTime"] = str(now_ms())
        job["statistics"].setdefault("startTime", job["statistics"]["endTime"])
        self._store.put_job(job)


def _failed(
    reason: str, message: str, details: tuple[str, ...] = (), location: str | None = None
) -> Json:
    result = {"reason": reason, "message": message} | ({"location": location} if location else {})
    errors = [result, *({"reason": reason, "message": one} for one in details)]
    return {"state": "DONE", "errorResult": result, "errors": errors}


def _resource(project: str, job_id: str, location: str, configuration: Json) -> Json:
    return {
        "kind": "bigquery#job",
        "etag": f'"{uuid4().hex[:22]}"',
        "id": f"{project}:{location}.{job_id}",
        "selfLink": f"/bigquery/v2/projects/{project}/jobs/{job_id}?location={location}",
        "jobReference": {"projectId": project, "jobId": job_id, "location": location},
        "configuration": configuration,
        "status": {"state": "PENDING"},
        "statistics": {"creationTime": str(now_ms())},
        "user_email": _USER,
    }


def listed(job: Json) -> Json:
    """A job as a list of jobs shows it."""
    found = {key: job[key] for key in ("kind", "id", "jobReference", "statistics", "status")}
    found |= {"state": job["status"]["state"], "user_email": job["user_email"]}
    found["configuration"] = job["configuration"]
    if "errorResult" in job["status"]:
        found["errorResult"] = job["status"]["errorResult"]
    return found
