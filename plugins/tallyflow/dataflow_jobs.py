"""Jobs of Dataflow as a client sees them: found by name, looked at, cancelled, and explained.

Calls fail as Google's client fails; `is_transient` tells what may be tried again, and `Patience`
for how long.
"""

from __future__ import annotations

import http.client
import random
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar

import httplib2  # type: ignore[import-untyped]
from airflow.sdk.exceptions import AirflowException
from google.auth.exceptions import GoogleAuthError
from googleapiclient.errors import HttpError

if TYPE_CHECKING:
    from airflow.providers.google.cloud.hooks.dataflow import DataflowHook

_T = TypeVar("_T")

# The states that a job does not leave any more: https://cloud.google.com/dataflow/docs/reference/
# rest/v1b3/projects.jobs#jobstate
_OVER = frozenset(f"JOB_STATE_{name}" for name in ("DONE FAILED CANCELLED UPDATED DRAINED".split()))
_GOOD = frozenset(f"JOB_STATE_{name}" for name in "DONE UPDATED DRAINED".split())
_ENDING = frozenset({"JOB_STATE_CANCELLING", "JOB_STATE_DRAINING"})
_CONSOLE = "https://console.cloud.google.com/dataflow/jobs"

# What a call can fail with: no answer, a half one, none that is good, or no token to ask with.
CALL_ERRORS = (
    HttpError,
    httplib2.HttpLib2Error,
    http.client.HTTPException,
    GoogleAuthError,
    OSError,
)
# 401: a token that was refused; the next one may be good.
_TRANSIENT = frozenset({401, 408, 429})
_LONGEST_PAUSE = 60.0
LOOK_SECONDS = 120.0


class NoAnswerError(AirflowException):
    """Dataflow could not be asked for longer than there was patience; its job may well run on."""


class JobGoneError(AirflowException):
    """Dataflow knows no such job."""


def is_transient(error: BaseException) -> bool:
    """Whether a call that failed in this way may succeed when it is made again."""
    if isinstance(error, HttpError):
        status = int(error.resp.status)
        return status in _TRANSIENT or status >= HTTPStatus.INTERNAL_SERVER_ERROR
    is_of_setup = isinstance(error, ssl.SSLCertVerificationError)
    return isinstance(error, CALL_ERRORS) and not is_of_setup


@dataclass
class Patience:
    """How long calls may fail one after the other, and the pauses between them.

    Attributes:
        seconds: From the first failure on; a call that succeeds ends the count.
        clock: The time in seconds.
    """

    seconds: float
    clock: Callable[[], float] = time.monotonic
    _since: float | None = field(default=None, init=False)
    _failures: int = field(default=0, init=False)

    def succeeded(self) -> None:
        """Takes notice of an answer."""
        self._since, self._failures = None, 0

    def pause(self, error: Exception) -> float:
        """How long to wait before the next call, after one has failed.

        Raises:
            Exception: The error itself, if another call would fail in the same way.
            NoAnswerError: The patience is at its end.
        """
        if not is_transient(error):
            raise error
        now = self.clock()
        self._since = now if self._since is None else self._since
        if now - self._since >= self.seconds:
            raise NoAnswerError(
                f"Dataflow has not answered for {now - self._since:.0f} s; the last error: {error}"
            ) from error
        self._failures += 1
        longest: float = min(
            _LONGEST_PAUSE, 0.5 * 2.0**self._failures, self._since + self.seconds - now
        )
        return max(0.1, longest * random.uniform(0.5, 1))  # noqa: S311 - spreads calls

    def keep_trying(self, call: Callable[[], _T]) -> _T:
        """Makes a call until it succeeds; raises as `pause` does."""
        while True:
            try:
                found = call()
            except CALL_ERRORS as error:
                time.sleep(self.pause(error))
            else:
                self.succeeded()
                return found


@dataclass(frozen=True)
class Job:
    """A job, as it was when it was looked at.

    Attributes:
        id: Its id.
        name: Its name.
        state: Such as ``JOB_STATE_RUNNING``.
        created: When, as the API writes it; such texts sort like the times.
        labels: Its labels.
        is_streaming: Whether it has no end of its own.
    """

    id: str
    name: str
    state: str
    created: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    is_streaming: bool = False

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Job:
        """The job of an answer of Dataflow's."""
        return cls(
            id=answer["id"],
            name=answer.get("name", ""),
            state=answer.get("currentState", "JOB_STATE_UNKNOWN"),
            created=answer.get("createTime", ""),
            labels=answer.get("labels", {}),
            is_streaming=answer.get("type") == "JOB_TYPE_STREAMING",
        )

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.state in _OVER

    @property
    def is_good(self) -> bool:
        """Whether it has ended, and well."""
        return self.state in _GOOD

    @property
    def is_ending(self) -> bool:
        """Whether someone has told it to end."""
        return self.state in _ENDING


