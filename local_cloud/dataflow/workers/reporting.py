"""Says on the protected standard output what the service is to know."""

from __future__ import annotations

import threading
from typing import IO

from local_cloud.dataflow.events import (
    Event,
    Importance,
    JobState,
    MessageLogged,
    StateChanged,
    WorkersChanged,
)


class Reporter:
    """Writes events, from any thread, until one of them ends the job.

    Args:
        stream: Where to.
    """

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._is_ending = False

    def send(self, event: Event) -> None:
        """Writes one event."""
        with self._lock:
            if not self._is_ending:
                self._write(event)

    def message(self, importance: Importance, text: str) -> None:
        """Writes something that the job's user is to read."""
        self.send(MessageLogged(importance=importance, text=text))

    def workers(self, pids: list[int]) -> None:
        """Writes which worker processes run."""
        self.send(WorkersChanged(pids=sorted(pids)))

    def is_first_to_end(self) -> bool:
        """Whether the caller is the one who ends the job; from now on, nobody else is heard."""
        with self._lock:
            is_first, self._is_ending = not self._is_ending, True
            return is_first

    def end(self, state: JobState) -> None:
        """Writes that there are no workers any more, and the final state."""
        with self._lock:
            self._write(WorkersChanged(pids=[]))
            self._write(StateChanged(state=state))

    def _write(self, event: Event) -> None:
        self._stream.write(event.model_dump_json() + "\n")
        self._stream.flush()
