"""The process of one job: started, told what to do, listened to, and ended with all it started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from pydantic import ValidationError

from local_cloud.dataflow.events import EVENT, LIKE, LOG_FILE, Command, Event, Run

_LAST_OUTPUT_SECONDS = 5


class JobProcess:
    """A process that speaks `events`, the leader of a session of its own.

    Args:
        argv: The command.
        log: Where its stderr goes; None for nowhere.
    """

    def __init__(self, argv: Sequence[str], log: Path | None) -> None:
        with contextlib.ExitStack() as stack:
            stderr: IO[bytes] | int = subprocess.DEVNULL
            if log is not None:
                stderr = stack.enter_context(log.open("ab"))
            self._process = subprocess.Popen(
                list(argv),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                start_new_session=True,
                text=True,
                encoding="utf-8",
                errors="replace",
            )

    @property
    def is_running(self) -> bool:
        """Whether the process is there."""
        return self._process.poll() is None

    def send(self, command: Command) -> bool:
        """Gives the process a command; says whether it could still be given one."""
        assert self._process.stdin is not None  # noqa: S101 - it was asked for
        try:
            self._process.stdin.write(command.model_dump_json() + "\n")
            self._process.stdin.flush()
        except (OSError, ValueError):
            return False
        return True

    def listen(self, receive: Callable[[Event], None]) -> int:
        """Waits for the end of the process, and ends what is left of its session.

        Args:
            receive: Is given each event, in a thread of its own.

        Returns:
            The exit status; negative for a signal.
        """
        reader = threading.Thread(target=self._read, args=(receive,), daemon=True)
        reader.start()
        status = self._process.wait()
        self.kill()
        # What left the session may still hold the pipe: its output is not waited for.
        reader.join(_LAST_OUTPUT_SECONDS)
        return status

    def kill(self) -> None:
        """Kills the process and all of its session."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def discard(self) -> None:
        """Ends a process that was given no job."""
        self.kill()
        self._process.wait()

    def _read(self, receive: Callable[[Event], None]) -> None:
        assert self._process.stdout is not None  # noqa: S101 - it was asked for
        for line in self._process.stdout:
            # A library's print is no event; the process itself is to send such to its log.
            with contextlib.suppress(ValidationError):
                receive(EVENT.validate_json(line))


class Workshop:
    """Starts the processes of jobs, and keeps one more ready once the first job has run.

    That one has Beam imported, twice: it saves the next job some seconds, and takes memory. So a
    service that has no jobs, or none yet, is without it.

    Args:
        argv: The command of a job's process, without the job's directory.
    """

    def __init__(self, argv: Sequence[str]) -> None:
        self._argv = list(argv)
        self._spare: JobProcess | None = None
        self._lock = threading.Lock()

    def start(self, directory: Path) -> JobProcess:
        """Starts a job.

        Args:
            directory: The job's directory.

        Raises:
            OSError: No process can be started.
        """
        with self._lock:
            spare, self._spare = self._spare, None
        if spare is not None and spare.is_running and spare.send(Run(directory=str(directory))):
            return spare
        return JobProcess([*self._argv, str(directory)], directory / LOG_FILE)

    def prepare(self, earlier: Path) -> None:
        """Makes ready for the next job.

        Args:
            earlier: The directory of the last one; the next one is likely to be of its kind.
        """
        with self._lock, contextlib.suppress(OSError):
            if self._spare is None:
                self._spare = JobProcess([*self._argv, LIKE, str(earlier)], None)

    def close(self) -> None:
        """Ends what was made ready."""
        with self._lock:
            if self._spare is not None:
                self._spare.discard()
                self._spare = None
