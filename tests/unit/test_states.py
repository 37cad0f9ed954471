"""States: partitioned by key, combined in any nesting, finalized within limits."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from beam_jobs.engine import states
from beam_jobs.engine.session import open_session
from beam_jobs.errors import TallyflowError
from beam_jobs.sql import Plan, plan_query


def rows_of(query: str) -> pa.Table:
    session = duckdb.connect(config={"arrow_lossless_conversion": True, "threads": 1})
    table: pa.Table = session.sql(query).to_arrow_table()
    return table


def states_of(plan: Plan, blocks: Sequence[pa.Table], number: int = 0) -> list[pa.Table]:
    session = open_session()
    found = []
    for position, block in enumerate(blocks):
        session.register("input", block)
        found.append(states.partial_states(session, plan, number, "a file", position))
    return found


def combined(plan: Plan, blocks: Sequence[pa.Table]) -> list[list[pa.Table]]:
    return [
        [states.combine(plan, number, states_of(plan, blocks, number))]
        for number in range(len(plan.relations))
    ]


def result_of(plan: Plan, relations: Sequence[Sequence[pa.Table]], **options: str) -> list[Any]:
    with states.finalized(plan, relations, **options) as session:
        return session.execute("FROM result").fetchall()


# partition

KEYS = {
    "DOUBLE": "(0.0), (-0.0), ('nan'), (-'nan'::DOUBLE), (NULL), (1.5), ('inf')",
    "FLOAT[]": "('[0.0]'), ('[-0.0]'), ('[nan]'), ('[NULL]'), ('[]'), (NULL)",
    "STRUCT(a DOUBLE, b VARCHAR)": "({'a': 0, 'b': 'x'}), ({'a': -0.0, 'b': 'x'}), (NULL), "
    "({'a': NULL, 'b': NULL})",
    "INTERVAL": "(INTERVAL 1 MONTH), (INTERVAL 30 DAYS), (INTERVAL 720 HOURS), (NULL)",
    "HUGEINT": "(170141183460469231731687303715884105727), (-1), (0), (NULL)",
    "VARCHAR": "(''), ('a'), ('A'), ('ä'), (NULL), ('a text of more than twelve bytes')",
    "UUID": "('00000000-0000-0000-0000-000000000001'), (NULL)",
    "TIMESTAMP WITH TIME ZONE": "('2020-01-01 00:00+00'), ('2020-01-01 01:00+01'), (NULL)",
    "ENUM('a', 'b')": "('a'), ('b'), (NULL)",
    "DECIMAL(38, 2)": "(1.5), (-1.5), (NULL)",
    "JSON": """('{"a": 1}'), ('[]'), (NULL)""",
    "BLOB": "('\\x00'::BLOB), (''::BLOB), (NULL)",
    "MAP(INTEGER, VARCHAR)": "(MAP {1: 'a'}), (MAP {}), (NULL)",
}


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize("count", [1, 7])
def test_equal_keys_go_to_one_part(kind: str, count: int) -> None:
    values = f"(VALUES {KEYS[kind]}) t(k)"
    rows = rows_of(f"SELECT k::{kind} AS k, n FROM {values}, (VALUES (1), (2)) u(n)")
    parts = states.partition(rows, 1, count)
    assert len(parts) == count
    assert sum(part.num_rows for part in parts) == rows.num_rows
    assert sum(map(count_groups, parts)) == count_groups(rows)


def count_groups(rows: pa.Table) -> int:
    return len(duckdb.from_arrow(rows).aggregate("k").fetchall())


def test_a_key_goes_to_the_same_part_in_every_process() -> None:
    """A worker started next year has to agree with the states of today."""
    rows = rows_of("SELECT i AS k, 'k' || i AS t FROM range(8) r(i)")
    parts = states.partition(rows, 2, 4)
    assert [part["k"].to_pylist() for part in parts] == PARTS_OF_TODAY


PARTS_OF_TODAY = [[1, 7], [0, 6], [2, 3], [4, 5]]


@settings(max_examples=20, deadline=None)
@given(
    values=st.lists(st.one_of(st.none(), st.integers(0, 5)), max_size=30),
    count=st.integers(1, 9),
    begin=st.integers(0, 5),
)
def test_parts_keep_the_order_of_the_rows(values: list[int | None], count: int, begin: int) -> None:
    rows = pa.table({"k": pa.array(values, pa.int64()), "n": pa.array(range(len(values)))})
    parts = states.partition(rows.slice(begin), 1, count)
    numbers: list[list[Any]] = [part["n"].to_pylist() for part in parts]
    assert all(part == sorted(part) for part in numbers)
    assert sorted(itertools.chain(*numbers)) == list(range(begin, len(values)))


def test_without_keys_all_rows_are_in_the_first_part() -> None:
    rows = pa.table({"n": [1, 2]})
    first, *others = states.partition(rows, 0, 3)
    assert first.equals(rows)
    assert [part.num_rows for part in others] == [0, 0]


def test_parts_with_nested_states_can_be_combined() -> None:
    """DuckDB reads no nested values that begin at an offset within an Arrow array."""
    plan = plan_query("SELECT k, corr(v, k) AS c FROM input GROUP BY k", {"k": "INT", "v": "INT"})
    blocks = [rows_of(f"SELECT i % 50 AS k, i * i AS v FROM range({n}, 400) t(i)") for n in (0, 9)]
    divided = [states.partition(table, 1, 4) for table in states_of(plan, blocks)]
    relation = [states.combine(plan, 0, tables) for tables in zip(*divided, strict=True)]
    assert len(result_of(plan, [relation])) == 50


# combine

AGGREGATES = (
    "sum(v), avg(v), median(v), list(v), first(v), last(v), mode(v), count(DISTINCT v), "
    "string_agg(v::VARCHAR, ','), arg_max(v, v % 3), list(v ORDER BY v), histogram(v), "
    "entropy(v), min(v), approx_quantile(v, 0.5), stddev(v)"
)


@settings(max_examples=10, deadline=None)
@given(
    blocks=st.lists(st.lists(st.integers(0, 4), max_size=6), min_size=3, max_size=3),
    grouped=st.booleans(),
)
@example(blocks=[[], [], []], grouped=False)
def test_combining_is_associative(blocks: list[list[int]], grouped: bool) -> None:
    plan = GROUPED if grouped else UNGROUPED
    tables = [pa.table({"v": pa.array(values, pa.int32())}) for values in blocks]
    for number in range(len(plan.relations)):
        a, b, c = states_of(plan, tables, number)
        flat = states.combine(plan, number, [a, b, c])
        left = states.combine(plan, number, [states.combine(plan, number, [a, b]), c])
        right = states.combine(plan, number, [a, states.combine(plan, number, [b, c])])
        assert flat.schema == left.schema == right.schema == a.schema
        assert rows_sorted(flat) == rows_sorted(left) == rows_sorted(right)


GROUPED = plan_query(f"SELECT v % 2 AS k, {AGGREGATES} FROM input GROUP BY k", {"v": "INTEGER"})
UNGROUPED = plan_query(f"SELECT {AGGREGATES} FROM input", {"v": "INTEGER"})


def rows_sorted(table: pa.Table) -> list[str]:
    """The rows as texts, numbers rounded: variances differ in the last digits."""

    def rounded(value: Any) -> Any:
        if isinstance(value, float):
            return round(value, 6)
        if isinstance(value, dict):
            return {name: rounded(part) for name, part in value.items()}
        return [rounded(part) for part in value] if isinstance(value, list) else value

    return sorted(str(rounded(row)) for row in table.to_pylist())


def test_combining_nothing_gives_no_rows() -> None:
    assert states.combine(UNGROUPED, 0, []).num_rows == 0
    empty = states_of(GROUPED, [pa.table({"v": pa.array([], pa.int32())})] * 2)
    assert states.combine(GROUPED, 0, empty).num_rows == 0


@pytest.mark.parametrize("plan", [GROUPED, UNGROUPED])
def test_states_are_the_same_after_parquet(plan: Plan, tmp_path: Path) -> None:
    rows = pa.table({"v": pa.array([3, 1, None, 1, 2], pa.int32())})
    for number in range(len(plan.relations)):
        (table,) = states_of(plan, [rows], number)
        pyarrow.parquet.write_table(table, tmp_path / "states.parquet")
        assert pyarrow.parquet.read_table(tmp_path / "states.parquet").equals(table)


def test_states_travel_compressed() -> None:
    table = pa.table({"k": pa.array(range(100_000))})
    assert len(states.to_bytes(table)) < table.nbytes
    assert states.from_bytes(states.to_bytes(table)).equals(table)


# limits

KEEPING = [
    "list(v)",
    "string_agg( v::VARCHAR, ',' )",
    "median(v)",
    "mad(v)",
    "quantile_cont(v, 0.5)",
    "quantile_disc(v::VARCHAR, 0.5)",
    "list([v])",
    "first(v ORDER BY v)",
    "histogram(v)",
    "list(DISTINCT v)",
    "median(DISTINCT v)",
]


@pytest.mark.parametrize("aggregate", KEEPING)
@pytest.mark.parametrize("grouping", ["", "GROUP BY k", "GROUP BY ROLLUP(k)"])
def test_an_aggregate_that_keeps_too_much_fails_by_name(
    aggregate: str, grouping: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_query(
        f"SELECT {aggregate}  AS r FROM input {grouping}", {"k": "BIGINT", "v": "BIGINT"}
    )
    blocks = [rows_of(f"SELECT 1 AS k, i AS v FROM range({n}, 900) t(i)") for n in (0, 400)]
    monkeypatch.setattr(states, "STATE_LIMIT", 100_000)
    assert result_of(plan, combined(plan, blocks))
    monkeypatch.setattr(states, "STATE_LIMIT", 1_000)
    # Where states are combined, or else, as with values, in the end.
    with pytest.raises(TallyflowError) as caught:
        result_of(plan, combined(plan, blocks))
    assert str(caught.value).startswith(f"{aggregate} keeps ")
    assert "the limit is 1,000" in str(caught.value)


def test_the_total_of_grouping_sets_is_held_to_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    query = "SELECT k, median(v) AS r FROM input GROUP BY ROLLUP(k)"
    plan = plan_query(query, {"k": "BIGINT", "v": "BIGINT"})
    rows = rows_of("SELECT i % 10 AS k, i AS v FROM range(1000) t(i)")
    monkeypatch.setattr(states, "STATE_LIMIT", 5_000)
    relations = combined(plan, [rows, rows.slice(0, 0)])
    with pytest.raises(TallyflowError, match=r"median\(v\) keeps 8,000 bytes"):
        result_of(plan, relations)


def test_many_small_groups_are_not_held_to_the_limit_of_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    query = "SELECT k, median(v) AS r FROM input GROUP BY k"
    plan = plan_query(query, {"k": "BIGINT", "v": "BIGINT"})
    rows = rows_of("SELECT i % 100 AS k, i AS v FROM range(1000) t(i)")
    monkeypatch.setattr(states, "STATE_LIMIT", 200)
    assert len(result_of(plan, combined(plan, [rows, rows]))) == 100


def test_too_little_memory_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def small_session(scratch: str | None = None) -> duckdb.DuckDBPyConnection:
        assert scratch is None
        return duckdb.connect(config={"memory_limit": "10MB", "temp_directory": "", "threads": 1})

    plan = plan_query("SELECT v, count(*) AS n FROM input GROUP BY v", {"v": "BIGINT"})
    tables = states_of(
        plan, [rows_of(f"SELECT i AS v FROM range({n}, 900000) t(i)") for n in (0, 1)]
    )
    monkeypatch.setattr(states, "open_session", small_session)
    with pytest.raises(TallyflowError, match=r"need more memory than the \d+MiB of a session"):
        states.combine(plan, 0, tables)


def test_an_error_while_the_result_is_read_says_so() -> None:
    plan = plan_query("SELECT (count(*) || 'x')::INTEGER AS n FROM input", {"v": "BIGINT"})
    with (
        pytest.raises(TallyflowError, match="the query fails on its aggregates: .*'1x'"),
        states.finalized(plan, combined(plan, [pa.table({"v": [1]})])) as session,
    ):
        session.execute("FROM result").fetchall()


def test_the_result_is_in_order_of_the_groups_unless_the_query_orders() -> None:
    columns = {"k": "BIGINT", "v": "BIGINT"}
    rows = rows_of("SELECT hash(i) % 500 AS k, i % 2 AS v FROM range(9000) t(i)")
    for order in ("", "ORDER BY v", "QUALIFY count(*) OVER () > 0"):
        plan = plan_query(f"SELECT k, min(v % 2) AS v FROM input GROUP BY k {order}", columns)
        relation = states.combine(plan, 0, states_of(plan, [rows, rows]))
        found = result_of(plan, [states.partition(relation, 1, 5)])
        expected = sorted(found, key=lambda row: (row[1], row[0]) if "ORDER" in order else row[0])
        assert found == expected
