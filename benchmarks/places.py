"""Where things are."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# The peers' own environment, so that the project's stays small.
BENCH_BIN = ROOT / ".tallyflow" / "bench" / "bin"
PROJECT_PYTHON = sys.executable
DATA = ROOT / ".tallyflow" / "bench-data"
RESULTS = DATA / "results"
REPORT = ROOT / "docs" / "benchmarks.md"
QUICK_REPORT = DATA / "benchmarks.md"
