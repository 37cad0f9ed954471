"""What is not an aggregate query over `input` is refused before anything runs, with its place."""

from __future__ import annotations

import pytest

from beam_jobs.errors import QueryError, UsageError
from beam_jobs.sql import parse_query, plan_query

COLUMNS = {"a": "INTEGER", "b": "VARCHAR", "x": "DOUBLE", "s": "STRUCT(f INTEGER)"}
LOOKUPS = {"airports": {"c": "INTEGER", "d": "VARCHAR"}}

# query, the part that the error points at (None: none), a piece of the message
REFUSED = [
    # syntax
    ("SELEC 1", "SELEC", "syntax error"),
    ("", None, "is empty"),
    ("  -- nothing\n", None, "is empty"),
    ("SELECT count(*) FROM input; DROP TABLE input", "DROP", "only one statement"),
    # no aggregate
    ("SELECT a FROM input", "SELECT", "not an aggregate"),
    ("SELECT DISTINCT a FROM input", "SELECT", "not an aggregate"),
    ("SELECT sum(x) OVER () FROM input", "SELECT", "not an aggregate"),
    ("SELECT 5 AS k, 'x' AS c FROM input GROUP BY ALL", "SELECT", "not an aggregate"),
    ("SELECT * FROM input", "*", "name the columns"),
    ("SELECT count(*), max(COLUMNS('a')) FROM input", "COLUMNS", "name the columns"),
    # reads or writes something else
    ("COPY (SELECT 1) TO 'x'", "COPY", "only SELECT"),
    ("CREATE TABLE t AS SELECT 1", "CREATE", "only SELECT"),
    ("ATTACH 'x.db'", "ATTACH", "only SELECT"),
    ("SET threads = 4", "SET", "only SELECT"),
    ("PRAGMA version", "PRAGMA", "only SELECT"),
    ("INSTALL httpfs", "INSTALL", "only SELECT"),
    ("SELECT count(*) FROM read_csv('/etc/passwd')", "read_csv", "table functions"),
    ("SELECT count(*) FROM read_text('/etc/passwd')", "read_text", "table functions"),
    ("SELECT count(*) FROM glob('*')", "glob", "table functions"),
    ("SELECT count(*) FROM query('select 1')", "query", "table functions"),
    ("SELECT count(*) FROM duckdb_settings()", "duckdb_settings", "table functions"),
    ("SELECT count(*) FROM 'x.csv'", "'x.csv'", "there is no table 'x.csv'"),
    ("SELECT count(*) FROM inputs", "inputs", "did you mean input?"),
    ("SELECT count(*) FROM main.input", "main.input", "there is no table 'main.input'"),
    ("SELECT count(*) FROM sqlite_master", "sqlite_master", "there is no table"),
    ("SELECT count(*)", None, "has no FROM"),
    ("SELECT count(*) FROM input a JOIN input b ON a.a = b.a", "input b", "with itself"),
    ("SELECT count(*) FROM input, (SELECT 1)", None, "has no FROM"),
    ("SELECT count(*) FROM input JOIN airport USING (a)", "airport", "did you mean airports?"),
    ("SELECT count(*) FROM airports", "airports", "join it to input"),
    ("SELECT count(*) FROM (FROM airports)", "airports", "join it to input"),
    ("SELECT count(*) FROM airports x, airports y", "airports x", "one of them must be input"),
    ("SELECT count(*) FROM input RIGHT JOIN airports USING (a)", "airports", "RIGHT JOIN"),
    ("SELECT count(*) FROM airports RIGHT JOIN input USING (a)", "input", "RIGHT JOIN"),
    ("SELECT count(*) FROM input FULL JOIN airports USING (a)", "airports", "FULL JOIN"),
    ("SELECT count(*) FROM airports LEFT JOIN input USING (a)", "input", "on the left of a LEFT"),
    ("SELECT count(*) FROM airports ANTI JOIN input USING (a)", "input", "on the left of an ANTI"),
    ("SELECT count(*) FROM input NATURAL JOIN airports", "airports", "NATURAL joins"),
    ("SELECT count(*) FROM input ASOF JOIN airports ON a > c", "airports", "ASOF joins"),
    ("SELECT count(*) FROM input POSITIONAL JOIN airports", "airports", "POSITIONAL joins"),
    (
        "SELECT count(*) FROM (SELECT x FROM input JOIN airports USING (a))",
        "input",
        "join in the outer FROM",
    ),
    ("SELECT count(*) FROM (SELECT * FROM read_csv('x'))", "read_csv", "table functions"),
    ("SELECT count(*) FROM (VALUES (1)) t", None, "reads no table"),
    ("SUMMARIZE input", None, "reads no table"),
    ("DESCRIBE input", None, "reads no table"),
    # whose value for a block depends on more than its rows
    ("SELECT count(*) FROM (SELECT count(*) FROM input)", "(", "may only filter and compute"),
    ("SELECT count(*) FROM (SELECT DISTINCT a FROM input)", "(", "may only filter and compute"),
    ("SELECT count(*) FROM (FROM input LIMIT 3)", "(", "may only filter and compute"),
    (
        "SELECT count(*) FROM (SELECT rank() OVER () r FROM input)",
        "(",
        "may only filter and compute",
    ),
    ("SELECT (SELECT 1), count(*) FROM input", "(SELECT 1)", "subqueries"),
    ("SELECT count(*) FROM input WHERE a IN (SELECT 1)", "(SELECT 1)", "subqueries"),
    ("SELECT count(*) FROM input UNION SELECT 1", None, "UNION"),
    ("WITH q AS (FROM input) SELECT count(*) FROM q", None, "WITH is not supported"),
    ("SELECT count(*) FROM input TABLESAMPLE 10%", "input", "TABLESAMPLE"),
    ("SELECT count(*) FROM input USING SAMPLE 3", None, "SAMPLE"),
    ("SELECT random(), count(*) FROM input GROUP BY 1", "random", "another value for every block"),
    ("SELECT count(*) FROM input WHERE now() > NULL", "now", "another value for every block"),
    ("SELECT ago(INTERVAL 1 DAY), count(*) FROM input", "ago", "another value for every block"),
    ("SELECT nextval('q'), count(*) FROM input", "nextval", "another value for every block"),
    ("SELECT count(*) FROM input WHERE a = $1", "$1", "parameters"),
    # aggregates without a state that merges
    ("SELECT histogram_exact(a, [1]) FROM input", "histogram_exact", "instead: histogram(x)"),
    ("SELECT histogram(a, [1, 2]) FROM input", "histogram", "GROUP BY the bin"),
    ("SELECT mode(DISTINCT a) FROM input", "mode", "leave DISTINCT out"),
    ("SELECT max(DISTINCT a, 2) FROM input", "max", "n largest"),
    ("SELECT count(*) FROM (SELECT b COLLATE nocase AS c FROM input)", "b", "lower("),
    ("SELECT approx_top_k(a, 3) FROM input", "approx_top_k", "LIMIT k is exact"),
    ("SELECT reservoir_quantile(a, 0.5) FROM input", "reservoir_quantile", "approx_quantile"),
    ("SELECT max(a, 2) FROM input", "max", "n largest"),
    ("SELECT arg_max(a, x, 3) FROM input", "arg_max", "of n rows"),
    ("SELECT " + "abs(" * 2000 + "count(*)" + ")" * 2000 + " FROM input", None, "depth"),
    ("SELECT " + "+".join(["count(*)"] * 900) + " FROM input", None, "nested too deeply"),
    ("SELECT count(*) FROM input\0", "\0", "NUL"),
    ("SELECT '\udcff', count(*) FROM input", "\udcff", "not valid UTF-8"),
    ("SELECT count(*) FROM input HAVING min(x, 3) IS NULL", "min", "n largest"),
    ("SELECT geomean(x) FROM input", "geomean", "stands for exp(avg(ln(x)))"),
    ("SELECT sum(x) EXPORT_STATE FROM input", "sum", "EXPORT_STATE"),
    ("SELECT b.upper(), count(*) FROM input GROUP BY ALL", "b.upper", "first argument inside"),
]

