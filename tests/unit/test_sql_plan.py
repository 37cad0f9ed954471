"""A query over blocks, merged, gives what DuckDB gives over all rows, however they are cut."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_jobs.engine import states
from beam_jobs.engine.session import open_session
from beam_jobs.errors import InputError, TallyflowError
from beam_jobs.sql import Plan, plan_query
from beam_jobs.sql.plan import create_input

# Which tables are combined beforehand: from where, and how many of those that are left.
Nesting = Sequence[tuple[int, int]]

COLUMNS = {
    "i": "INTEGER",
    "a": "INTEGER",
    "b": "VARCHAR",
    "x": "DOUBLE",
    "m": "DECIMAL(10,2)",
    "d": "DATE",
    "t": "TIMESTAMP",
    "s": "STRUCT(f INTEGER, g VARCHAR)",
    "l": "INTEGER[]",
    "j": "JSON",
    "h": "HUGEINT",
    "u": "UUID",
    "f": "BOOLEAN",
    "n": "INTERVAL",
}
ROWS = """
    SELECT i::INTEGER i, (i * 7919 % 11)::INTEGER a,
           CASE WHEN i % 13 = 0 THEN NULL ELSE 'k' || (i % 4) END b,
           CASE WHEN i % 7 = 0 THEN NULL ELSE (i * 37 % 101) / 7.0 END x,
           ((i * 3 % 50) / 4)::DECIMAL(10,2) m, DATE '2020-01-01' + (i % 40)::INTEGER d,
           TIMESTAMP '2020-01-01' + to_hours(i % 100) t,
           {'f': (i % 5)::INTEGER, 'g': 'g' || i % 3} s,
           [i % 3, i % 2]::INTEGER[] l, ('{"a":' || (i % 3) || '}')::JSON j,
           i::HUGEINT * 1000000000000000000000000000000000 h,
           ('00000000-0000-0000-0000-0000000000' || (10 + i % 50))::UUID u, i % 3 = 0 f,
           to_minutes(i % 9) n
    FROM range(240) r(i)"""
WHOLE = (0, 240)
CUTS = (0, 1, 50, 51, 52, 200, 240)


@pytest.fixture(scope="module")
def table() -> pa.Table:
    connection = duckdb.connect()
    connection.execute("SET arrow_lossless_conversion = true")
    return to_arrow(connection, ROWS)


def to_arrow(session: duckdb.DuckDBPyConnection, query: str) -> pa.Table:
    rows: pa.Table = session.sql(query).to_arrow_table()
    return rows


def over_all_rows(query: str, rows: pa.Table) -> pa.Table:
    session = worker()
    # Not from a table: its statistics let DuckDB choose another value among the most frequent.
    session.register("input", rows)
    return to_arrow(session, query)


def over_blocks(
    query: str, rows: pa.Table, cuts: Sequence[int], parts: int = 1, nesting: Nesting = ()
) -> pa.Table:
    plan = planned(query)
    return result_of(plan, block_states(plan, rows, cuts), parts, nesting)


@functools.cache
def planned(query: str) -> Plan:
    return plan_query(query, COLUMNS)


def result_of(
    plan: Plan, blocks: Sequence[Sequence[pa.Table]], parts: int = 1, nesting: Nesting = ()
) -> pa.Table:
    """Combine the blocks of each relation, some of them beforehand, partition and finalize."""
    relations = []
    for number, tables in enumerate(blocks):
        merged = list(tables)
        for begin, length in nesting:
            some = merged[begin : begin + length]
            if some:
                merged[begin : begin + length] = [stored(states.combine(plan, number, some))]
        keys = plan.relations[number].keys
        divided = [states.partition(table, keys, parts) for table in merged]
        relations.append(
            [
                stored(states.combine(plan, number, [tables[part] for tables in divided]))
                for part in range(parts)
                if divided and (keys or part == 0)
            ]
        )
    with states.finalized(plan, relations) as session:
        return to_arrow(session, "FROM result")


def block_states(plan: Plan, rows: pa.Table, cuts: Sequence[int]) -> list[list[pa.Table]]:
    """Compute the rows of each relation for each block, as they are when stored."""
    session = worker()
    found: list[list[pa.Table]] = [[] for _ in plan.relations]
    read = rows.select(list(plan.used or plan.columns))
    for position, (begin, end) in enumerate(itertools.pairwise(cuts)):
        session.register("input", stored(read.slice(begin, end - begin)))
        for number, tables in enumerate(found):
            computed = states.partial_states(session, plan, number, "a file", position)
            tables.append(stored(computed))
    return found


@functools.cache
def worker() -> duckdb.DuckDBPyConnection:
    """One session for all, as opening one takes longer than most tests."""
    return open_session()


def stored(table: pa.Table) -> pa.Table:
    return states.from_bytes(states.to_bytes(table))


def same(left: Any, right: Any) -> bool:
    """Equal, floating-point numbers to 1e-9."""
    if isinstance(left, float) and isinstance(right, float):
        both_nan = math.isnan(left) and math.isnan(right)
        return both_nan or math.isclose(left, right, rel_tol=1e-9, abs_tol=1e-12)
    if isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)


def rows_of(table: pa.Table) -> list[tuple[Any, ...]]:
    return duckdb.from_arrow(table).fetchall()


def types_of(table: pa.Table) -> list[str]:
    return [str(kind) for kind in duckdb.from_arrow(table).types]


def assert_same(
    query: str, rows: pa.Table, cuts: Sequence[int], parts: int = 1, nesting: Nesting = ()
) -> None:
    found, expected = over_blocks(query, rows, cuts, parts, nesting), over_all_rows(query, rows)
    assert found.column_names == expected.column_names
    assert types_of(found) == types_of(expected)
    left, right = rows_of(found), rows_of(expected)
    if "order by" not in query.lower().rpartition(")")[2]:
        left, right = sorted(left, key=str), sorted(right, key=str)
    assert same(left, right), f"{left}\n{right}\n{planned(query)}"


QUERIES = [
    # what stands in the select list
    "SELECT count(*) FROM input",
    "SELECT b, count(*), sum(a), avg(x), min(d), max(t), sum(m), avg(m) FROM input GROUP BY b",
    "SELECT count(*) AS c, c * 2 AS dd, sum(a) / count(*) AS ratio FROM input",
    "SELECT 5 AS k, count(*) FROM input GROUP BY k",
    "SELECT 5 AS k, 'x' AS c FROM input GROUP BY k, c",
    "SELECT 5 AS k, a FROM input GROUP BY k, a",
    "SELECT 5 AS k, count(*), count(DISTINCT 'x') FROM input WHERE a > 9 GROUP BY k",
    "SELECT 5 AS k, count(*) FROM input WHERE false GROUP BY k",
    "SELECT 5 AS k, count(*) FROM input WHERE false GROUP BY ALL",
    "SELECT case when x > 5 then 'hi' when x is null then 'none' else 'lo' end c, count(*), "
    "median(x), quantile_cont(x, [0.1, 0.9]), mad(x) FROM input GROUP BY c ORDER BY c",
    "SELECT struct_pack(k := b, n := count(*)) st FROM input GROUP BY b ORDER BY st",
    "SELECT {'x': sum(a)}.x AS sx, [count(*), sum(a)][1] AS y FROM input",
    'SELECT "a" AS "A b", sum(a) AS "x""y" FROM input GROUP BY "a" ORDER BY "A b"',
    "SELECT unnest(list(DISTINCT a ORDER BY a)) FROM input",
    "SELECT list_transform(list(a ORDER BY i), lambda v: v + 1) FROM input",
    "SELECT a, list_filter(list(x ORDER BY i), lambda a: a > 3) FROM input GROUP BY a ORDER BY a",
    # names: columns, aliases, qualified ones, fields of structs
    "SELECT -a AS a, count(*) FROM input GROUP BY a ORDER BY a",
    "SELECT -a AS a, count(*) FROM input GROUP BY input.a ORDER BY a + 1, 1",
    "SELECT a AS x, sum(x) FROM input GROUP BY a ORDER BY x",
    "SELECT max(x) AS a, count(*) c FROM input GROUP BY a ORDER BY a * -1",
    "SELECT sum(x) AS b, count(*) FROM input GROUP BY b HAVING b > '' ORDER BY 1",
    "SELECT i.a, i.s.g, count(*) FROM input i GROUP BY i.a, s.g ORDER BY ALL",
    "SELECT s.f, count(*) c, max(s.g) FROM input GROUP BY s.f ORDER BY 1",
    "SELECT SUM(A) AS Total, B FROM INPUT GROUP BY b ORDER BY TOTAL, B",
    # groups
    "SELECT a FROM input GROUP BY a",
    "SELECT a, b FROM input GROUP BY ALL HAVING count(*) > 0",
    "SELECT 1 AS k, first(a) AS f, grouping(k) g FROM input GROUP BY ROLLUP(k) ORDER BY g",
    "SELECT upper(b) u FROM input GROUP BY upper(b) ORDER BY lower(upper(b)) DESC NULLS FIRST",
    "SELECT a + 1, sum(a + 1), a + 1 + 1 FROM input GROUP BY a + 1 ORDER BY 1",
    "SELECT date_trunc('month', d) AS mon, count(*) FROM input GROUP BY 1 ORDER BY 1",
    "SELECT strftime(t, '%H') AS hh, count(*) FROM input GROUP BY hh ORDER BY hh",
    "SELECT j->'a' AS ja, count(*) FROM input GROUP BY ja ORDER BY ja",
    "SELECT j->>'$.a' AS ja, count(*) FROM input GROUP BY 1 ORDER BY 1",
    "SELECT h, u, n, count(*) FROM input GROUP BY ALL ORDER BY h, u, n",
    "SELECT b AS bb, count(*) FROM input GROUP BY bb ORDER BY bb COLLATE nocase",
    "SELECT b[1] q, count(*) FROM input GROUP BY b[1]",
    "SELECT count(*) FROM input GROUP BY ()",
    "SELECT count(*) FROM input GROUP BY GROUPING SETS ((), ())",
    "SELECT 2 AS p, round(sum(x)::DECIMAL(10, 4), 2) AS s FROM input GROUP BY ALL",
    "SELECT a % 3 AS g, max(x) AS x FROM input GROUP BY g HAVING x > 14 ORDER BY g",
    "SELECT b, grouping(b), count(*), avg(x) FROM input GROUP BY ROLLUP(b) ORDER BY ALL",
    "SELECT grouping(a), grouping(a, b), a, b, count(DISTINCT i) FROM input GROUP BY CUBE(a, b) "
    "ORDER BY ALL",
    "SELECT a k, count(*) FROM input GROUP BY GROUPING SETS ((a), ()) HAVING k IS NULL ORDER BY k",
    # rows: WHERE, FILTER, FROM
    "SELECT b, count(*) FROM input WHERE b LIKE 'k%' AND d BETWEEN DATE '2020-01-02' AND "
    "DATE '2020-02-01' GROUP BY b ORDER BY b",
    "SELECT a % 2 AS z, sum(x) * 2 y, y + 1 FROM input WHERE z = 1 GROUP BY z ORDER BY y + z",
    "SELECT sum(a) FILTER (a > 3 AND b = 'k1') AS s, count(*) FILTER (x IS NULL) FROM input",
    "SELECT w, count(*) FROM (SELECT unnest(l) AS w FROM input WHERE a > 2) GROUP BY w ORDER BY w",
    "SELECT w, count(*) FROM (SELECT unnest(l) FROM input) t(w) GROUP BY w ORDER BY w",
    "SELECT count(*), sum(a), max(d), list(a) FROM input WHERE false",
    "SELECT a, count(*) FROM input WHERE false GROUP BY a",
    # what comes after the groups
    "SELECT b, round(avg(x), 2) av FROM input GROUP BY b ORDER BY av DESC LIMIT 2 OFFSET 1",
    "SELECT a, sum(a) s FROM input GROUP BY a QUALIFY rank() OVER (ORDER BY sum(a) DESC) < 3 "
    "ORDER BY a",
    "SELECT b, row_number() OVER (ORDER BY count(*) DESC, b) r, lag(count(*)) OVER (ORDER BY b) "
    "FROM input GROUP BY b ORDER BY r",
    "SELECT DISTINCT ON (a % 2) a, count(*) FROM input GROUP BY a ORDER BY a % 2, a DESC",
    "SELECT DISTINCT count(*) > 3 FROM input GROUP BY a",
    "SELECT count(*) AS c, c > 1 AS big FROM input GROUP BY b HAVING big ORDER BY c, b",
    "SELECT count(*) FROM input LIMIT 0",
    # DISTINCT and ordered aggregates
    "SELECT count(DISTINCT a), sum(DISTINCT a), avg(DISTINCT x), count(DISTINCT (a, b)) FROM input",
    "SELECT string_agg(DISTINCT b, ',' ORDER BY b DESC), list(DISTINCT a ORDER BY a) FROM input",
    "SELECT a, count(DISTINCT b) FILTER (WHERE x > 3) FROM input GROUP BY a ORDER BY a",
    "SELECT a, list(x ORDER BY i DESC), string_agg(b, '-' ORDER BY x, i) FROM input GROUP BY a "
    "ORDER BY a",
    "SELECT first(x ORDER BY i DESC), last(x ORDER BY i), arg_min(b, x ORDER BY i) FROM input",
    "SELECT percentile_disc(0.3) WITHIN GROUP (ORDER BY x), percentile_cont(0.5) WITHIN GROUP "
    "(ORDER BY x DESC) FROM input",
    "SELECT b, mode(a ORDER BY a) FROM input GROUP BY b ORDER BY b",
    "SELECT count(DISTINCT 1), count(DISTINCT l), count(DISTINCT s), sum(DISTINCT x + a) AS t "
    "FROM input",
    "SELECT b, corr(DISTINCT x, i), max(DISTINCT a), first(DISTINCT i), histogram(DISTINCT a) "
    "FROM input GROUP BY b ORDER BY b",
    "SELECT b, list(DISTINCT x ORDER BY x DESC), median(DISTINCT a), count(DISTINCT x) "
    "FROM input GROUP BY ROLLUP(b) ORDER BY ALL",
    "SELECT a, b, sum(DISTINCT m) FILTER (i > 30), string_agg(DISTINCT b, '+' ORDER BY b DESC) "
    "FROM input GROUP BY GROUPING SETS ((a, b), (b), (), (b)) ORDER BY ALL",
    "SELECT list(DISTINCT b ORDER BY length(b), b) FROM input",
    # the distinct values and how often each occurs
    "SELECT mode(b), mode(a), mode(x), mode(i), histogram(a), histogram(x), entropy(a), "
    "entropy(x) FROM input",
    "SELECT b, mode(x), mode(d) FILTER (i > 100), histogram(l), entropy(s), mode(s), count(*) "
    "FROM input GROUP BY b ORDER BY b",
    "SELECT a, b, mode(x), mode(i), histogram(f), entropy(i), grouping(a), count(DISTINCT x) "
    "FROM input GROUP BY CUBE(a, b) ORDER BY ALL",
    "SELECT mode(i) FROM (SELECT a AS i FROM input WHERE a > 3)",
    # order of the input
    "SELECT b, first(x), last(x), list(i), arg_max(i, f), any_value(a), list(a ORDER BY f), "
    "grouping(b) FROM input GROUP BY ROLLUP(b) ORDER BY ALL",
    "SELECT b, first(x), last(x), any_value(x), list(i), arg_max(i, f) FROM input GROUP BY b "
    "ORDER BY b",
    "SELECT last(x), last(b) FILTER (a > 100), last(i) FROM input",
]


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_over_blocks_is_the_query_over_all_rows(query: str, table: pa.Table) -> None:
    assert_same(query, table, CUTS)


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_over_one_block_is_the_query_over_all_rows(query: str, table: pa.Table) -> None:
    assert_same(query, table, WHOLE)


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_over_no_block_is_the_query_over_no_rows(query: str, table: pa.Table) -> None:
    empty = table.slice(0, 0)
    plan = planned(query)
    found = result_of(plan, [[] for _ in plan.relations])
    expected = over_all_rows(query, empty)
    assert rows_of(found) == rows_of(expected)
    assert types_of(found) == types_of(expected)


ONE_ARGUMENT = """
    any_value arbitrary first last list array_agg min max count approx_count_distinct median
    quantile_disc:0.3 string_agg sum avg mean stddev stddev_pop variance var_pop skewness
    kurtosis kurtosis_pop sem mad fsum favg product:/100 quantile_cont:0.7 quantile:0.2 bit_and
    bit_or bit_xor bool_and bool_or count_if
