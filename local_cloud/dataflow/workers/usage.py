"""What the workers of a job have used, as Dataflow's own metrics of a job say it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import psutil

from local_cloud.dataflow.events import Metric

_MEBIBYTE = 2**20
_GIBIBYTE = 2**30
# Dataflow charges for this share of the first 250 GiB that a job shuffles.
_CHARGED = 0.25


@dataclass
class _Process:
    """One worker process, as it was when it was last looked at."""

    cpu_seconds: float = 0
    memory: int = 0
    at: float = 0


@dataclass
class Usage:
    """Adds up what worker processes use.

    CPU seconds are those that the processes, from their start on, have spent, and not those of
    machines that wait for work; memory is the mean of what they hold at a look and at the next.

    Attributes:
        clock: The time in seconds.
    """

    clock: Callable[[], float] = time.monotonic
    _processes: dict[int, _Process] = field(default_factory=dict)
    _memory_seconds: float = 0
    _shuffled: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def look(self, pids: Iterable[int]) -> None:
        """Looks at the processes that run; call it about once a second, and at start and end."""
        with self._lock:
            now = self.clock()
            found = set(pids)
            for pid in found | self._processes.keys():
                process = self._processes.setdefault(pid, _Process(at=now))
                before, process.memory = process.memory, 0
                if pid in found:
                    self._measure(pid, process)
                held = (before + (process.memory or before)) / 2
                self._memory_seconds += held * (now - process.at)
                process.at = now

    def _measure(self, pid: int, process: _Process) -> None:
        try:
            there = psutil.Process(pid)
            process.cpu_seconds = sum(there.cpu_times()[:4])
            process.memory = there.memory_info().rss
        except psutil.Error:  # It has ended just now.
            return

    def shuffled(self, count: int) -> None:
        """Takes notice of bytes that a step has put where they are grouped by key."""
        with self._lock:
            self._shuffled += count

    def metrics(self) -> list[Metric]:
        """What has been used so far, under the names and in the units of Dataflow's metrics."""
        with self._lock:
            shuffled = self._shuffled / _GIBIBYTE
            used = {
                "TotalVcpuTime": sum(one.cpu_seconds for one in self._processes.values()),
                "TotalMemoryUsage": self._memory_seconds / _MEBIBYTE,
                "TotalPdUsage": 0.0,
                "TotalSsdUsage": 0.0,
                "TotalShuffleDataProcessed": shuffled,
                "BillableShuffleDataProcessed": shuffled * _CHARGED,
            }
        return [
            Metric(origin="dataflow/v1b3", name=name, tentative=is_tentative, scalar=value)
            for name, value in used.items()
            for is_tentative in (False, True)
        ]
