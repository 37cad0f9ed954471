"""Runs with results, for tests of their publication."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from beam_jobs.datasets.partition import Partition
from beam_jobs.publishing.conditional_files import open_store
from beam_jobs.publishing.manifest import Contents, PublishedAggregate
from beam_jobs.publishing.partition_folder import PartitionFolder, read_manifest
from beam_jobs.publishing.partition_store import REPORT, begin

OURS = str(Path(sys.modules[begin.__module__].__file__ or "").parent)
DAY = Partition.parse("2013-01-31", "day")


def folder_in(storage: str | Path, key: str = DAY.key) -> PartitionFolder:
    return PartitionFolder(str(storage), "flights", Partition.parse(key, "day"))


def finished_run(folder: PartitionFolder, run_id: str) -> Contents:
    """Begin a run and write its files; each says from which run it is."""
    begin(folder, run_id)
    contents = Contents(
        rows=1,
        aggregates={
            "total": PublishedAggregate(
                result=f"runs/{run_id}/total.csv",
                rows=1,
                states=(f"runs/{run_id}/states/total.parquet",),
                fingerprint="f",
            )
        },
        report=f"runs/{run_id}/{REPORT}",
    )
    store = open_store(folder.path)
    for path in contents.files:
        store.write(path, run_id.encode())
    return contents


def visible_run(folder: PartitionFolder) -> str | None:
    """Return the run that readers see, all of whose files have to be there."""
    found = read_manifest(folder)
    if found is None:
        return None
    store = open_store(folder.path)
    for version in found.manifest.versions:
        for path in version.files:
            stored = store.read(path)
            assert stored is not None, f"{path} of version {version.number} is gone"
            assert stored.data == version.run_id.encode()
    return found.manifest.version.run_id


def runs_there(folder: PartitionFolder) -> set[str]:
    return {path.split("/")[1] for path in open_store(folder.path).find("runs")}


def in_processes(work: Callable[[int], int], count: int) -> list[int]:
    """Call a function in several processes at once, and return their exit statuses."""
    reading, writing = os.pipe()
    children = []
    for number in range(count):
        if not (child := os.fork()):
            status = 99
            try:
                os.close(writing)
                os.read(reading, 1)  # until all are there
                status = work(number)
            finally:
                os._exit(status)
        children.append(child)
    os.close(reading)
    os.close(writing)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def at_each_line(see: Callable[[], object], work: Callable[[], object]) -> None:
    """Do something, and call a function before each of its lines that is ours."""

    def trace(frame: FrameType, event: str, _: object) -> object:
        if not frame.f_code.co_filename.startswith(OURS):
            return None
        if event == "line":
            see()
        return trace

    before = sys.gettrace()
    sys.settrace(trace)  # type: ignore[arg-type]
    try:
        work()
    finally:
        sys.settrace(before)


def killed_at_line(number: int, work: Callable[[], object]) -> bool:
    """Do something in a process that kills itself at its n-th line of ours.

    Returns:
        Whether it was killed: False if it came to its end before.
    """
    child = os.fork()
    if not child:
        left = number

        def kill() -> None:
            nonlocal left
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)

        try:
            at_each_line(kill, work)
            os._exit(0)
        finally:
            os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -signal.SIGKILL)
    return status != 0
