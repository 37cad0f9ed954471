"""Why a job failed, in as many words as help; and what of that another try would not change."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from airflow.sdk import RetryPolicy
from airflow.sdk.definitions.retry_policy import RetryDecision
from airflow.sdk.exceptions import AirflowException
from googleapiclient.errors import HttpError

from tallyflow.dataflow_jobs import JobGoneError

if TYPE_CHECKING:
    from airflow.sdk import Context

    from tallyflow.dataflow_jobs import Message

_TRACEBACK = "Traceback (most recent call last):"
_NEXT_TRACEBACK = re.compile(
    r"^(During handling of the above exception|The above exception was the direct cause)", re.M
)
_FRAME = re.compile(r'^\s*File "(?P<path>[^"]+)", line \d+')
# Frames of Beam's own, compiled ones among them, and of the threads that run it.
_NOISE = re.compile(r"(^|/)apache_beam/|/concurrent/futures/|/threading\.py$|/runpy\.py$|<frozen ")
_STEP = re.compile(r"\[while running '(?P<step>[^']+)'\]")
_MOST_MESSAGES = 5
_MOST_CHARS = 4000
# In this order, and before a pipeline's others.
MAIN_COUNTERS = ("files", "bytes", "rows", "rejects")
_MOST_COUNTERS = 12

_PERMANENT = {
    "a wrong option, query or file name": re.compile(
        r"\b(Usage|Query|Settings)Error\b|unrecognized arguments|: error: argument "
        r"|error: the following arguments are required|PipelineOptionsValidator|Invalid GCS path"
    ),
    "a missing permission": re.compile(
        r"HttpError 403|\b403 (Forbidden|POST|GET|PUT|DELETE)|PERMISSION_DENIED|PermissionDenied"
        r"|exceptions\.Forbidden|(does not|doesn't) have [\w.]+ access|lacks? permission"
        r"|[Cc]urrent user cannot act as service account|Permission '[\w.]+' denied"
    ),
    "a missing bucket or file": re.compile(
        r"bucket does not exist|[Bb]ucket \S+ (was )?(not found|does not exist)"
        r"|HttpError 404|exceptions\.NotFound|\b404 (GET|POST|PUT) "
    ),
}
_PERMANENT_STATUS = {400: "a wrong option", 403: "a missing permission", 404: "a missing object"}


class JobFailedError(AirflowException):
    """The pipeline's job failed; the message has what is known of it."""


class LauncherError(AirflowException):
    """The process that submits or runs the pipeline failed; the message ends with its own."""


class PermanentFailurePolicy(RetryPolicy):
    """Tries again what may succeed: not a wrong option, a missing permission or bucket."""

    def evaluate(
        self,
        exception: BaseException,
        try_number: int,  # noqa: ARG002
        max_tries: int,  # noqa: ARG002
        context: Context | None = None,  # noqa: ARG002
    ) -> RetryDecision:
        """No retry where it would fail in the same way; else what the task says."""
        if reason := permanent_reason(exception):
            return RetryDecision.fail(f"Not tried again: {reason}")
        return RetryDecision.default()


def permanent_reason(exception: BaseException) -> str | None:
    """Why another try would fail in the same way; None where it need not."""
    error: BaseException | None = exception
    while error is not None:
        if isinstance(error, JobGoneError):
            # Dataflow answers 404, but another job may well be launched.
            return None
        if isinstance(error, HttpError) and int(error.resp.status) in _PERMANENT_STATUS:
            return _PERMANENT_STATUS[int(error.resp.status)]
        if isinstance(error, JobFailedError | LauncherError):
            return permanent_text(str(error))
        error = error.__cause__
    return None


def permanent_text(text: str) -> str | None:
    """What the text of an error says that another try would not change; None if nothing."""
    return next((reason for reason, sign in _PERMANENT.items() if sign.search(text)), None)


def explain(messages: Sequence[Message], counters: Mapping[str, int], url: str) -> str:
    """What a failed job has to say: the first traceback of a worker, or else its messages.

    Args:
        messages: Those of errors, oldest first.
        counters: As they were at the end.
        url: The job's page.
    """
    told = [message.text for message in messages]
    lines = [_worker_error(text) for text in told if _TRACEBACK in text][:1]
    # What Dataflow says after that only repeats it.
    lines += _without_repetition(text for text in told if _TRACEBACK not in text)
    if not lines:
        lines = ["It has left no error message."]
    if counters:
        lines.append(f"Counters: {format_counters(counters)}")
    return "\n".join([*lines, f"Job: {url}"])


def _worker_error(text: str) -> str:
    """The first traceback of a worker's message, without the frames that are not the user's."""
    step = _STEP.search(text)
    traceback = _NEXT_TRACEBACK.split(text[text.index(_TRACEBACK) :])[0].rstrip()
    where = f"Error in step {step['step']!r}:" if step else "Error of a worker:"
    return f"{where}\n{_shortened(strip_frames(traceback))}"


def strip_frames(traceback: str) -> str:
    """A traceback without the frames of Beam and of Python's own thread pools."""
    kept: list[str] = []
    is_noise = False
    for line in traceback.splitlines():
        if frame := _FRAME.match(line):
            is_noise = _NOISE.search(frame["path"]) is not None
        elif not line.startswith(" "):
            is_noise = False
        if not is_noise:
            kept.append(line)
    return "\n".join(kept)


def _without_repetition(texts: Iterator[str]) -> list[str]:
    found = list(dict.fromkeys(text.strip() for text in texts if text.strip()))
    rest = len(found) - _MOST_MESSAGES
    more = [f"... and {rest} more messages"] if rest > 0 else []
    return [_shortened(text) for text in found[:_MOST_MESSAGES]] + more


def _shortened(text: str) -> str:
    """A text whose middle is left out where it is too long: the end says what is wrong."""
    if len(text) <= _MOST_CHARS:
        return text
    half = _MOST_CHARS // 2
    return f"{text[:half]}\n    ...\n{text[-half:]}"


def format_counters(counters: Mapping[str, int]) -> str:
    """Counters in one line, those that every job of ours has first."""
    names = [name for name in MAIN_COUNTERS if name in counters]
    names += sorted(name for name in counters if name not in MAIN_COUNTERS)
    return ", ".join(f"{name} {counters[name]:,}" for name in names[:_MOST_COUNTERS])
