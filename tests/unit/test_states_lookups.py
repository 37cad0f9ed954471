"""Lookup tables are joined block by block, and only the columns that a query names are read."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from beam_jobs.engine import states
from beam_jobs.engine.session import open_session
from beam_jobs.errors import UsageError
from beam_jobs.sql import plan_query

COLUMNS = {
    "i": "INTEGER",
    "k": "VARCHAR",
    "x": "DOUBLE",
    "s": "STRUCT(k INTEGER, m VARCHAR)",
    "l": "INTEGER[]",
    "Day Of": "DATE",
    "filename": "VARCHAR",
}
LOOKUPS = {
    "airports": {"code": "VARCHAR", "name": "VARCHAR", "lo": "DOUBLE", "hi": "DOUBLE"},
    "Cities": {"k": "VARCHAR", "city": "VARCHAR"},
    "unused": {"k": "VARCHAR"},
}
ROWS = """
    SELECT i::INTEGER AS i, CASE WHEN i % 9 > 0 THEN 'k' || i % 5 END AS k, i / 7.0 AS x,
           {'k': (i % 3)::INTEGER, 'm': 'm' || i % 2} AS s, [i % 3, 5]::INTEGER[] AS l,
           DATE '2020-01-01' + (i % 4)::INTEGER AS "Day Of", 'f' || i // 30 AS filename
    FROM range(90) r(i)"""
TABLES = {
    "airports": "VALUES ('k1', 'one', 0, 5), ('k2', 'two', 3, 9), ('k2', 'also', 8, 8.5), "
    "('k9', 'nine', 0, 1)",
    "Cities": "VALUES ('k0', 'Rome'), ('k1', 'Oslo'), (NULL, 'Nowhere')",
}
CUTS = (0, 1, 40, 41, 90)


def connect() -> duckdb.DuckDBPyConnection:
    session = open_session()
    for name, rows in TABLES.items():
        kinds = ", ".join(f"{column} {kind}" for column, kind in LOOKUPS[name].items())
        session.execute(f"CREATE TABLE {name}({kinds})")
        session.execute(f"INSERT INTO {name} {rows}")
    return session


def over_blocks(query: str, read: Sequence[str] | None = None) -> list[tuple[Any, ...]]:
    plan = plan_query(query, COLUMNS, LOOKUPS)
    rows = source().select(list(read or plan.used or ["i"]))
    session = connect()
    relations = []
    for number in range(len(plan.relations)):
        found = []
        for position, begin in enumerate(CUTS[:-1]):
            session.register(
                "input", rows.slice(begin, CUTS[position + 1] - begin).combine_chunks()
            )
            found.append(states.partial_states(session, plan, number, "a file", position))
        relations.append([states.combine(plan, number, found)])
    with states.finalized(plan, relations) as final:
        return final.execute("FROM result").fetchall()


def over_all_rows(query: str) -> list[tuple[Any, ...]]:
    session = connect()
    session.register("input", source())
    return session.execute(query).fetchall()


def source() -> pa.Table:
    rows: pa.Table = open_session().sql(ROWS).to_arrow_table()
    return rows


def same(left: Any, right: Any) -> bool:
    """Equal, floating-point numbers to 1e-9."""
    if isinstance(left, float) and isinstance(right, float):
        return math.isclose(left, right, rel_tol=1e-9)
    if isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)


JOINS = [
    "SELECT name, count(*), sum(x) s FROM input JOIN airports ON k = code GROUP BY name ORDER BY 1",
    "SELECT a.name, count(*) FROM input AS f LEFT JOIN airports AS a ON f.k = a.code GROUP BY ALL "
    "ORDER BY ALL",
    "SELECT city, max(i), count(DISTINCT x) FROM input JOIN Cities USING (k) GROUP BY city "
    "ORDER BY 1",
    "SELECT k, city, count(*) FROM input LEFT JOIN cities USING (k) GROUP BY k, city ORDER BY 1, 2",
    "SELECT city, name, count(*) c FROM input LEFT JOIN cities USING (k) JOIN airports a "
    "ON a.code = input.k AND x > lo GROUP BY ALL ORDER BY ALL",
    "SELECT count(*), sum(i) FROM input SEMI JOIN airports ON k = code",
    "SELECT first(i), list(i), mode(k) FROM input SEMI JOIN airports ON k = code",
    "SELECT list(i) FROM input ANTI JOIN cities USING (k)",
    "SELECT count(*), sum(i) FROM input ANTI JOIN cities USING (k)",
    "SELECT count(*), sum(i) FROM input CROSS JOIN cities",
    "SELECT city, count(*) FROM input, cities WHERE input.k = cities.k GROUP BY city ORDER BY 1",
    "SELECT city, count(*) FROM cities JOIN input USING (k) GROUP BY city ORDER BY city",
    "SELECT w, city, count(*) FROM (SELECT unnest(l) AS w, k FROM input WHERE i > 9) t "
    "JOIN cities c ON c.k = t.k GROUP BY w, city ORDER BY 1, 2",
    "SELECT name, count(*) FROM (FROM input) JOIN airports ON k = code GROUP BY name ORDER BY 1",
    "SELECT a.name, b.name AS other, count(*) FROM input JOIN airports a ON k = a.code "
    "JOIN airports b ON x BETWEEN b.lo AND b.hi GROUP BY ALL ORDER BY ALL",
    "SELECT input.k AS kk, name, list(i ORDER BY i), min(x), mode(name), mode(i) "
    "FROM input LEFT JOIN airports ON k = code GROUP BY input.k, name ORDER BY ALL",
    "SELECT a.name, cities.city, s.m, count(*) FROM input JOIN airports a ON a.code = input.k "
    "LEFT JOIN (cities JOIN airports b ON true) ON cities.k = input.k GROUP BY ALL ORDER BY ALL",
    "SELECT city, count(*) FROM input JOIN cities USING (k) WHERE false GROUP BY city",
    "SELECT city, count(*), mode(x) FROM input JOIN cities USING (k) GROUP BY ROLLUP(city) "
    "ORDER BY ALL",
]


@pytest.mark.parametrize("query", JOINS)
def test_a_join_over_blocks_is_the_join_over_all_rows(query: str) -> None:
    assert same(over_blocks(query), over_all_rows(query))


@pytest.mark.parametrize(
    "condition", ["k = code", "x BETWEEN lo AND hi", "x > lo", "code <> k OR k IS NULL"]
)
def test_rows_of_a_join_come_in_the_order_of_the_input(condition: str) -> None:
    """However DuckDB joins: it may build on either side, or sort both."""
    source = f"FROM input JOIN airports ON {condition}"
    ((found, last, first, mode),) = over_blocks(
        f"SELECT list(i), last(i), first(i), mode(i + 1) {source}"
    )
    assert found == sorted(found)
    assert (first, last) == (found[0], found[-1])
    assert mode == statistics.mode(found) + 1
    # Matches of one row come in the order of the lookup table.
    order = "i, list_position(['one', 'two', 'also', 'nine'], name)"
    as_is = "list(name), list_sum(list_transform(list(i), lambda x: x + 1)), list(s.k)"
    ordered = as_is.replace("(name)", f"(name ORDER BY {order})")
    assert over_blocks(f"SELECT {as_is} {source}") == over_blocks(f"SELECT {ordered} {source}")


def test_a_plan_names_the_lookups_it_joins() -> None:
    plan = plan_query("SELECT count(*) FROM input JOIN CITIES USING (k)", COLUMNS, LOOKUPS)
    assert list(plan.lookups) == ["Cities"]
    assert plan.used == ("k",)


@pytest.mark.parametrize("name", ["STATES0", "aggregated", "result", "_sets"])
def test_a_lookup_table_cannot_have_a_name_of_our_own(name: str) -> None:
    query = f"SELECT count(*) FROM input i JOIN {name} x ON true"
    with pytest.raises(UsageError, match="cannot have this name"):
        plan_query(query, COLUMNS, {name: {"k": "VARCHAR"}})


def test_an_unknown_type_of_a_lookup_is_refused_by_table_and_column() -> None:
    with pytest.raises(UsageError, match="t: column k: 'NOPE' is not a type"):
        plan_query("SELECT count(*) FROM input JOIN t USING (k)", COLUMNS, {"t": {"k": "NOPE"}})


# query, the columns of the input that it reads
USED = [
    ("SELECT count(*) FROM input", []),
    ("SELECT K, sum(X) FROM INPUT GROUP BY k", ["k", "x"]),
    ("SELECT max(i) AS x FROM input", ["i"]),
    ("SELECT max(i) AS m FROM input HAVING m > 3 ORDER BY m", ["i"]),
    ("SELECT max(i) AS x FROM input GROUP BY k ORDER BY x", ["i", "k"]),
    ("SELECT sum(i) FILTER (x > 1) FROM input WHERE filename = 'f1'", ["i", "x", "filename"]),
    ('SELECT "day of" AS d, count(*) FROM input GROUP BY d', ["Day Of"]),
    ("SELECT s.m, count(*) FROM input GROUP BY 1", ["s"]),
    ("SELECT input.s.m, count(*) FROM input GROUP BY 1", ["s"]),
    ("SELECT max(list_sum(list_transform(l, lambda x: x + 1))) FROM input", ["x", "l"]),
    ("SELECT list(i ORDER BY x) FROM input", ["i", "x"]),
    ("SELECT count(DISTINCT k), mode(i) FROM input", ["i", "k"]),
    (
        "SELECT w, count(*) FROM (SELECT unnest(l) AS w FROM input WHERE i > 3) GROUP BY w",
        ["i", "l"],
    ),
    ("SELECT sum(i) FROM (FROM input WHERE x > 3)", ["i", "x"]),
    ("SELECT sum(i) FROM (SELECT *, x + 1 AS y FROM input)", ["i", "x"]),
    ("SELECT sum(i) FROM (SELECT * EXCLUDE (x) FROM input)", list(COLUMNS)),
    ("SELECT sum(i) FROM (SELECT COLUMNS('i|x') FROM input)", list(COLUMNS)),
    ("SELECT sum(a) FROM input t(a)", list(COLUMNS)),
    ("SELECT city, count(*) FROM input JOIN cities USING (k) GROUP BY city", ["k"]),
    ("SELECT count(*) FROM input JOIN airports ON x > lo", ["x"]),
]


@pytest.mark.parametrize(("query", "columns"), USED)
def test_the_columns_that_a_query_reads(query: str, columns: list[str]) -> None:
    assert list(plan_query(query, COLUMNS, LOOKUPS).used) == columns


@pytest.mark.parametrize("query", [query for query, _ in USED])
def test_the_other_columns_do_not_matter(query: str) -> None:
    found = over_blocks(query)
    assert found == over_blocks(query, list(COLUMNS))
    assert same(sorted(found, key=str), sorted(over_all_rows(query), key=str))
