"""Who does the work, and how each is started."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from benchmarks.cases import Case
from benchmarks.places import BENCH_BIN, PROJECT_PYTHON
from benchmarks.works import WORKS

OURS = "tallyflow"
TITLES: Mapping[str, str] = MappingProxyType(
    {
        OURS: "Tallyflow",
        "duckdb": "DuckDB",
        "polars": "Polars",
        "pandas": "pandas",
        "pyspark": "PySpark local[*]",
        "beam": "idiomatic Beam",
        "wc": "wc -l",
    }
)
# In the project's environment: the versions that Tallyflow uses are the ones to compare with.
_IN_PROJECT = ("duckdb", "beam")


def why_not(engine: str, case: Case, scale: float) -> str | None:
    """Return why an engine does not do a case at a scale; None if it does."""
    if engine == "pyspark" and not java():
        return "no Java here"
    if engine != OURS and scale > case.peers[engine]:
        return f"not run above scale {case.peers[engine]:g}: slow"
    return None


def java() -> str | None:
    """Return the path of Java; None if there is none."""
    home = os.environ.get("JAVA_HOME")
    return shutil.which("java", path=f"{home}/bin") if home else shutil.which("java")


def answer_path(folder: Path, engine: str, case: Case) -> Path:
    """Return where an engine writes its answer."""
    return folder / f"{engine}{'.txt' if engine == 'wc' else case.answer}"


def command(engine: str, case: Case, pattern: str, answer: Path) -> list[str]:
    """Return the command with which an engine does a case.

    Args:
        engine: A name in `TITLES`.
        case: The case.
        pattern: Of the files.
        answer: Where the answer goes; that of `wc` is what it prints.
    """
    if engine == "wc":
        return ["wc", "-l", pattern]
    if engine != OURS:
        python = PROJECT_PYTHON if engine in _IN_PROJECT else str(BENCH_BIN / "python")
        return [python, "-m", f"benchmarks.peers.{engine}", case.work, pattern, str(answer)]
    ours = [PROJECT_PYTHON, "-m"]
    if case.work == "count_lines":
        ours += ["beam_jobs.count_elements"]
    else:
        ours += ["beam_jobs.aggregate_files", "--query", WORKS[case.work].query, *case.options]
    return [*ours, "--input", pattern, "--output", str(answer)]
