"""Makes the table ``input`` of a session from the tables of a block's files."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from beam_jobs.datasets.partition_paths import path_values
from beam_jobs.engine.session import open_session, quote_name, quote_text
from beam_jobs.formats.layout import FILENAME
from beam_jobs.sql.shape import INPUT

_TEXTS = "_texts"


def create_input(
    session: duckdb.DuckDBPyConnection,
    tables: Sequence[tuple[str, pa.Table]],
    columns: Mapping[str, str],
    in_paths: Mapping[str, str],
) -> None:
    """Make the session's table ``input`` anew.

    Args:
        session: The session.
        tables: The path of each file and its records; all with columns of the same types in
            DuckDB, but not always in Arrow, which has several for a text.
        columns: Name to DuckDB type of the tables' columns.
        in_paths: Name to DuckDB type of the columns of the files' paths to add.
    """
    if in_paths:
        values = _path_columns(session, [path for path, _ in tables], in_paths)
        tables = [
            (path, _with_columns(table, number, values))
            for number, (path, table) in enumerate(tables)
        ]
    alike: list[list[pa.Table]] = []
    for _, found in tables:
        # A column that is not asked for stands in where there are rows to count, and nothing else.
        table = found.select([*columns, *in_paths])
        if not alike or alike[-1][-1].schema != table.schema:
            alike.append([])
        alike[-1].append(table)
    # Arrow has no ENUM: it brings texts, whose order is another.
    enums = {name: kind for name, kind in columns.items() if kind.startswith("ENUM(")}
    if len(alike) == 1 and not enums:
        session.execute(f"DROP VIEW IF EXISTS {INPUT}")
        session.register(INPUT, pa.concat_tables(alike[0]))
        return
    for number, group in enumerate(alike):
        session.register(f"_{INPUT}_{number}", pa.concat_tables(group))
    replaced = ", ".join(
        f"CAST({quote_name(n)} AS {kind}) AS {quote_name(n)}" for n, kind in enums.items()
    )
    selected = f"* REPLACE ({replaced})" if replaced else "*"
    union = " UNION ALL ".join(
        f"SELECT {selected} FROM _{INPUT}_{number}" for number in range(len(alike))
    )
    session.execute(f"CREATE OR REPLACE TEMP VIEW {INPUT} AS {union}")


def _path_columns(
    session: duckdb.DuckDBPyConnection, paths: Sequence[str], in_paths: Mapping[str, str]
) -> dict[str, pa.Array[Any]]:
    """Return the values of the path columns, one for each file."""
    texts = list(map(_texts_of, paths))
    names = [f"c{number}" for number in range(len(in_paths))]
    columns = [pa.array([text.get(name) for text in texts], pa.string()) for name in in_paths]
    session.register(_TEXTS, pa.table(columns, names=names))
    casts = ", ".join(
        f"CAST({column} AS {kind}) AS {quote_name(name)}"
        for column, (name, kind) in zip(names, in_paths.items(), strict=True)
    )
    typed: pa.Table = session.sql(f"SELECT {casts} FROM {_TEXTS}").to_arrow_table()
    return {name: typed.column(name).combine_chunks() for name in in_paths}


def _with_columns(table: pa.Table, number: int, values: Mapping[str, pa.Array[Any]]) -> pa.Table:
    """Add columns that have one value for the whole table: that of a numbered file."""
    indices = np.zeros(table.num_rows, np.int8)
    for name, array in values.items():
        column = pa.DictionaryArray.from_arrays(indices, array.slice(number, 1))
        table = table.append_column(name, column)
    return table


def _texts_of(path: str) -> dict[str, str | None]:
    return {**path_values(path), FILENAME: path}


def path_literals(path: str, in_paths: Mapping[str, str]) -> list[str]:
    """Return SQL for the columns of a file's path, with their names."""
    texts = _texts_of(path)
    return [
        f"CAST({quote_text(text) if (text := texts.get(name)) is not None else 'NULL'} AS {kind}) "
        f"AS {quote_name(name)}"
        for name, kind in in_paths.items()
    ]


@functools.cache
def null_field(kind: str) -> pa.Field[Any]:
    """Return how Arrow carries a type of DuckDB's."""
    nothing: pa.Table = open_session().sql(f"SELECT CAST(NULL AS {kind}) AS x").to_arrow_table()
    return nothing.schema.field(0)
