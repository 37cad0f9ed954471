"""Takes the workers' log into the job's, and what the user should see into its messages."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from apache_beam.portability.api import beam_fn_api_pb2, beam_fn_api_pb2_grpc

from local_cloud.dataflow.events import Importance

_Severity = beam_fn_api_pb2.LogEntry.Severity
_IMPORTANCE: dict[int, Importance] = {
    _Severity.Enum.WARN: "JOB_MESSAGE_WARNING",
    _Severity.Enum.ERROR: "JOB_MESSAGE_ERROR",
    _Severity.Enum.CRITICAL: "JOB_MESSAGE_ERROR",
}


class WorkerLogs(beam_fn_api_pb2_grpc.BeamFnLoggingServicer):  # type: ignore[misc]
    """The service that workers send their log to.

    Args:
        message: Takes what the user should see.
        base: The folder of packages whose log lines are of no matter to the user: other messages
            say better what goes wrong there.
    """

    def __init__(self, message: Callable[[Importance, str], None], base: Path) -> None:
        self._message = message
        self._base = f"{base}/"

    def Logging(  # noqa: N802  (the name in the protocol)
        self, request_iterator: Iterable[beam_fn_api_pb2.LogEntry.List], context: Any
    ) -> Iterator[beam_fn_api_pb2.LogControl]:
        """Takes one worker's log until it ends."""
        worker = dict(context.invocation_metadata()).get("worker_id", "worker")
        yield beam_fn_api_pb2.LogControl()
        for entries in request_iterator:
            for entry in entries.log_entries:
                self._take(worker, entry)

    def _take(self, worker: str, entry: beam_fn_api_pb2.LogEntry) -> None:
        time = datetime.fromtimestamp(entry.timestamp.seconds + entry.timestamp.nanos / 1e9, UTC)
        severity = _Severity.Enum.Name(entry.severity)
        trace = f"\n{entry.trace}" if entry.trace else ""
        place = entry.log_location.removeprefix(self._base)
        line = f"{time:%Y-%m-%dT%H:%M:%S.%fZ} {severity} {worker} {place}"
        print(f"{line}: {entry.message}{trace}", file=sys.stderr, flush=True)  # noqa: T201
        importance = _IMPORTANCE.get(entry.severity)
        is_of_base = entry.log_location.startswith(self._base)
        if importance and (not is_of_base or entry.severity == _Severity.Enum.CRITICAL):
            self._message(importance, f"{entry.message}{trace}")