BOUND = [
    ("SELECT rowid, count(*) FROM input GROUP BY 1", "rowid", "no column of the input"),
    ("SELECT current_date, count(*) FROM input", "current_date", "no column of the input"),
    ("SELECT sum(nope) FROM input", "nope", "not found"),
    ("SELECT a, count(*) FROM input", "a", "GROUP BY"),
    ("SELECT a + count(*) FROM input GROUP BY b", "a", "GROUP BY"),
    ("SELECT sum(b) FROM input", "sum", "No function matches"),
    ("SELECT nosuch(a), count(*) FROM input", "nosuch", "does not exist"),
    ("SELECT count(*) FROM input WHERE sum(a) > 1", "sum", "WHERE"),
    ("SELECT count(*) FROM input GROUP BY 7", None, "out of range"),
    ("SELECT b COLLATE nocase AS k, count(*) FROM input GROUP BY k", "b", "COLLATE"),
    ("SELECT count(DISTINCT b COLLATE nocase) FROM input", "b", "COLLATE"),
    ("SELECT a, count(*) FROM input GROUP BY ROLLUP(a, input.a)", "a", "under two names"),
    ("SELECT max(a) FROM input JOIN airports USING (a)", None, "not exist on right"),
    ("SELECT max(c), max(d) FROM input JOIN airports x ON input.a = y.c", "y", "not found"),
    (
        "SELECT max(c) FROM input JOIN airports ON x > epoch(current_date)",
        "current_date",
        "no column",
    ),
    ("SELECT count(*), count(*) FROM input", "SELECT", "rename one with AS"),
    (
        "SELECT max(t) FROM (SELECT current_timestamp AS t FROM input)",
        "current_timestamp",
        "no column",
    ),
    (
        "SELECT count(*) FROM (FROM input WHERE x < epoch(current_date))",
        "current_date",
        "no column",
    ),
    ("SELECT max(r) FROM (SELECT rowid AS r FROM input)", "rowid", "no column"),
    ("SELECT count(*) AS c, max(a) AS C FROM input", "SELECT", "rename one with AS"),
    ("SELECT 'é' || sum(nope) FROM input", "nope", "not found"),
]