""".split()
TWO_ARGUMENTS = """
    arg_max arg_min argmax argmin max_by min_by arg_max_null arg_min_null arg_max_nulls_last
    arg_min_nulls_last corr covar_pop covar_samp regr_avgx regr_avgy regr_count regr_intercept
    regr_r2 regr_slope regr_sxx regr_sxy regr_syy
""".split()


def accepted_calls(function: str) -> list[str]:
    """The calls of an aggregate over every column that DuckDB takes."""
    name, _, option = function.partition(":")
    calls = []
    for column in COLUMNS:
        if option.startswith("/"):
            calls.append(f"{name}({column}{option})")
        elif name in TWO_ARGUMENTS:
            calls.append(f"{name}({column}, i)")
        else:
            calls.append(f"{name}({column}, {option})" if option else f"{name}({column})")
    session = open_session()
    create_input(session, COLUMNS)

    def is_accepted(call: str) -> bool:
        try:
            session.execute(f"DESCRIBE SELECT {call} FROM input")
        except duckdb.Error:
            return False
        return True

    return [call for call in calls if is_accepted(call)]


@pytest.mark.parametrize("function", [*ONE_ARGUMENT, *TWO_ARGUMENTS])
def test_an_aggregate_merges_for_every_type_it_takes(function: str, table: pa.Table) -> None:
    calls = accepted_calls(function)
    if function == "regr_intercept":
        calls = ["round(regr_intercept(x, i), 6)"]  # elsewhere the rest of nearly equal numbers
    if function.startswith("product"):
        calls = ["product(x / 9)"]  # others overflow, and infinity times 0 depends on the order
    assert calls
    listed = ", ".join(f"{call} AS v{n}" for n, call in enumerate(calls))
    query = f"SELECT b, {listed} FROM input GROUP BY b ORDER BY b"
    assert_same(query, table, CUTS, parts=2, nesting=[(0, 2), (1, 2), (0, 2)])


@settings(max_examples=40, deadline=None)
@given(
    cuts=st.lists(st.integers(0, 240), max_size=8).map(lambda inner: (0, *sorted(inner), 240)),
    query=st.sampled_from([query for query in QUERIES if "WHERE false" not in query]),
    parts=st.integers(1, 5),
    nesting=st.lists(st.tuples(st.integers(0, 5), st.integers(1, 4)), max_size=4),
)
def test_no_split_changes_a_number(
    cuts: Sequence[int], query: str, parts: int, nesting: Nesting, table: pa.Table
) -> None:
    assert_same(query, table, cuts, parts, nesting)


def test_merged_lists_keep_the_order_of_the_input_with_many_groups() -> None:
    """Many groups make DuckDB partition its hash table; the order within a group must survive."""
    count = 60_000
    connection = duckdb.connect()
    rows = connection.sql(
        f"SELECT i % {count // 4} AS k, i AS v FROM range({count}) t(i) ORDER BY hash(i)"
    ).to_arrow_table()
    columns = {"k": "BIGINT", "v": "BIGINT"}
    query = "SELECT k, list(v) AS vs, first(v) AS f, last(v) AS l FROM input GROUP BY k ORDER BY k"
    plan = plan_query(query, columns)
    blocks = block_states(plan, rows, [*range(0, count, 7_000), count])
    connection.execute("SET threads = 1")
    connection.register("input", rows)
    assert rows_of(result_of(plan, blocks)) == connection.sql(query).fetchall()


@pytest.mark.parametrize("call", ["last(x)", "list(i)", "first(b)", "arg_max(i, f)", "mode(x)"])
def test_totals_of_grouping_sets_keep_the_order_of_the_input(call: str, table: pa.Table) -> None:
    """DuckDB itself computes one grouping set from another, out of the rows' order."""
    query = f"SELECT a, b, {call} AS r FROM input GROUP BY CUBE(a, b) HAVING grouping(b) = 1"
    found = {
        "all" if a is None else a: value
        for a, _, value in rows_of(over_blocks(query, table, CUTS, 3))
    }
    total = rows_of(over_all_rows(f"SELECT {call} FROM input", table))
    groups = rows_of(over_all_rows(f"SELECT a, {call} FROM input GROUP BY a", table))
    assert found == {"all": total[0][0], **dict(groups)}


