"""Runs a command and measures it: wall time, CPU time and peak memory of all its processes.

A small process of its own does the measuring (`python -m benchmarks.measure`): a process begins
with the memory of the one that starts it, so a large one would spoil the peak of a small command.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_SAMPLE_SECONDS = 0.1
_PR_SET_CHILD_SUBREAPER = 36
_PAGE = os.sysconf("SC_PAGE_SIZE")
# How long processes that outlive their command, such as Spark's JVM, may take to end.
_GRACE_SECONDS = 10
_MESSAGE_CHARACTERS = 300


class RunError(Exception):
    """A command failed; the message says how."""


@dataclass(frozen=True)
class Measurement:
    """What one run took.

    Attributes:
        wall: From the start of the command to its end, in seconds.
        cpu: User and system time of the command and all processes that it started, in seconds.
        memory: The larger of two peaks, in bytes: the resident memory of all its processes at one
            time, sampled ten times a second, and that of its largest process, which is exact.
    """

    wall: float
    cpu: float
    memory: int


def run(argv: Sequence[str], stdout: Path, log: Path, cwd: Path, timeout: float) -> Measurement:
    """Run a command and measure it.

    Args:
        argv: The command.
        stdout: Where its standard output goes.
        log: Where its standard error goes.
        cwd: Where it runs.
        timeout: How long it may take, in seconds; then it is ended.

    Raises:
        RunError: It did not end well, or not in time.
    """
    helper = [sys.executable, "-m", "benchmarks.measure", f"--timeout={timeout}"]
    helper += [f"--stdout={stdout}", f"--log={log}", "--", *argv]
    with subprocess.Popen(helper, cwd=cwd, stdout=subprocess.PIPE, text=True) as process:
        try:
            found, _ = process.communicate()
        except BaseException:
            process.terminate()  # It ends what it measures.
            raise
    if process.returncode:
        raise RunError(f"the measuring process ended with status {process.returncode}")
    result = json.loads(found)
    if result["timeout"]:
        raise RunError(f"over {timeout:g} s")
    if result["status"]:
        raise RunError(f"exit status {result['status']}: {_last_line(log)}")
    return Measurement(result["wall"], result["cpu"], result["memory"])


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1].strip()[:_MESSAGE_CHARACTERS] if lines else "(it said nothing)"


def tree(root: int) -> set[int]:
    """Return the ids of a process and of all that descend from it."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):  # noqa: PTH208 - ten times a second
        if entry.isdecimal():
            with contextlib.suppress(OSError):
                # The name, in parentheses, may hold anything.
                fields = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
                children.setdefault(int(fields[1]), []).append(int(entry))
    found, left = set[int](), [root]
    while left:
        process = left.pop()
        found.add(process)
        left += children.get(process, [])
    return found


def _resident(process: int) -> int:
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * _PAGE
    return 0


def _sample(stop: threading.Event, peak: list[int]) -> None:
    """Keep the largest memory of all processes below this one."""
    here = os.getpid()
    while not stop.wait(_SAMPLE_SECONDS):
        peak[0] = max(peak[0], sum(map(_resident, tree(here) - {here})))


def _end_descendants(patience: float) -> None:
    """Wait until no process is left below this one; after a while, end those that are."""
    deadline = time.monotonic() + patience
    while True:
        try:
            process, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if process:
            continue
        if time.monotonic() > deadline:
            for left in tree(os.getpid()) - {os.getpid()}:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(left, signal.SIGKILL)
        time.sleep(0.01)


def _measure(argv: Sequence[str], stdout: Path, log: Path, timeout: float) -> dict[str, object]:
    # Processes whose parent has ended become ours: none escapes the count.
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    peak, stop = [0], threading.Event()
    sampler = threading.Thread(target=_sample, args=(stop, peak))
    with stdout.open("wb") as out, log.open("wb") as errors:
        start = time.perf_counter()
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=errors)
        sampler.start()
        timed_out = False
        try:
            status = process.wait(timeout)
        except subprocess.TimeoutExpired:
            timed_out, status = True, -1
        finally:
            wall = time.perf_counter() - start
            _end_descendants(0 if timed_out or sys.exc_info()[0] else _GRACE_SECONDS)
            stop.set()
            sampler.join()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "wall": wall,
        "cpu": used.ru_utime + used.ru_stime,
        "memory": max(peak[0], used.ru_maxrss * 1024),
        "status": status,
        "timeout": timed_out,
    }


def main() -> None:
    """Measure the command of the command line; print the result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--timeout", type=float, required=True)
    parser.add_argument("--stdout", type=Path, required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("argv", nargs="+")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    json.dump(
        _measure(arguments.argv, arguments.stdout, arguments.log, arguments.timeout), sys.stdout
    )


if __name__ == "__main__":
    main()
