"""Files of states, merged, give the query over all records, however these were divided."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_jobs.engine import merge_files as module
from beam_jobs.engine.merge_files import merge_files
from beam_jobs.engine.states_files import problem, read_origin, read_states, write_states
from beam_jobs.errors import InputError
from beam_jobs.sql import Plan, plan_query
from tests.unit import test_sql_plan as sql

DAYS = 7
CUTS = (0, 1, 50, 51, 52, 52, 200, 240)
PARTS = [1 << 30, 1]  # bytes: all groups together; several parts
MERGEABLE = [
    query for query in sql.QUERIES if problem(sql.planned(query)) is None and "VALUES" not in query
]


@pytest.fixture(scope="module")
def table() -> pa.Table:
    connection = duckdb.connect()
    connection.execute("SET arrow_lossless_conversion = true")
    return sql.to_arrow(connection, sql.ROWS)


def write_days(plan: Plan, rows: pa.Table, cuts: Sequence[int], folder: Path) -> list[list[str]]:
    """Write the states of each day; return the files by relation."""
    files: list[list[str]] = []
    for number, days in enumerate(sql.block_states(plan, rows, cuts)):
        files.append([str(folder / f"{day}.{number}.parquet") for day in range(len(days))])
        for path, found in zip(files[-1], days, strict=True):
            write_states(path, plan, number, [found])
    return files


def merge(plan: Plan, files: Sequence[Sequence[str]], folder: Path) -> list[tuple[Any, ...]]:
    """Merge files; return the rows of the result."""
    merged = [str(folder / f"merged{number}.parquet") for number in range(len(files))]
    with tempfile.TemporaryDirectory() as scratch:
        result = f"{scratch}/result.parquet"
        count = merge_files(plan, files, result, merged, scratch)
        rows = duckdb.connect().read_parquet(result).fetchall()
    assert len(rows) == count
    return rows


def assert_merged(query: str, rows: pa.Table, cuts: Sequence[int], part_bytes: int) -> None:
    plan = sql.planned(query)
    expected = sql.rows_of(sql.over_all_rows(query, rows))
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.object(module, "_PART_BYTES", part_bytes),
        mock.patch.object(module, "_MOST_PARTS", 3),
    ):
        found = merge(plan, write_days(plan, rows, cuts, Path(folder)), Path(folder))
    if "order by" not in query.lower().rpartition(")")[2]:
        found, expected = sorted(found, key=str), sorted(expected, key=str)
    assert sql.same(found, expected), f"{query}\n{found}\n{expected}"


@settings(max_examples=20, deadline=None)
@given(
    cuts=st.lists(st.integers(0, 240), min_size=DAYS - 1, max_size=DAYS - 1).map(
        lambda inner: (0, *sorted(inner), 240)
    ),
    query=st.sampled_from(MERGEABLE),
    part_bytes=st.sampled_from(PARTS),
)
def test_any_split_of_the_records_into_days_gives_the_query_over_all(
    cuts: Sequence[int], query: str, part_bytes: int, table: pa.Table
) -> None:
    assert_merged(query, table, cuts, part_bytes)


def test_days_give_every_aggregate_over_all_records(table: pa.Table) -> None:
    calls = [call for call in map(call_of, [*sql.ONE_ARGUMENT, *sql.TWO_ARGUMENTS]) if call]
    listed = ", ".join(f"{call} AS v{n}" for n, call in enumerate(calls))
    assert_merged(f"SELECT b, {listed} FROM input GROUP BY b ORDER BY b", table, CUTS, 1)


def call_of(function: str) -> str:
    """A call of an aggregate over the first column that it takes."""
    if function in ("regr_intercept", "product:/100"):  # what is left of nearly equal numbers
        return ""
    return sql.accepted_calls(function)[0]


EXPECTED = """
    SELECT k, count(DISTINCT v) AS d, avg(v) AS a, approx_quantile(v, 0.9) AS q,
           approx_count_distinct(v) AS c, list(v) AS l, first(v) AS f, last(v) AS z
    FROM input GROUP BY k ORDER BY k"""
BIG = """
    SELECT i % 10 AS k, (hash(i) % 5000)::BIGINT AS v FROM range(40000) t(i)"""


def test_approximate_aggregates_of_days_stay_within_their_error(tmp_path: Path) -> None:
    rows = duckdb.connect().sql(BIG).to_arrow_table()
    plan = plan_query(EXPECTED, {"k": "BIGINT", "v": "BIGINT"})
    cuts = [0, 100, 9_000, 9_001, 20_000, 33_000, 39_000, 40_000]
    found = merge(plan, write_days(plan, rows, cuts, tmp_path), tmp_path)
    ordered = duckdb.connect().execute("SET threads = 1").register("input", rows)
    for row, exact in zip(found, ordered.sql(EXPECTED).fetchall(), strict=True):
        key, distinct, mean, quantile, approximate, values, first, last = row
        assert (key, distinct, mean) == (exact[0], exact[1], pytest.approx(exact[2], rel=1e-9))
        assert (values, first, last) == exact[5:]
        # The registers of all days together are those of all records: the very same estimate.
        assert approximate == exact[4]
        rank = sum(value <= quantile for value in values) / len(values)
        assert rank == pytest.approx(0.9, abs=0.01)


def test_states_of_another_query_are_no_part(tmp_path: Path, table: pa.Table) -> None:
    one = sql.planned("SELECT b, sum(a) AS s FROM input GROUP BY b")
    other = sql.planned("SELECT b, sum(a) AS s FROM input WHERE a > 1 GROUP BY b")
    (paths,) = write_days(one, table, (0, 100, 240), tmp_path)
    (tmp_path / "other").mkdir()
    ((path,),) = write_days(other, table, (0, 240), tmp_path / "other")
    with pytest.raises(InputError, match=f"{path}: holds other states"):
        merge(one, [[*paths, path]], tmp_path)


def test_states_of_other_types_are_no_part(tmp_path: Path, table: pa.Table) -> None:
    """DuckDB would convert them; the file says that it is of the query, and is not."""
    plan = sql.planned("SELECT b, sum(a) AS s FROM input GROUP BY b")
    (paths,) = write_days(plan, table, (0, 100, 240), tmp_path)
    (rows,) = read_states(paths[1])
    wrong = rows.set_column(1, rows.column_names[1], rows.column(0))
    write_states(paths[1], plan, 0, [wrong])
    with pytest.raises(InputError, match="its columns are not those of the query's states"):
        merge(plan, [paths], tmp_path)


@pytest.mark.parametrize("day", [0, 1])
def test_a_broken_file_of_states_is_named(day: int, tmp_path: Path, table: pa.Table) -> None:
    plan = sql.planned("SELECT i, list(x) AS s FROM input GROUP BY i")
    (paths,) = write_days(plan, table, (0, 100, 240), tmp_path)
    broken = Path(paths[day])
    data = bytearray(broken.read_bytes())
    data[200:400] = bytes(200)
    broken.write_bytes(data)
    with pytest.raises(InputError, match=f"{broken}: cannot be read"):
        merge(plan, [paths], tmp_path)
    broken.unlink()
    with pytest.raises(InputError, match=f"{broken}: cannot be read"):
        merge(plan, [paths], tmp_path)


def test_merged_states_say_what_they_are(tmp_path: Path, table: pa.Table) -> None:
    plan = sql.planned("SELECT b, count(DISTINCT a) AS s FROM input GROUP BY b ORDER BY b")
    files = write_days(plan, table, CUTS, tmp_path)
    expected = merge(plan, files, tmp_path)
    for number, paths in enumerate(files):
        assert read_origin(f"{tmp_path}/merged{number}.parquet") == read_origin(paths[0])
    (tmp_path / "again").mkdir()
    merged = [[f"{tmp_path}/merged{number}.parquet"] for number in range(2)]
    assert merge(plan, merged, tmp_path / "again") == expected
    # One row per group and value, as of one day.
    assert pq.read_metadata(tmp_path / "merged1.parquet").num_rows == len(
        sql.rows_of(sql.over_all_rows("SELECT DISTINCT b, a FROM input", table))
    )
