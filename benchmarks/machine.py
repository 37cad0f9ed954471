"""What it was measured on, and with what."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
from pathlib import Path

from benchmarks.engines import java
from benchmarks.places import BENCH_BIN, ROOT


def describe() -> list[str]:
    """Return lines about the machine and the versions of all engines."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text())
    gigabytes = int(memory.group(1)) * 1024 / 10**9 if memory else 0
    return [
        f"{model.group(1) if model else platform.machine()}, "
        f"{len(os.sched_getaffinity(0))} cores, {gigabytes:.0f} GB of memory, "
        f"Linux {platform.release()}",
        f"Python {platform.python_version()}, {', '.join(_versions())}",
    ]


def revision() -> str:
    """Return the commit, with a mark if files differ from it; empty if git does not know."""
    found = _output(["git", "describe", "--always", "--dirty=, with changes", "--exclude=*"])
    return found.strip()


def _versions() -> list[str]:
    here = {"Beam": "apache-beam", "DuckDB": "duckdb"}
    there = {"Polars": "polars", "pandas": "pandas", "PySpark": "pyspark"}
    script = "import importlib.metadata as m, sys; print(*map(m.version, sys.argv[1:]))"
    found = _output([str(BENCH_BIN / "python"), "-c", script, *there.values()]).split()
    versions = [f"{title} {importlib.metadata.version(name)}" for title, name in here.items()]
    versions += [f"{title} {version}" for title, version in zip(there, found, strict=False)]
    if path := java():
        version = re.search(r'version "([^"]+)"', _output([path, "-version"]))
        versions.append(f"Java {version.group(1) if version else '?'}")
    return versions


def _output(argv: list[str]) -> str:
    """Return what a command says; nothing if there is no such command."""
    try:
        done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout + (done.stderr if not done.returncode else "")
