"""Ends all that a job's process has started, also what its workers have left behind."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable

import psutil

_GRACE_SECONDS = 5


def end_processes() -> None:
    """Kills all processes but this one that it, or one of them, has started."""
    started = _started()
    for process in started:
        _do(process.suspend)  # Or one starts another in the meantime.
    for process in started | _started():
        _do(process.kill)
    psutil.wait_procs(started, timeout=_GRACE_SECONDS)


def _started() -> set[psutil.Process]:
    own = psutil.Process()
    found = set(own.children(recursive=True))
    if os.getsid(0) == own.pid:
        # As the session's leader it also knows those whose parents have ended.
        found |= {one for one in psutil.process_iter() if _session(one.pid) == own.pid}
    return found - {own}


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:
        return None


def _do(act: Callable[[], None]) -> None:
    with contextlib.suppress(psutil.Error):
        act()
