"""The methods of jobs and queries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.routing import Route

from local_cloud.bigquery.api_tables import TablesApi
from local_cloud.bigquery.calls import Call, page, route
from local_cloud.bigquery.jobs import Jobs, listed
from local_cloud.bigquery.store import Json, Store
from local_cloud.errors import ServiceError

# How long a call waits for a job if it does not say: as the real service does.
_WAIT_MS = 10_000
_LONGEST_WAIT_MS = 200_000


class JobsApi:
    """Answers the calls about jobs and the results of queries."""

    def __init__(self, store: Store, projects: Sequence[str], tables: TablesApi) -> None:
        self._store = store
        self._jobs = Jobs(store)
        self._projects = projects
        self._tables = tables

    def routes(self) -> list[Route]:
        """The routes of all methods."""
        jobs, queries = "/projects/{project}/jobs", "/projects/{project}/queries"
        methods = [
            ("GET", jobs, "jobs.list", self.list_jobs),
            ("POST", jobs, "jobs.insert", self.insert),
            ("GET", jobs + "/{job}", "jobs.get", self.get),
            ("POST", jobs + "/{job}/cancel", "jobs.cancel", self.cancel),
            ("POST", queries, "jobs.query", self.query),
            ("GET", queries + "/{job}", "jobs.getQueryResults", self.get_query_results),
        ]
        return [route(verb, path, name, call, self._projects) for verb, path, name, call in methods]

    def list_jobs(self, call: Call) -> Json:
        """Lists jobs, the newest first."""
        state = call.query.get("stateFilter", "").upper()
        found = [
            listed(job)
            for job in self._store.jobs(call.project)
            if not state or job["status"]["state"] == state
        ]
        return page(call, "bigquery#jobList", "jobs", found, 50)

    def insert(self, call: Call) -> Json:
        """Starts a job."""
        return self._jobs.insert(call.project, call.body)

    def get(self, call: Call) -> Json:
        """Returns a job."""
        return self._jobs.get(call.project, call.path["job"], call.query.get("location"))

    def cancel(self, call: Call) -> Json:
        """Asks a job to end."""
        job = self._jobs.cancel(call.project, call.path["job"], call.query.get("location"))
        return {"kind": "bigquery#jobCancelResponse", "job": job}

    def query(self, call: Call) -> Json:
        """Runs a query, and answers with its first rows if it is done soon."""
        body = dict(call.body)
        settings = "query useLegacySql defaultDataset queryParameters parameterMode".split()
        configuration: dict[str, Any] = {
            "query": {"useLegacySql": True} | {key: body[key] for key in settings if key in body},
            "dryRun": body.get("dryRun", False),
        }
        reference = {"location": body.get("location")}
        job = self._jobs.insert(
            call.project, {"configuration": configuration, "jobReference": reference}
        )
        if body.get("dryRun"):
            statistics = job["statistics"]
            return {
                "kind": "bigquery#queryResponse",
                "jobReference": job["jobReference"],
                "jobComplete": True,
                "schema": statistics["query"]["schema"],
                "totalRows": "0",
                "totalBytesProcessed": statistics["totalBytesProcessed"],
            }
        options = body.get("formatOptions") or {}
        parameters = {
            "timeoutMs": str(body.get("timeoutMs", _WAIT_MS)),
            "formatOptions.useInt64Timestamp": str(options.get("useInt64Timestamp", False)),
        } | ({"maxResults": str(body["maxResults"])} if "maxResults" in body else {})
        path = {"project": call.project, "job": job["jobReference"]["jobId"]}
        return self.get_query_results(Call(path, parameters, {})) | {
            "kind": "bigquery#queryResponse"
        }

    def get_query_results(self, call: Call) -> Json:
        """Returns a page of a query's result, or that it is not there yet."""
        wait = min(call.number("timeoutMs", _WAIT_MS), _LONGEST_WAIT_MS) / 1000
        location = call.query.get("location")
        job = self._jobs.wait(call.project, call.path["job"], location, wait)
        answer: Json = {
            "kind": "bigquery#getQueryResultsResponse",
            "jobReference": job["jobReference"],
            "jobComplete": job["status"]["state"] == "DONE",
        }
        if "query" not in job["configuration"]:
            raise ServiceError(400, f"Job {job['id']} is not a query job")
        if not answer["jobComplete"]:
            return answer
        if failure := job["status"].get("errorResult"):
            status = {"notFound": 404, "duplicate": 409, "internalError": 500}
            raise ServiceError(
                status.get(failure["reason"], 400), failure["message"], reason=failure["reason"]
            )
        to = job["configuration"]["query"]["destinationTable"]
        path = {
            "project": to.get("projectId") or call.project,
            "dataset": to["datasetId"],
            "table": to["tableId"],
        }
        rows = self._tables.list_rows(Call(path, call.query, {}))
        del rows["kind"]
        statistics = job["statistics"]["query"]
        return (
            answer
            | rows
            | {
                "schema": statistics["schema"],
                "totalBytesProcessed": statistics["totalBytesProcessed"],
                "cacheHit": False,
            }
        )
