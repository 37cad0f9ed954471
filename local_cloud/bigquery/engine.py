"""DuckDB sessions, and the reading of a table's files with them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa

from local_cloud.bigquery.schema import Field, quoted, text
from local_cloud.bigquery.store import RowFile


@contextlib.contextmanager
def session() -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB of its own, with the settings that make it most like BigQuery."""
    with duckdb.connect(config={"threads": 2}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("SET default_null_order = 'nulls_first_on_asc_last_on_desc'")
        connection.execute("SET autoinstall_known_extensions = false")
        yield connection


def lock(connection: duckdb.DuckDBPyConnection, readable: Sequence[Path]) -> None:
    """From here on the session opens no file but these, and cannot be unlocked."""
    paths = ", ".join(text(str(path)) for path in readable)
    connection.execute(f"SET allowed_paths = [{paths}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def scan(files: Sequence[RowFile], fields: Sequence[Field]) -> str:
    """The SELECT of a table's rows; a column that a file does not have yet is NULL in it."""
    empty = ", ".join(f"CAST(NULL AS {field.sql_type}) AS {quoted(field.name)}" for field in fields)
    nothing = f"SELECT {empty} WHERE false"
    if not files:
        return nothing
    paths = ", ".join(text(str(file.path)) for file in files)
    # By name, beginning with the schema: files of an older schema lack the columns added since.
    rows = f"SELECT * FROM read_parquet([{paths}], union_by_name = true)"  # noqa: S608
    return f"{nothing} UNION ALL BY NAME {rows}"


def read(
    files: Sequence[RowFile], fields: Sequence[Field], start: int, count: int
) -> list[dict[str, object]]:
    """Rows of a table, in the order of its files.

    Args:
        files: The table's files.
        fields: The columns to read.
        start: How many rows to leave out first.
        count: How many to return at most.
    """
    chosen: list[RowFile] = []
    for file in files:
        if not chosen and start >= file.rows:
            start -= file.rows
        elif sum(one.rows for one in chosen) < start + count:
            chosen.append(file)
    columns = ", ".join(quoted(field.name) for field in fields)
    with session() as connection:
        rows: pa.Table = connection.sql(
            f"SELECT {columns} FROM ({scan(chosen, fields)}) LIMIT {count} OFFSET {start}"  # noqa: S608
        ).to_arrow_table()
    return rows.to_pylist()
