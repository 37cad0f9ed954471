"""DuckDB: the work's SQL over a view of the files."""

from __future__ import annotations

import sys
from collections.abc import Mapping

import duckdb

from benchmarks.works import FLIGHTS, LINEITEM, STATIONS, WORKS

LINES = {"line": "VARCHAR"}


def reader(work: str, pattern: str) -> str:
    """Return the table function that reads the files."""
    if work == "count_lines":
        return csv(pattern, LINES, r"header = false, delim = '\x00', quote = '', escape = ''")
    if work == "stations":
        return csv(pattern, STATIONS, "header = false, delim = ';'")
    if work == "flights":
        return csv(pattern, FLIGHTS, "header = true, nullstr = 'NA'")
    if pattern.endswith(".csv"):
        return csv(pattern, LINEITEM, "header = true")
    if pattern.endswith(".jsonl"):
        return f"read_json('{pattern}', format = 'newline_delimited', columns = {dict(LINEITEM)})"
    return f"read_parquet('{pattern}')"


def csv(pattern: str, columns: Mapping[str, str], options: str) -> str:
    """Return a table function that reads CSV files of known columns."""
    return f"read_csv('{pattern}', auto_detect = false, columns = {dict(columns)}, {options})"


work, pattern, output = sys.argv[1:]
duckdb.sql(f"CREATE VIEW input AS FROM {reader(work, pattern)}")
duckdb.sql(f"COPY ({WORKS[work].query}) TO '{output}'")
