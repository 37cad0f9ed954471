"""Writes results as CSV, JSON lines or Parquet files, and prints them as tables."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

import duckdb
import pyarrow as pa

from beam_jobs.errors import UsageError
from beam_jobs.records import Reject
from beam_jobs.session import quote_name, quote_text

_COPY_OPTIONS: Mapping[str, str] = MappingProxyType(
    {
        ".csv": "FORMAT csv, HEADER",
        ".jsonl": "FORMAT json",
        ".parquet": "FORMAT parquet, COMPRESSION zstd",
    }
)
_WIDE_INTEGERS = ("HUGEINT", "UHUGEINT")
_SHOWN_ROWS = 50
_WIDTH_WITHOUT_TERMINAL = 160


def check_result_ending(path: str) -> None:
    """Refuse a result file whose ending names no format that can be written.

    Raises:
        UsageError: Naming the endings that can.
    """
    if Path(path).suffix not in _COPY_OPTIONS:
        raise UsageError(f"{path}: the output's ending must be one of {', '.join(_COPY_OPTIONS)}")


def write_result(result: pa.Table, path: str) -> None:
    """Write a result to a local file, in the format that its ending names."""
    # With external access, as this session runs no SQL of the user's.
    connection = duckdb.connect(":memory:")
    connection.execute("SET TimeZone = 'UTC'")
    connection.register("result", result)
    relation = connection.table("result")
    columns = []
    for name, kind in zip(relation.columns, relation.types, strict=True):
        column = quote_name(name)
        if path.endswith(".parquet") and str(kind) in _WIDE_INTEGERS:
            # Parquet has no 128-bit integer, and DuckDB would write a DOUBLE: inexact above 2^53.
            column = f"CAST({column} AS DECIMAL(38, 0)) AS {column}"
        columns.append(column)
    connection.execute(
        f"COPY (SELECT {', '.join(columns)} FROM result) TO {quote_text(path)} "
        f"({_COPY_OPTIONS[Path(path).suffix]})"
    )


def write_rejects(rejects: Iterable[Reject], path: str) -> None:
    """Write rejects to a local file, one JSON object a line, in order of file and line."""
    ordered = sorted(rejects, key=lambda reject: (reject.file, reject.line or 0))
    lines = (json.dumps(reject.__dict__, ensure_ascii=False) + "\n" for reject in ordered)
    Path(path).write_text("".join(lines), encoding="utf-8")


def print_table(path: str) -> None:
    """Print a Parquet result as a table for people: its ends where there are many rows."""
    width = shutil.get_terminal_size((_WIDTH_WITHOUT_TERMINAL, 0)).columns
    duckdb.connect(":memory:").from_parquet(path).show(
        max_width=width, max_rows=_SHOWN_ROWS, null_value="NULL"
    )
