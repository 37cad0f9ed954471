"""What a condition of a check may be, and what it is rewritten to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_jobs.checks.check_conditions import parse_condition
from beam_jobs.checks.check_metrics import Metric, Value
from beam_jobs.engine.session import open_session, quote_name
from beam_jobs.errors import QueryError
from beam_jobs.sql.syntax import duckdb_error

AGGREGATES = ("by_origin", "total")


def metrics(condition: str) -> list[str]:
    return [str(metric) for metric in parse_condition(condition, AGGREGATES).metrics]


def refusal(condition: str) -> tuple[str, int | None]:
    """What is wrong with a condition, and the text from there on."""
    with pytest.raises(QueryError) as caught:
        parse_condition(condition, AGGREGATES)
    assert caught.value.query == condition
    return caught.value.problem, caught.value.position


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("rows > 0", ["rows"]),
        ("rejects = 0 AND files >= 24", ["rejects", "files"]),
        ("missing_columns + new_columns = 0", ["missing_columns", "new_columns"]),
        ("null_fraction(dep_time) < 0.05", ["null_fraction(dep_time)"]),
        ("distinct_count(carrier) BETWEEN 5 AND 30", ["distinct_count(carrier)"]),
        ("min(dep_delay) > -max(dep_delay)", ["min(dep_delay)", "max(dep_delay)"]),
        ("quantile(x, 0.95) > 2 * quantile(x, .5)", ["quantile(x, 0.95)", "quantile(x, 0.5)"]),
        ("mean(x) IS NOT NULL", ["mean(x)"]),
        ("rows > previous(rows)", ["rows", "previous(rows)"]),
        (
            "abs(change_from_trailing_mean(rows, 7)) < 0.5",
            ["change_from_trailing_mean(rows, 7)"],
        ),
        (
            "rows BETWEEN trailing_min(rows, 7) AND trailing_max(rows, 28)",
            ["rows", "trailing_min(rows, 7)", "trailing_max(rows, 28)"],
        ),
        ("trailing_mean(null_fraction(x), 7) < 1", ["trailing_mean(null_fraction(x), 7)"]),
        ('null_fraction("a ""b"") = 1") = 0', ['null_fraction("a ""b"") = 1")']),
        ('"rows" > 0 AND ROWS > 1 AND Min(x) > 2', ["rows", "min(x)"]),
        ("rows IN (SELECT flights FROM by_origin)", ["rows"]),
        ("CASE WHEN files > 3 THEN rows > 0 ELSE true END", ["files", "rows"]),
        ("rows::INTEGER > 0 -- why", ["rows"]),
        ("(SELECT max(rows) FROM by_origin) > 0", []),
    ],
)
def test_the_metrics_of_a_condition_are_found(condition: str, expected: list[str]) -> None:
    assert sorted(metrics(condition)) == sorted(expected)


def test_the_results_that_a_condition_reads_are_found() -> None:
    text = "(SELECT sum(n) FROM BY_ORIGIN) = (WITH a AS (FROM total) SELECT max(n) FROM a)"
    condition = parse_condition(text, AGGREGATES)
    assert condition.results == ("by_origin", "total")
    assert [spelling for spelling, _ in condition.subqueries] == text.split(" = ")


@pytest.mark.parametrize(
    ("condition", "place", "words"),
    [
        ("nul_fraction(x) < 1", "nul_fraction", "did you mean null_fraction?"),
        ("row > 0", "row", "did you mean rows?"),
        ("max(name) > 'é→' AND row > 0", "row", "did you mean rows?"),
        ("files > 0 AND dep_time > 0", "dep_time", "as in null_fraction(dep_time)"),
        ("rows > 0 AND avg(x) > 0", "avg", "write mean(column)"),
        ("count(*) > 0", "count", "write rows"),
        ("sum(x) > 0", "sum", "(SELECT sum(flights) FROM by_origin)"),
        ("median(x) > 0", "median", "quantile(column, 0.5)"),
        ("null_fraction('x') < 1", "'x'", "write its name"),
        ("null_fraction(a.b) < 1", "a.b", "write its name"),
        ("null_fraction(x, 1) < 1", "null_fraction", "null_fraction(dep_delay)"),
        ("x.min() < 1", "x.min", "min(dep_delay)"),
        ("min(DISTINCT x) < 1", "min", "nothing else"),
        ("min(x) FILTER (rows > 1) < 1", "min", "nothing else"),
        ("min(x ORDER BY x) < 1", "min", "nothing else"),
        ("quantile(x) < 1", "quantile", "quantile(dep_delay, 0.95)"),
        ("quantile(x, 0.9) < 1", "0.9", "0.05, 0.25, 0.5, 0.75, 0.95"),
        ("quantile(x, -1) < 1", "-1", "0.05, 0.25, 0.5, 0.75, 0.95"),
        ("quantile(x, rows) < 1", "rows", "0.05, 0.25, 0.5, 0.75, 0.95"),
        ("trailing_mean(rows) < 1", "trailing_mean", "trailing_mean(rows, 7)"),
        ("trailing_mean(rows, 0) < 1", "0)", "1 to 366"),
        ("trailing_mean(rows, 367) < 1", "367", "1 to 366"),
        ("trailing_mean(rows, 7.5) < 1", "7.5", "1 to 366"),
        ("trailing_mean(rows, files) < 1", "files", "1 to 366"),
        ("trailing_mean(rows, n := 7) < 1", "trailing_mean", "nothing else"),
        ("trailing_mean(previous(rows), 7) < 1", "previous", "of a metric of one run"),
        ("previous(rows + 1) < 1", "+", "of a metric of one run"),
        ("previous(rows, 2) < 1", "previous", "previous(rows)"),
        ("(SELECT max(n) FROM by_orign) > 1", "by_orign", "did you mean by_origin?"),
        ("(SELECT max(n) FROM input) > 1", "input", "by_origin, total"),
        ("(SELECT previous(rows)) > 1", "previous", "outside of subqueries"),
        ("rows > 0, 1", None, "one condition"),
        ("rows > 0 AS good", None, "one condition"),
        ("rows > 0 FROM by_origin", None, "one condition"),
        ("rows > 0 LIMIT 1", None, "one condition"),
        ("DISTINCT rows > 0", None, "one condition"),
        ("rows > 0 UNION SELECT true", None, "one condition"),
        ("rows >", None, "syntax error"),
        ("rows > 0) OR (true", ")", "syntax error"),
        ("* > 0", "*", ""),
        ("COLUMNS('a') > 0", "COLUMNS", "no part of a condition"),
        ("? > 0", "?", "no part of a condition"),
        ("sum(rows) OVER () > 0", "sum", "no part of a condition"),
        ("list_filter([rows], lambda x: x > 1) = []", "lambda", "no part of a condition"),
    ],
)
def test_what_is_no_condition_is_refused_at_its_place_with_a_remedy(
    condition: str, place: str | None, words: str
) -> None:
    problem, position = refusal(condition)
    assert words in problem
    if place is not None:
        assert condition[position:].startswith(place)


@pytest.mark.parametrize(
    "condition",
    [
        "(SELECT count(*) FROM read_csv('{file}')) > 0",
        "(SELECT count(*) FROM read_text('{file}')) > 0",
        "(SELECT count(*) FROM '{file}') > 0",
        '(SELECT count(*) FROM "{file}") > 0',
        "(SELECT count(*) FROM glob('/etc/*')) > 0",
        "(SELECT count(*) FROM by_origin, '{file}') > 0",
        "(WITH a AS (FROM read_csv('{file}')) SELECT count(*) FROM a) > 0",
        "EXISTS (FROM by_origin WHERE n IN (SELECT 1 FROM read_csv('{file}')))",
        "rows IN (SELECT 1 FROM read_csv('{file}'))",
        "(SELECT count(*) FROM duckdb_settings()) > 0",
        "(SELECT count(*) FROM query('SELECT 1')) > 0",
        "(SELECT count(*) FROM (SHOW TABLES)) > 0",
        "(SELECT count(*) FROM range(1000000000000)) > 0",
        "(SELECT 1 FROM by_origin TABLESAMPLE 5) > 0",
        "(PIVOT by_origin ON n) > 0",
        "rows > 0; COPY (SELECT 1) TO '{file}'",
        "rows > 0; SELECT true",
        "true; DROP TABLE by_origin; SELECT true",
        "COPY by_origin TO '{file}'",
        "PRAGMA database_list",
        "ATTACH '{file}' AS a",
        "random() > 0.5",
        "now() > '2013-01-01'",
        "current_date > '2013-01-01'",
        "(SELECT current_timestamp FROM by_origin) IS NULL",
        "(SELECT max(random()) FROM by_origin) > 0",
        "nextval('a') > 0",
        "setseed(0.5) IS NULL",
        "sleep_ms(10000) IS NULL",
        "write_log('x') IS NULL",
        "getvariable('x') = 1",
        "current_setting('memory_limit') = ''",
        "main.random() > 0",
        "rows > 0\0",
        "-- nothing",
    ],
)
def test_a_condition_reaches_nothing_but_the_results_and_changes_nothing(
    condition: str, tmp_path: Path
) -> None:
    file = tmp_path / "secret.csv"
    refusal(condition.format(file=file))
    assert list(tmp_path.iterdir()) == []


def test_conditions_nested_without_end_are_refused() -> None:
    problem, _ = refusal("(" * 5000 + "rows" + ")" * 5000 + " + 1" * 5000 + " > 0")
    assert problem


def value_of(session: duckdb.DuckDBPyConnection, sql: str) -> object:
    """The text of an expression's value and its type; or its error, or None if a value caused it.

    Which of several parts is evaluated, and fails, is DuckDB's to decide.
    """
    try:
        session.execute(f"DESCRIBE SELECT {sql}")
    except duckdb.Error as error:
        return duckdb_error(error)["exception_type"]
    try:
        query = f"SELECT CAST(e AS VARCHAR), typeof(e) FROM (SELECT {sql})"
        return session.execute(query).fetchall()
    except duckdb.Error:
        return None


# Each value of a metric is one column of a table with one row: DuckDB's own reading of the text.
LEAVES = {
    "rows": ("rows", "842", "BIGINT"),
    "rejects": ("rejects", "0", "BIGINT"),
    "files": ("files", None, "BIGINT"),
    "null_fraction(a)": ("null_fraction_a", "0.1", "DOUBLE"),
    'min("my ""col""")': ("min_my_col", "-7", "SMALLINT"),
    "max(name)": ("max_name", "O'Hare", "VARCHAR"),
    "max(day)": ("max_day", "2013-01-31", "DATE"),
    "quantile(a, 0.95)": ("quantile_a_95", "1e300", "DOUBLE"),
    "previous(rows)": ("previous_rows", "841", "BIGINT"),
    "trailing_mean(rows, 7)": ("trailing_mean_rows", "nan", "DOUBLE"),
}
FIXED = ("0", "1", "-2.5", "NULL", "'O''Hare'", "1e3", "true", "DATE '2013-02-01'", "[1, 2]")
FORMS = (
    "{} + {}",
    "{} - {}",
    "- {}",
    "({}) * ({})",
    "{} / {}",
    "{} // {}",
    "{} % {}",
    "{} ** {}",
    "{} || {}",
    "{} > {}",
    "{} <= {}",
    "{} = {}",
    "{} <> {}",
    "{} AND {}",
    "{} OR {}",
    "NOT {}",
    "({} OR {}) AND {}",
    "{} BETWEEN {} AND {}",
    "{} NOT BETWEEN {} AND {}",
    "{} IN ({}, {})",
    "{} NOT IN ({}, {})",
    "{} IS NULL",
    "{} IS NOT DISTINCT FROM {}",
    "{}::VARCHAR",
    "CAST({} AS DOUBLE)",
    "TRY_CAST({} AS INTEGER)",
    "CASE WHEN {} THEN {} ELSE {} END",
    "CASE {} WHEN {} THEN {} END",
    "coalesce({}, {})",
    "nullif({}, {})",
    "abs({})",
    "round({}, 1)",
    "greatest({}, {})",
    "list_contains([{}, {}], {})",
    "{{'a': {}}}.a",
    "({})::VARCHAR LIKE {}",
    "length({}::VARCHAR) > {}",
    "(SELECT max(rows) FROM results WHERE n < 3) > {}",
    "{} IN (SELECT rows FROM results)",
    "EXISTS (SELECT n FROM results WHERE files > 3) = {}",
    "{} > ALL (SELECT n FROM results)",
    "({}) COLLATE NOCASE = {}",
    "{} -- a comment\n + {}",
)