@dataclass(frozen=True)
class Message:
    """What Dataflow says of a job to its user."""

    time: str
    text: str


@dataclass
class DataflowJobs:
    """The jobs of one project in one region.

    Attributes:
        hook: With the credentials.
        project: The project.
        location: The region.
    """

    hook: DataflowHook
    project: str
    location: str
    _service: Any = field(default=None, init=False, repr=False)

    def other(self) -> DataflowJobs:
        """The same with connections of its own, for a call in the middle of another."""
        return DataflowJobs(self.hook, self.project, self.location)

    def url(self, job_id: str) -> str:
        """The job's page in Google's console."""
        return f"{_CONSOLE}/{self.location}/{job_id}?project={self.project}"

    def get(self, job_id: str) -> Job:
        """How a job is now.

        Raises:
            JobGoneError: There is none.
        """
        try:
            # The view that has the labels, and not the steps.
            answer = self._call("get", jobId=job_id, view="JOB_VIEW_DESCRIPTION")
        except HttpError as error:
            if error.resp.status == HTTPStatus.NOT_FOUND:
                raise JobGoneError(f"Dataflow has no job {job_id}: {error.reason}") from error
            raise
        return Job.of(answer)

    def named(self, name: str) -> list[Job]:
        """All jobs of a name, the newest first; one of them at most has not ended."""
        found = [
            Job.of(answer)
            for answer in self._pages("list", "jobs", name=name, filter="ALL")
            if answer.get("name") == name
        ]
        # Lists are not promised to have labels.
        described = [job if job.labels else self.get(job.id) for job in found]
        return sorted(described, key=lambda job: job.created, reverse=True)

    def cancel(self, job_id: str, *, drain: bool = False) -> None:
        """Asks for the end of a job; it is not over yet when this returns."""
        body = {"requestedState": "JOB_STATE_DRAINED" if drain else "JOB_STATE_CANCELLED"}
        try:
            self._call("update", jobId=job_id, body=body)
        except HttpError:
            # Refused where it has just ended by itself.
            if not self.get(job_id).is_over:
                raise

    def errors(self, job_id: str) -> list[Message]:
        """What went wrong with a job, in the order in which it did."""
        found = self._pages(
            *("list", "jobMessages"),
            of="messages",
            jobId=job_id,
            minimumImportance="JOB_MESSAGE_ERROR",
        )
        messages = [Message(one.get("time", ""), one.get("messageText", "")) for one in found]
        return sorted(messages, key=lambda message: message.time)

    def counters(self, job_id: str) -> dict[str, int]:
        """The pipeline's own counters, each summed over the steps that it is counted in."""
        return user_counters(self.metrics(job_id))

    def metrics(self, job_id: str) -> list[dict[str, Any]]:
        """The metrics of a job, the pipeline's own and the service's, as the API has them."""
        found: list[dict[str, Any]] = self._call("getMetrics", jobId=job_id).get("metrics", [])
        return found

    def _pages(
        self, method: str, key: str, of: str | None = None, **arguments: str
    ) -> Iterator[Any]:
        token: str | None = None
        while True:
            more = {} if token is None else {"pageToken": token}
            answer = self._call(method, of=of, **arguments, **more)
            yield from answer.get(key, [])
            token = answer.get("nextPageToken")
            if not token:
                return

    def _call(self, method: str, *, of: str | None = None, **arguments: Any) -> dict[str, Any]:
        try:
            if self._service is None:
                self._service = self.hook.get_conn()
            resource = self._service.projects().locations().jobs()
            if of is not None:
                resource = getattr(resource, of)()
            place = {"projectId": self.project, "location": self.location}
            answer: dict[str, Any] = getattr(resource, method)(**place, **arguments).execute()
        except BaseException:
            # A connection that failed, or was left in the middle of an answer, is not used again.
            self._service = None
            raise
        return answer


def user_counters(metrics: list[dict[str, Any]]) -> dict[str, int]:
    """The pipeline's own counters in an answer of Dataflow's.

    It has each twice: of the work that is done, and, marked ``tentative``, of all work, some of
    which may be done again. The former count where they are there.
    """
    done: dict[str, int] = {}
    tentative: dict[str, int] = {}
    for metric in metrics:
        name, value = metric.get("name", {}), metric.get("scalar")
        if name.get("origin") != "user" or not isinstance(value, int | float):
            continue
        counts = tentative if "tentative" in name.get("context", {}) else done
        counts[name["name"]] = counts.get(name["name"], 0) + int(value)
    return {**tentative, **done}
