"""Runs a module as ``python -m`` does, but no longer than the process that started it.

``python -m local_cloud.leash MODULE ARGUMENT...``: standard input is a pipe that the starting
process holds open and never writes to; it ends with that process, however that ends.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
import time

# How long the module may take to end in order, once told to.
_GRACE_SECONDS = 10


def _watch(leash: int) -> None:
    while os.read(leash, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE_SECONDS)
    os.killpg(0, signal.SIGKILL)


def main() -> None:
    """Runs the module that the command line names."""
    del sys.argv[0]
    threading.Thread(target=_watch, args=(sys.stdin.fileno(),), daemon=True).start()
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
