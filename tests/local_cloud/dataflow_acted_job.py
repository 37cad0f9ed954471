"""A job's process that runs no pipeline, but says what one would: its option ``act`` names it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

SLEEPER = [sys.executable, "-c", "import time; time.sleep(600)"]


def say(**event: object) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def message(importance: str, text: str) -> None:
    say(event="message", importance=f"JOB_MESSAGE_{importance}", text=text)


def state(word: str) -> None:
    say(event="state", state=f"JOB_STATE_{word}")


def succeed() -> None:
    state("RUNNING")
    say(event="workers", pids=[1, 2])
    steps = [
        {"name": "ref_1", "user_name": "Read/Split", "state": "DONE", "elements": 3},
        {"name": "ref_2", "user_name": "Count <words>", "state": "DONE", "elements": 1234},
    ]
    say(event="steps", steps=steps)
    counter = {"origin": "user", "name": "lines", "namespace": "beam_jobs", "step": "ref_1"}
    sizes = {"origin": "user", "name": "sizes", "kind": "Distribution", "step": "ref_1"}
    spread = {"count": 2, "sum": 10, "min": 4, "max": 6}
    metrics: list[dict[str, object]] = [{"origin": "dataflow/v1b3", "name": "x", "scalar": 1.5}]
    for tentative in (True, False):
        metrics.append({**counter, "scalar": 42, "tentative": tentative})
        metrics.append({**sizes, "distribution": spread, "tentative": tentative})
    say(event="metrics", metrics=metrics)
    for importance in ("DEBUG", "DETAILED", "BASIC", "WARNING"):
        message(importance, f"a {importance.lower()} message")
    say(event="workers", pids=[])
    state("DONE")


def fail() -> None:
    state("RUNNING")
    message("ERROR", "Traceback (most recent call last):\nValueError: bad <b>record</b>")
    state("FAILED")


def crash() -> None:
    state("RUNNING")
    sys.stderr.write("Killed: out of memory\n")
    sys.exit(3)


def wait() -> None:
    """Runs until it is cancelled, with a process of its own."""
    state("RUNNING")
    worker = subprocess.Popen(SLEEPER)
    say(event="workers", pids=[worker.pid])
    message("BASIC", f"worker {worker.pid}")
    cancelled.wait()
    worker.kill()
    worker.wait()
    state("CANCELLED")


def neglect() -> None:
    """Ends without a word when it is cancelled, and leaves its worker."""
    state("RUNNING")
    message("BASIC", f"worker {subprocess.Popen(SLEEPER).pid}")
    cancelled.wait()


def obey() -> None:
    for line in sys.stdin:
        command = json.loads(line)
        if command["command"] == "cancel":
            cancelled.set()
        elif command["command"] == "kill_worker":
            message("WARNING", "a worker was killed")
        else:
            directories.append(command["directory"])
            given.set()

    os.killpg(0, signal.SIGKILL)


cancelled = threading.Event()
given = threading.Event()
is_spare = sys.argv[1] == "--like"
directories = [] if is_spare else sys.argv[1:]
ACTS: dict[str, Callable[[], None]] = {
    act.__name__: act for act in (succeed, fail, crash, wait, neglect)
}

if __name__ == "__main__":
    threading.Thread(target=obey, daemon=True).start()
    if is_spare:
        given.wait()
        sys.stderr = (Path(directories[0]) / "log.txt").open("a", buffering=1)
    job = json.loads((Path(directories[0]) / "job.json").read_text())
    ACTS[job["environment"]["sdkPipelineOptions"]["options"]["act"]]()