@pytest.mark.parametrize(("query", "part", "message"), REFUSED)
def test_it_is_refused_without_knowing_the_columns(
    query: str, part: str | None, message: str
) -> None:
    with pytest.raises(QueryError, match="query") as caught:
        parse_query(query, ["airports"])
    assert message in caught.value.problem
    assert_points_at(caught.value, query, part)


@pytest.mark.parametrize(("query", "part", "message"), [*REFUSED, *BOUND])
def test_it_is_refused_over_known_columns(query: str, part: str | None, message: str) -> None:
    with pytest.raises(QueryError, match="query") as caught:
        plan_query(query, COLUMNS, LOOKUPS)
    assert message in caught.value.problem
    assert_points_at(caught.value, query, part)


def assert_points_at(error: QueryError, query: str, part: str | None) -> None:
    if part is None:
        assert error.position in (None, 0)
    else:
        assert error.position is not None
        assert query[error.position :].startswith(part), query[error.position :]


def test_the_message_shows_the_line_and_a_caret() -> None:
    query = "SELECT b,\n       sum(nope) AS s\nFROM input GROUP BY b"
    with pytest.raises(QueryError) as caught:
        plan_query(query, COLUMNS)
    message, line, caret = str(caught.value).splitlines()
    assert message.startswith('query, line 2, column 12: Referenced column "nope" not found')
    assert line[caret.index("^") :] == "nope) AS s"


@pytest.mark.parametrize("kind", ["INTEGR", "INT, 1 b", "INT) FROM x; --", ""])
def test_an_unknown_type_is_refused_by_its_column(kind: str) -> None:
    with pytest.raises(UsageError, match="column a: .* is not a type of DuckDB"):
        plan_query("SELECT count(*) FROM input", {"a": kind})
