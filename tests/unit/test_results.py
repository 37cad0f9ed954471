"""Results keep their types and values in every format, and the same result gives the same bytes."""

from __future__ import annotations

import csv
import datetime
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from beam_jobs.engine.reports import Reject
from beam_jobs.engine.results import check_result_ending, print_table, write_rejects, write_result
from beam_jobs.engine.session import open_session
from beam_jobs.errors import TallyflowError, UsageError

_QUERY = """
SELECT * FROM (VALUES
  (12345678901234567890123456789::HUGEINT, 9007199254740993, 1.50::DECIMAL(5,2), 0.1::DOUBLE,
   0.1::FLOAT, true, DATE '2013-01-01', TIMESTAMP '2013-01-01 10:00:00.5',
   TIMESTAMPTZ '2013-01-01 10:00:00+02', 'a,"b"\n', '', [1, NULL], {'x': 1, 'y z': 'é'}),
  (NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)
) AS t(wide, big, money, double, float, flag, day, moment, instant, text, empty, list, struct)
"""


def written(query: str, path: Path) -> Path:
    """Write the result of a query."""
    session = open_session(str(path.parent))
    session.execute(f"CREATE VIEW result AS {query}")
    write_result(session, str(path))
    return path


def test_parquet_keeps_every_type_and_value(tmp_path: Path) -> None:
    path = written(_QUERY, tmp_path / "r.parquet")
    session = duckdb.connect(":memory:")
    session.execute("SET TimeZone = 'UTC'")
    found = session.sql(f"FROM '{path}'")
    expected = session.sql(_QUERY)
    kinds = [str(kind) for kind in expected.types]
    kinds[0] = "DECIMAL(38,0)"  # Parquet's only exact type of that width
    assert [str(kind) for kind in found.types] == kinds
    assert found.columns == expected.columns
    assert found.fetchall() == expected.fetchall()


def test_wide_integers_are_exact_in_parquet_however_deep(tmp_path: Path) -> None:
    path = written(
        "SELECT [12345678901234567890123456789::HUGEINT] AS l, {'q': 7::UHUGEINT} AS s",
        tmp_path / "r.parquet",
    )
    assert duckdb.from_parquet(str(path)).fetchall() == [
        ([Decimal(12345678901234567890123456789)], {"q": Decimal(7)})
    ]


def test_an_integer_that_parquet_cannot_hold_is_an_error_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(TallyflowError, match="more than 38 digits.*write CSV or JSON lines"):
        written("SELECT 170141183460469231731687303715884105727 AS n", tmp_path / "r.parquet")


def test_csv_tells_null_from_the_empty_text_and_keeps_every_digit(tmp_path: Path) -> None:
    path = written(_QUERY, tmp_path / "r.csv")
    header, first, second = csv.reader(path.open(newline="", encoding="utf-8"))
    assert header[0] == "wide"
    assert first[:11] == [
        "12345678901234567890123456789",
        "9007199254740993",
        "1.50",
        "0.1",
        "0.1",
        "true",
        "2013-01-01",
        "2013-01-01 10:00:00.5",
        "2013-01-01 08:00:00+00",
        'a,"b"\n',
        "",
    ]
    assert second == [""] * 13
    assert ',"",' in path.read_text(encoding="utf-8").splitlines()[2]


def test_json_lines_are_json_with_every_digit(tmp_path: Path) -> None:
    path = written(_QUERY, tmp_path / "r.jsonl")
    first, second = (
        json.loads(line, parse_float=Decimal)
        for line in path.read_text(encoding="utf-8").splitlines()
    )
    assert first == {
        "wide": 12345678901234567890123456789,
        "big": 9007199254740993,
        "money": Decimal("1.5"),
        "double": Decimal("0.1"),
        "float": Decimal("0.1"),
        "flag": True,
        "day": "2013-01-01",
        "moment": "2013-01-01 10:00:00.5",
        "instant": "2013-01-01 08:00:00+00",
        "text": 'a,"b"\n',
        "empty": "",
        "list": [1, None],
        "struct": {"x": 1, "y z": "é"},
    }
    assert list(second.values()) == [None] * 13


