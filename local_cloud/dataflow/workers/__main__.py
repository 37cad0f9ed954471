"""Runs one job: ``python -m local_cloud.dataflow.workers [--like] JOB_DIRECTORY``.

What it is told and what it tells is in `local_cloud.dataflow.events`. With ``--like`` it makes
ready for a job that it is given later, and that is likely to run in the same image as this one.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from pydantic import ValidationError

from local_cloud.dataflow.events import COMMAND, LIKE, LOG_FILE, Cancel, Command, KillWorker, Run
from local_cloud.dataflow.workers.ending import end_processes
from local_cloud.dataflow.workers.environment import base_environment, image_environment
from local_cloud.dataflow.workers.errors import JobError
from local_cloud.dataflow.workers.images import likely_image
from local_cloud.dataflow.workers.launching import Launcher
from local_cloud.dataflow.workers.reporting import Reporter
from local_cloud.dataflow.workers.run import Job
from local_cloud.dataflow.workers.submission import read_submission


def main() -> None:
    """Runs the job of the command line, or of the first command."""
    reporter = Reporter(_protected_output())
    commands = _commands(sys.stdin)
    launcher = None
    directory = Path(sys.argv[-1])
    if sys.argv[1] == LIKE:
        launcher = _launcher_for(directory)
        command = next((one for one in commands if isinstance(one, Run)), None)
        if command is None:
            end_processes()
            os._exit(0)
        directory = Path(command.directory)
        _redirect_output(directory / LOG_FILE)
    _set_up_log()
    job = Job(directory.absolute(), reporter, launcher)
    threading.Thread(target=_obey, args=(commands, job, reporter), daemon=True).start()
    if not job.run():
        threading.Event().wait()  # The thread that has cancelled it ends the process.
    # Threads that wait for a dead worker for ever do not matter any more.
    os._exit(0)


def _launcher_for(earlier: Path) -> Launcher | None:
    """What starts the workers of jobs like an earlier one; None if there is no telling."""
    try:
        image = likely_image(read_submission(earlier))
        return Launcher(image_environment(image) if image else base_environment())
    except (JobError, OSError, ValueError):  # Such as when the job is lost in the meantime.
        return None


def _obey(commands: Iterator[Command], job: Job, reporter: Reporter) -> None:
    """Does what the service says while the job runs."""
    for command in commands:
        if isinstance(command, KillWorker):
            job.kill_worker()
        elif isinstance(command, Cancel) and reporter.is_first_to_end():
            end_processes()
            job.clean_up()
            reporter.end("JOB_STATE_CANCELLED")
            os._exit(0)
    # The service is gone: nobody is there to be told.
    reporter.is_first_to_end()
    end_processes()
    job.clean_up()
    os._exit(1)


def _commands(stream: IO[str]) -> Iterator[Command]:
    for line in stream:
        try:
            yield COMMAND.validate_json(line)
        except ValidationError as error:
            logging.getLogger(__name__).warning("not a command: %r: %s", line, error)


def _protected_output() -> IO[str]:
    """The standard output, kept for events; what others print goes to the standard error."""
    sys.stdout.flush()
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return events


def _redirect_output(log: Path) -> None:
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)


def _set_up_log() -> None:
    logging.Formatter.converter = time.gmtime
    form = "%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s: %(message)s"
    logging.basicConfig(level=logging.INFO, format=form, datefmt="%Y-%m-%dT%H:%M:%S", force=True)


if __name__ == "__main__":
    main()