def formed(parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Texts of FORMS with parts in them, each in parentheses or not."""
    either = parts | parts.map("({})".format)

    def filled(form: str) -> st.SearchStrategy[str]:
        count = form.count("{}")
        return st.lists(either, min_size=count, max_size=count).map(
            lambda found: form.format(*found)
        )

    return st.sampled_from(FORMS).flatmap(filled)


CONDITIONS = st.recursive(st.sampled_from((*LEAVES, *FIXED)), formed, max_leaves=8)


def as_columns(text: str) -> str:
    """The same text with a column in the place of each metric."""
    for metric, (column, *_) in LEAVES.items():
        if "(" in metric:
            text = text.replace(metric, column)
    return text


def literals(found: Sequence[Metric]) -> dict[Metric, str]:
    known = {text: Value(value, kind).sql for text, (_, value, kind) in LEAVES.items()}
    return {metric: known[str(metric)] for metric in found}


@pytest.fixture(scope="module")
def session() -> duckdb.DuckDBPyConnection:
    """A table of one row with the metrics, and a result whose columns are named as they are."""
    connection = open_session()
    columns = ", ".join(
        f"{Value(value, kind).sql} AS {quote_name(column)}"
        for column, value, kind in LEAVES.values()
    )
    connection.execute(f"CREATE TABLE metrics AS SELECT {columns}")
    connection.execute(
        "CREATE TABLE results AS FROM (VALUES (1, 10, 2), (2, 842, 4)) t(n, rows, files)"
    )
    return connection


@given(CONDITIONS)
@settings(max_examples=400, deadline=None)
def test_replacing_metrics_by_values_changes_the_meaning_of_nothing_else(
    session: duckdb.DuckDBPyConnection, text: str
) -> None:
    of_columns = f"({as_columns(text)}\n) AS e FROM metrics"
    try:
        condition = parse_condition(text, ["results"])
    except QueryError:
        # Some of them are not SQL, as comparisons of comparisons.
        with pytest.raises(duckdb.ParserException):
            session.execute(f"SELECT {of_columns}")
        return
    rewritten = condition.sql(literals(condition.metrics))
    found, expected = value_of(session, f"({rewritten}) AS e"), value_of(session, of_columns)
    # Constants are compared where columns of the same types need a cast.
    assert found == expected or None in (found, expected) or expected == "Binder", rewritten
