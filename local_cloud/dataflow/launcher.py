"""The process that runs the launcher of a flex template, and tells the service how it went.

``python -m local_cloud.dataflow.launcher JOB_DIRECTORY`` speaks `events` like the process of a job:
what the launcher prints becomes messages, and goes to the log.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from local_cloud.dataflow.events import COMMAND, Cancel, Importance, MessageLogged, StateChanged

LAUNCH_FILE = "launch.json"
_TAIL_LINES = 20


class Launch(BaseModel):
    """What to run.

    Attributes:
        command: The program and its arguments.
        working_directory: Where it runs.
        environment: What is set there besides the service's own environment.
        console_log: The object that the service makes of its log.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    command: list[str]
    working_directory: str
    environment: dict[str, str]
    console_log: str


def main(directory: Path) -> None:
    """Runs the launcher of a job.

    Args:
        directory: The job's directory.
    """
    threading.Thread(target=_obey, daemon=True).start()
    launch = Launch.model_validate_json((directory / LAUNCH_FILE).read_bytes())
    _say(
        "JOB_MESSAGE_BASIC", f"Console log from launcher will be available at {launch.console_log}."
    )
    _say("JOB_MESSAGE_DETAILED", f"Executing: {' '.join(launch.command)}")
    try:
        status, lines = _run(launch)
    except OSError as error:
        status, lines = 1, [f"The launcher cannot be started: {error}"]
    if status:
        tail = "\n".join(lines[-_TAIL_LINES:])
        _say("JOB_MESSAGE_ERROR", f"{launch.command[0]} failed with exit status {status}:\n{tail}")
        _say(
            "JOB_MESSAGE_ERROR",
            "Error occurred in the launcher container: Template launch failed. See console logs.",
        )
        _emit(StateChanged(state="JOB_STATE_FAILED"))


def _run(launch: Launch) -> tuple[int, list[str]]:
    process = subprocess.Popen(
        launch.command,
        cwd=launch.working_directory,
        env={**os.environ, **launch.environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    assert process.stdout is not None  # noqa: S101 - it was asked for
    lines = []
    for line in process.stdout:
        lines.append(line.rstrip("\n"))
        sys.stderr.write(line)
        sys.stderr.flush()
        _say("JOB_MESSAGE_DEBUG", lines[-1])
    return process.wait(), lines


def _obey() -> None:
    """Ends the whole session when the service is gone or cancels the job."""
    for line in sys.stdin:
        if isinstance(COMMAND.validate_json(line), Cancel):
            break
    with contextlib.suppress(ProcessLookupError):
        os.killpg(os.getpgid(0), signal.SIGKILL)


def _say(importance: Importance, text: str) -> None:
    if text:
        _emit(MessageLogged(importance=importance, text=text))


def _emit(event: BaseModel) -> None:
    sys.stdout.write(event.model_dump_json() + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
