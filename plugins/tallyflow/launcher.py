"""A process that runs a pipeline, or submits it: what it says is heard while it says it."""

from __future__ import annotations

import collections
import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

_LEASH = Path(__file__).with_name("leash.py")
# A line that is longer comes in pieces.
_LONGEST_LINE = 64 * 1024
_KEPT_LINES = 40
# Lines that wait to be taken; then the process waits, and nothing is lost.
_WAITING_LINES = 1000
# Airflow kills a task 5 seconds after it told it to end.
_GRACE_SECONDS = 3.0
# What is left in the pipes when the process has ended; its own children may hold them open.
_REST_SECONDS = 2.0


class Launcher:
    """A command in a process group of its own, which ends with this process.

    All methods are for one thread; `kill` alone may interrupt the others, as a signal handler does.

    Args:
        command: What to run.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._lines: queue.Queue[str | None] = queue.Queue(_WAITING_LINES)
        self._last: collections.deque[str] = collections.deque(maxlen=_KEPT_LINES)
        self._process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-I", "-S", str(_LEASH), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._process.stdout is not None  # noqa: S101 - both are pipes
        assert self._process.stderr is not None  # noqa: S101
        self._open = 2
        for stream in (self._process.stdout, self._process.stderr):
            is_error = stream is self._process.stderr
            threading.Thread(target=self._read, args=(stream, is_error), daemon=True).start()

    def _read(self, stream: IO[bytes], is_error: bool) -> None:
        with stream:
            for raw in iter(lambda: stream.readline(_LONGEST_LINE), b""):
                line = raw.decode(errors="replace").rstrip()
                if is_error:
                    self._last.append(line)
                self._lines.put(line)
        self._lines.put(None)

    @property
    def status(self) -> int | None:
        """The exit status, as a shell would say it; None while it runs."""
        return self._process.poll()

    @property
    def said_last(self) -> str:
        """The last lines of its standard error."""
        return "\n".join(self._last)

    def lines(self, seconds: float | None = None) -> Iterator[str]:
        """Yields what it says, until it has ended or the time is up.

        Args:
            seconds: How long; None for as long as it runs.
        """
        until = None if seconds is None else time.monotonic() + seconds
        while self._open:
            if until is None and self.status is not None:
                until = time.monotonic() + _REST_SECONDS
            left = 0.5 if until is None else min(0.5, until - time.monotonic())
            try:
                line = self._lines.get(timeout=left) if left > 0 else self._lines.get_nowait()
            except queue.Empty:
                if left <= 0:
                    return
                continue
            if line is None:
                self._open -= 1
                continue
            yield line
            if until is not None and time.monotonic() > until and self.status is None:
                return

    def wait(self) -> int:
        """Waits for the end, and returns the exit status; what it says has to be taken before."""
        return self._process.wait()

    def kill(self) -> None:
        """Ends it and all that it started: in order if it can, within seconds."""
        if self.status is None and self._signal(signal.SIGTERM):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_GRACE_SECONDS)
        # Once it has been waited for, its number may be another's.
        if self.status is None and self._signal(signal.SIGKILL):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_GRACE_SECONDS)
        assert self._process.stdin is not None  # noqa: S101 - a pipe
        self._process.stdin.close()

    def _signal(self, number: int) -> bool:
        """Sends a signal to the group; returns whether there is one."""
        try:
            os.killpg(self._process.pid, number)
        except (ProcessLookupError, PermissionError):
            return False
        return True
