"""How many DuckDB sessions work at once on this machine, and how much memory each may take.

Beam starts one worker process for every processor, and a process works on one share of the files,
or one merge, at a time, however many threads it has: see `AT_WORK`. A local run is one process with
a thread for every processor. Either way there are as many sessions at work as processors.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

_MB = 1024 * 1024
# What the system and Dataflow's own processes need: https://cloud.google.com/dataflow/docs/guides/
# troubleshoot-oom says up to 1 GB.
_SYSTEM = 1024 * _MB
# Of the rest, what sessions may take. Blocks that wait, Arrow tables, Python and Beam need theirs.
_OF_WORKER = 0.6
# Locally, Beam keeps all states in memory, and other programs use the machine.
_OF_LOCAL = 0.5
_MOST_LOCALLY = 2048 * _MB
# With less than this for each of them, fewer sessions work at once.
_LEAST = 256 * _MB
_WORKER_PROGRAM = "apache_beam.runners.worker.sdk_worker_main"
# The limit of a container, as version 2 and version 1 of cgroups say it.
_CONTAINER_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")

# Held by the thread of a process whose sessions are at work. Dataflow may give a process several
# bundles at a time: then one reads and computes, and the others wait, in place of sharing a
# processor and overrunning the memory.
AT_WORK = threading.RLock()


@dataclass(frozen=True)
class Machine:
    """What sessions share.

    Attributes:
        memory: In bytes.
        processors: How many.
        is_worker: Whether it is there for one job, and has one process for every processor.
    """

    memory: int
    processors: int
    is_worker: bool

    @property
    def _for_sessions(self) -> int:
        rest = self.memory - min(_SYSTEM, self.memory // 2)
        return int(rest * (_OF_WORKER if self.is_worker else _OF_LOCAL))

    @property
    def sessions(self) -> int:
        """How many sessions work at once; one at least."""
        if self.is_worker:
            return self.processors
        return max(1, min(self.processors, self._for_sessions // _LEAST))

    @property
    def session_memory(self) -> int:
        """What each may take before it spills, in bytes."""
        share = self._for_sessions // self.sessions
        return share if self.is_worker else min(_MOST_LOCALLY, share)


@functools.cache
def this_machine() -> Machine:
    """The machine that this process runs on, or its container."""
    limits = [_number(path) for path in _CONTAINER_LIMITS]
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    program = getattr(sys.modules["__main__"], "__spec__", None)
    return Machine(
        memory=min([physical, *(limit for limit in limits if limit)]),
        processors=os.cpu_count() or 1,
        is_worker=program is not None and program.name == _WORKER_PROGRAM,
    )


def _number(path: str) -> int | None:
    try:
        return int(Path(path).read_text())
    except (OSError, ValueError):  # no such file, or "max"
        return None


def shown(size: int) -> str:
    """A size in bytes, as people and DuckDB write it."""
    return f"{size // _MB}MiB"
