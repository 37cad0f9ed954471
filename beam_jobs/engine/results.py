"""Writes results as CSV, JSON lines or Parquet files, and prints them as tables."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import cast

import duckdb
from duckdb.sqltypes import DuckDBPyType

from beam_jobs.engine.reports import Reject
from beam_jobs.engine.run_report import PERCENTS, ColumnProfile, Profile
from beam_jobs.engine.session import quote_name, quote_text
from beam_jobs.errors import TallyflowError, UsageError

_COPY_OPTIONS: Mapping[str, str] = MappingProxyType(
    {
        ".csv": "FORMAT csv, HEADER",
        ".jsonl": "FORMAT json",
        ".parquet": "FORMAT parquet, COMPRESSION zstd",
    }
)
# In the name of a type, however deep; in quotes it would be the name of a field.
_WIDE_INTEGER = re.compile(r'(?<!")\bU?HUGEINT\b(?!")')
_SHOWN_ROWS = 50
# Of a profile: of each value, and how many values.
_SHOWN_CHARACTERS = 22
_SHOWN_VALUES = 3
_PROFILE_HEADER = (
    *("column", "type", "nulls", "distinct", "min", "max", "mean"),
    f"~{'/'.join(map(str, PERCENTS))} %",
    "most frequent",
)
_NUMBERS = ("nulls", "distinct", "mean")
_WIDTH_WITHOUT_TERMINAL = 160


def check_result_ending(path: str) -> None:
    """Refuse a result file whose ending names no format that can be written.

    Raises:
        UsageError: Naming the endings that can.
    """
    if Path(path).suffix not in _COPY_OPTIONS:
        raise UsageError(f"{path}: the output's ending must be one of {', '.join(_COPY_OPTIONS)}")


def write_result(session: duckdb.DuckDBPyConnection, path: str) -> int:
    """Write a result to a local file, in the format that its ending names.

    Args:
        session: Its view ``result`` is the result; what is written is never in memory as a whole.
        path: Where it may write.

    Returns:
        How many rows it has.

    Raises:
        TallyflowError: The format cannot hold a value.
    """
    relation = session.table("result")
    columns = [
        _column(name, kind, Path(path).suffix)
        for name, kind in zip(relation.columns, relation.types, strict=True)
    ]
    try:
        written = session.execute(
            f"COPY (SELECT {', '.join(columns)} FROM result) TO {quote_text(path)} "
            f"({_COPY_OPTIONS[Path(path).suffix]})"
        )
    except duckdb.ConversionException as error:
        if "DECIMAL(38,0)" not in str(error):
            raise
        raise TallyflowError(
            "the result has an integer of more than 38 digits, which Parquet cannot hold; write "
            "CSV or JSON lines, or cast it in the query"
        ) from error
    ((rows,),) = written.fetchall()
    return int(rows)


def _column(name: str, kind: DuckDBPyType, ending: str) -> str:
    """Return SQL for a column of the result as its format can hold it."""
    column = quote_name(name)
    if ending == ".parquet" and _WIDE_INTEGER.search(str(kind)):
        # Parquet has no 128-bit integer, and DuckDB would write a DOUBLE: inexact above 2^53.
        exact = _WIDE_INTEGER.sub("DECIMAL(38, 0)", str(kind))
        return f"CAST({column} AS {exact}) AS {column}"
    if ending == ".jsonl":
        return f"{_json(column, kind)} AS {column}"
    return column


def _json(value: str, kind: DuckDBPyType, depth: int = 0) -> str:
    """Return SQL for a value as DuckDB is to write it to JSON.

    JSON has no NaN and no infinity, and DuckDB would write them bare. They become the strings that
    Protocol Buffers' JSON has for them, which BigQuery reads as numbers.
    """
    if kind.id in ("float", "double"):
        name = f"replace(replace({value}::VARCHAR, 'nan', 'NaN'), 'inf', 'Infinity')"
        # By way of its text, as the FLOAT 0.1 is the DOUBLE 0.10000000149011612.
        number = f"to_json({value}::VARCHAR::DOUBLE)" if kind.id == "float" else f"to_json({value})"
        return f"CASE WHEN isfinite({value}) THEN {number} ELSE to_json({name}) END"
    if kind.id in ("list", "array"):
        item = f"item{depth}"
        element = _json(item, _child(kind, "child"), depth + 1)
        return f"list_transform({value}, lambda {item}: {element})"
    if kind.id == "map":
        values = _json(f"map_values({value})", duckdb.list_type(_child(kind, "value")), depth)
        return f"map(map_keys({value}), {values})"
    if kind.id == "struct":
        fields = ", ".join(
            f"{quote_name(field)} := "
            + _json(f"{value}.{quote_name(field)}", _child(kind, field), depth)
            for field, _ in kind.children
        )
        return f"CASE WHEN {value} IS NOT NULL THEN struct_pack({fields}) END"
    return value


def _child(kind: DuckDBPyType, name: str) -> DuckDBPyType:
    return cast("DuckDBPyType", dict(kind.children)[name])


def write_rejects(rejects: Iterable[Reject], path: str) -> None:
    """Write rejects to a local file, one JSON object a line, in order of file and line."""
    ordered = sorted(rejects, key=lambda reject: (reject.file, reject.line))
    lines = (json.dumps(reject.__dict__, ensure_ascii=False) + "\n" for reject in ordered)
    Path(path).write_text("".join(lines), encoding="utf-8")


def print_profile(profile: Profile) -> None:
    """Print a profile of columns as a table for people, after an empty line."""
    rows = [_PROFILE_HEADER, *map(_profile_row, profile.columns)]
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    sys.stdout.write("\n")
    for row in rows:
        cells = [
            cell.rjust(width) if name in _NUMBERS else cell.ljust(width)
            for name, cell, width in zip(_PROFILE_HEADER, row, widths, strict=True)
        ]
        sys.stdout.write("  ".join(cells).rstrip() + "\n")
    for name, error in profile.approximate.items():
        sys.stdout.write(f"~ {name}: {error}\n")


def _profile_row(column: ColumnProfile) -> tuple[str, ...]:
    quantiles = [f"{(column.quantiles or {})[str(p)]:.5g}" for p in PERCENTS if column.quantiles]
    frequent = [
        f"{_short(value.value)} ({value.at_least:,}{'+' if value.at_most > value.at_least else ''})"
        for value in (column.frequent or ())[:_SHOWN_VALUES]
    ]
    return (
        column.name,
        column.type,
        f"{column.nulls:,}",
        "" if column.distinct is None else f"~{column.distinct:,}",
        _short(column.min or ""),
        _short(column.max or ""),
        "" if column.mean is None else f"{column.mean:.6g}",
        " ".join(quantiles),
        ", ".join(frequent),
    )


def _short(text: str) -> str:
    """Return a value as a cell of a table shows it: in one line, and cut."""
    shown = text if text.isprintable() else repr(text)[1:-1]
    return shown if len(shown) <= _SHOWN_CHARACTERS else f"{shown[: _SHOWN_CHARACTERS - 1]}…"


def print_table(path: str) -> None:
    """Print a Parquet result as a table for people: its ends where there are many rows."""
    width = shutil.get_terminal_size((_WIDTH_WITHOUT_TERMINAL, 0)).columns
    duckdb.connect(":memory:").from_parquet(path).show(
        max_width=width, max_rows=_SHOWN_ROWS, null_value="NULL"
    )