def test_what_json_has_no_number_for_is_a_string_however_deep(tmp_path: Path) -> None:
    path = written(
        """SELECT 'nan'::DOUBLE AS d, '-inf'::FLOAT AS f, ['inf'::DOUBLE, 1, NULL] AS l,
        {'a': {'b c': ['nan'::FLOAT]}} AS s, MAP {'k': 'nan'::DOUBLE} AS m, [['inf'::DOUBLE]] AS ll,
        NULL::DOUBLE AS n, NULL::STRUCT(x DOUBLE) AS ns, NULL::DOUBLE[] AS nl, 1e300 AS big""",
        tmp_path / "r.jsonl",
    )

    def refuse(constant: str) -> Any:
        raise AssertionError(constant)

    assert json.loads(path.read_text(), parse_constant=refuse) == {
        "d": "NaN",
        "f": "-Infinity",
        "l": ["Infinity", 1, None],
        "s": {"a": {"b c": ["NaN"]}},
        "m": {"k": "NaN"},
        "ll": [["Infinity"]],
        "n": None,
        "ns": None,
        "nl": None,
        "big": 1e300,
    }


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_the_same_result_gives_the_same_bytes(tmp_path: Path, ending: str) -> None:
    query = "SELECT n, n % 7 AS m, 'x' || n AS t FROM range(50_000) r(n)"
    one, two = (written(query, tmp_path / f"{name}{ending}") for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_an_empty_result_is_a_file_with_its_columns(tmp_path: Path, ending: str) -> None:
    path = written("SELECT 1 AS a, DATE '2013-01-01' AS b WHERE false", tmp_path / f"r{ending}")
    if ending == ".csv":
        assert path.read_text() == "a,b\n"
    elif ending == ".jsonl":
        assert path.read_text() == ""
    else:
        assert duckdb.from_parquet(str(path)).columns == ["a", "b"]


def test_odd_names_of_columns_and_files_are_kept(tmp_path: Path) -> None:
    name = 'it\'s "odd", é'
    path = written(f'SELECT 1 AS "{name.replace(chr(34), chr(34) * 2)}"', tmp_path / "it's [1].csv")
    assert next(csv.reader(path.open(encoding="utf-8"))) == [name]


@pytest.mark.parametrize("path", ["r", "r.txt", "r.json", "gs://b/r.csv.gz", ".csv"])
def test_an_ending_that_names_no_format_is_refused(path: str) -> None:
    with pytest.raises(UsageError, match=r"must be one of \.csv, \.jsonl, \.parquet"):
        check_result_ending(path)


@pytest.mark.parametrize("path", ["r.csv", "a b/r.jsonl", "gs://bucket/r.parquet"])
def test_an_ending_of_a_format_is_taken(path: str) -> None:
    check_result_ending(path)


def test_rejects_are_json_lines_in_order_of_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "rejects.jsonl"
    rejects = [
        Reject("b.csv", 2, "é", "why"),
        Reject("a.csv", 10, "\ufffd", "why", 3),
        Reject("a.csv", 9, '"\n', "why"),
    ]
    write_rejects(rejects, str(path))
    found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [(one["file"], one["line"], one["text"], one["lines"]) for one in found] == [
        ("a.csv", 9, '"\n', 1),
        ("a.csv", 10, "\ufffd", 3),
        ("b.csv", 2, "é", 1),
    ]


def test_a_result_is_printed_as_a_table(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = written("SELECT 'EWR' AS origin, NULL::INT AS delay", tmp_path / "r.parquet")
    print_table(str(path))
    printed = capfd.readouterr().out
    assert "origin" in printed
    assert "EWR" in printed
    assert "NULL" in printed


def test_days_before_the_calendar_are_kept(tmp_path: Path) -> None:
    path = written("SELECT DATE '0001-01-01' AS day", tmp_path / "r.parquet")
    assert duckdb.from_parquet(str(path)).fetchall() == [(datetime.date(1, 1, 1),)]
