"""Runs a command no longer than the process that started this one lives.

``python leash.py COMMAND ARGUMENT...``, as the leader of a session: standard input is a pipe that
the starting process holds open and never writes to. When it ends, however that comes, the whole
process group is killed: a launcher that outlived a lost task could submit a job after the next try
has looked for one.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading


def _watch() -> None:
    while os.read(0, 1024):
        pass
    os.killpg(0, signal.SIGKILL)


def main() -> int:
    """Runs the command; returns its exit status, as a shell would."""
    # The signal is for the command, which gets it too: a function, as exec restores what it meant.
    signal.signal(signal.SIGTERM, lambda *_: None)
    child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)  # noqa: S603
    threading.Thread(target=_watch, daemon=True).start()
    status = child.wait()
    # What it has left behind; this process has its handler.
    os.killpg(0, signal.SIGTERM)
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main())
