"""Compares the answers of two engines: the order of rows does not matter, rounding hardly."""

from __future__ import annotations

import re
from pathlib import Path

import duckdb

from benchmarks.works import Work

RELATIVE = 1e-9


def difference(work: Work, ours: Path, theirs: Path) -> str | None:
    """Return what differs between two answers; None if nothing does.

    Whole numbers have to be equal; others may differ by a billionth, since sums of floats depend on
    their order.

    Args:
        work: Says which columns are compared.
        ours: An answer: a .csv, .parquet or .txt file, the last with `wc -l`'s output; or a folder
            of Parquet files.
        theirs: Another one.
    """
    with duckdb.connect() as session:
        for name, path in (("ours", ours), ("theirs", theirs)):
            try:
                _load(session, name, path, work)
            except duckdb.Error as error:
                return f"{path.name} is no answer: {str(error).splitlines()[0]}"
        return _first_difference(session, work)


def _load(session: duckdb.DuckDBPyConnection, name: str, path: Path, work: Work) -> None:
    """Make a table of an answer's columns."""
    columns = ", ".join(f'"{column}"' for column in (*work.keys, *work.values))
    if path.suffix == ".txt":
        count = int(re.match(r"\s*(\d+)", path.read_text()).group(1))  # type: ignore[union-attr]
        session.execute(f"CREATE TABLE {name} AS SELECT {count} AS {columns}")
        return
    pattern = f"{path}/*.parquet" if path.is_dir() else str(path)
    source = f"read_csv('{pattern}', header = true)" if path.suffix == ".csv" else f"'{pattern}'"
    session.execute(f"CREATE TABLE {name} AS SELECT {columns} FROM {source}")


def _first_difference(session: duckdb.DuckDBPyConnection, work: Work) -> str | None:
    counts = [
        session.table(name).aggregate("count(*)").fetchall()[0][0] for name in ("ours", "theirs")
    ]
    if counts[0] != counts[1]:
        return f"{counts[0]} rows, not {counts[1]}"
    same_key = " AND ".join(f'o."{key}" IS NOT DISTINCT FROM t."{key}"' for key in work.keys)
    joined = (
        f"(SELECT *, true AS found FROM ours) o FULL JOIN (SELECT *, true AS found FROM theirs) t "
        f"ON {same_key or 'true'}"
    )
    different = {value: _differs(f'o."{value}"', f't."{value}"') for value in work.values}
    any_different = " OR ".join(["o.found IS NULL", "t.found IS NULL", *different.values()])
    pairs, bad = session.execute(
        f"SELECT count(*), count(*) FILTER ({any_different}) FROM {joined}"
    ).fetchall()[0]
    if bad:
        shown = ", ".join(f"o.{c}, t.{c}" for c in map('"{}"'.format, (*work.keys, *work.values)))
        row = session.execute(
            f"SELECT {shown} FROM {joined} WHERE {any_different} LIMIT 1"
        ).fetchall()[0]
        names = (*work.keys, *work.values)
        unlike = [
            f"{name} {row[2 * i]}, not {row[2 * i + 1]}"
            if row[2 * i] != row[2 * i + 1]
            else f"{name} {row[2 * i]}"
            for i, name in enumerate(names)
        ]
        return f"{bad} of {counts[1]} rows differ, as: {'; '.join(unlike)}"
    return None if pairs == counts[0] else "rows with the same key"


def _differs(ours: str, theirs: str) -> str:
    """Return SQL for whether two values differ."""
    whole = f"typeof({ours}) LIKE '%INT%' AND typeof({theirs}) LIKE '%INT%'"
    a, b = f"{ours}::DOUBLE", f"{theirs}::DOUBLE"
    # A difference of infinities is no number, which DuckDB takes for the greatest one.
    close = f"({a} = {b} OR abs({a} - {b}) <= {RELATIVE} * greatest(abs({a}), abs({b})))"
    return (
        f"(({ours} IS NULL) <> ({theirs} IS NULL) OR coalesce("
        f"CASE WHEN {whole} THEN {ours} <> {theirs} ELSE NOT {close} END, false))"
    )