def test_sums_beyond_64_bits_are_exact() -> None:
    source = duckdb.connect().sql("SELECT 9223372036854775807 AS v FROM range(1000)")
    rows = source.to_arrow_table()
    plan = plan_query("SELECT sum(v) AS s FROM input", {"v": "BIGINT"})
    blocks = block_states(plan, rows, [0, 300, 600, 900, 1000])
    assert rows_of(result_of(plan, blocks)) == [(9223372036854775807 * 1000,)]


def test_approximate_aggregates_are_named() -> None:
    plan = plan_query("SELECT approx_quantile(x, 0.5), avg(x) FROM input", COLUMNS)
    assert plan.approximate == ("approx_quantile",)


def test_an_approximate_quantile_over_blocks_stays_close(table: pa.Table) -> None:
    query = "SELECT approx_quantile(i, 0.5) AS q FROM input"
    ((found,),) = rows_of(over_blocks(query, table, CUTS))
    assert abs(found - 119.5) < 5


def test_a_failing_expression_over_the_aggregates_says_so() -> None:
    plan = plan_query("SELECT (count(*) || 'x')::INTEGER AS n FROM input", {"v": "BIGINT"})
    rows = pa.table({"v": [1]})
    with pytest.raises(TallyflowError, match="the query fails on its aggregates: .*'1x'"):
        result_of(plan, block_states(plan, rows, (0, 1)))


def test_a_failing_expression_over_the_rows_names_the_file() -> None:
    plan = plan_query("SELECT sum(v::INTEGER) AS n FROM input", {"v": "VARCHAR"})
    rows = pa.table({"v": ["one"]})
    with pytest.raises(InputError, match="a file: the query fails on its values: .*'one'"):
        block_states(plan, rows, (0, 1))
