"""Conditions that do not fit a dataset's columns and results are refused before any run."""

from __future__ import annotations

from pathlib import Path

import pytest

from beam_jobs.check_datasets import main
from beam_jobs.checks.check_conditions import parse_condition
from beam_jobs.checks.check_types import check_types
from beam_jobs.errors import QueryError

COLUMNS = {
    "dep_time": "SMALLINT",
    "carrier": "VARCHAR",
    "my day": "DATE",
    "place": "STRUCT(x INTEGER)",
    "kind": "ENUM('b', 'a')",
}
RESULTS = {"by_origin": {"origin": "VARCHAR", "flights": "BIGINT"}}
HEAD = """\
description: Flights
owner: data-platform
start_date: 2013-01-01
pattern: flights/date={date}/*.csv
aggregates:
  by_origin: SELECT origin, count(*) AS flights FROM input GROUP BY origin
"""


def check(condition: str, columns: dict[str, str] | None, *, has_profile: bool = True) -> None:
    parsed = parse_condition(condition, ["by_origin", "joined"])
    check_types(parsed, columns, RESULTS, has_profile=has_profile)


@pytest.mark.parametrize(
    "condition",
    [
        "rows > 0",
        "null_fraction(DEP_TIME) < 0.5 AND null_fraction(place) = 0",
        "max(\"my day\") >= DATE '2013-01-01'",
        "min(carrier) > 'A' AND min(kind) = 'a'",
        "quantile(dep_time, 0.95) - mean(dep_time) < 100",
        "distinct_count(carrier) BETWEEN 5 AND 30",
        'previous(max("my day")) < max("my day")',
        "trailing_mean(max(dep_time), 7) > 0",
        "(SELECT sum(flights) FROM by_origin) = rows",
        # What columns it has is not known before a run, as that of a lookup table.
        "(SELECT sum(anything) FROM joined) = rows",
    ],
)
def test_a_condition_that_fits_is_good(condition: str) -> None:
    check(condition, COLUMNS)


@pytest.mark.parametrize(
    ("condition", "place", "words"),
    [
        ("rows > 0 OR null_fraction(dep_tim) < 1", "null_f", "did you mean dep_time?"),
        ("mean(x) < 1", "mean", "the columns are dep_time, carrier"),
        ("previous(max(x)) < 1", "previous", "no column 'x'"),
        ("rows > 1 AND mean(carrier) > 1", "mean", "no mean of that type"),
        ("quantile(carrier, 0.5) > 1", "quantile", "carrier is VARCHAR"),
        ("min(place) IS NULL", "min", "place is STRUCT"),
        ("trailing_mean(min(carrier), 7) > 1", "trailing", "is of numbers"),
        ('change_from_trailing_mean(max("my day"), 7) > 1', "change", "is of numbers"),
        ('max("my day") > 5', None, "Cannot compare"),
        ("rows", None, "is of type BIGINT, and neither true nor false"),
        ("(SELECT flights > 0, 1 FROM by_origin)", None, "returns 2 columns"),
        ("(SELECT sum(fights) FROM by_origin) = rows", "fights", '"flights"'),
        ("NOT EXISTS (FROM by_origin WHERE flights > rows)", "rows", "outside of subqueries"),
        ("frobnicate(rows) > 0", None, "frobnicate"),
    ],
)
def test_a_condition_that_does_not_fit_is_refused_at_its_place(
    condition: str, place: str | None, words: str
) -> None:
    with pytest.raises(QueryError) as caught:
        check(condition, COLUMNS)
    assert words in caught.value.problem
    if place is not None:
        assert condition[caught.value.position :].startswith(place)


def test_columns_that_are_not_declared_may_be_of_any_name_and_type() -> None:
    check("min(anything) > 'x' AND mean(something) < 5 AND max(flag)", None)


@pytest.mark.parametrize("metric", ["null_fraction(dep_time)", "previous(max(dep_time))"])
def test_a_metric_of_the_profile_is_refused_where_there_is_none(metric: str) -> None:
    with pytest.raises(QueryError, match="profile: false"):
        check(f"rows > 0 AND {metric} < 1", COLUMNS, has_profile=False)


def checked(folder: Path, text: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    path = folder / "flights.yaml"
    path.write_text(HEAD + text, encoding="utf-8")
    status = main([str(path)])
    output, problems = capsys.readouterr()
    assert status == (2 if problems else 0), output
    return problems.replace(f"{folder}/", "").splitlines()


def test_all_mistakes_of_checks_are_found_with_file_line_and_field(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    problems = checked(
        tmp_path,
        "columns: {origin: VARCHAR}\n"
        "checks:\n"
        "  has_rows: row > 0\n"
        "  filled:\n"
        "    severity: warn\n"
        "    condition: |\n"
        "      rows = 0 OR\n"
        "        null_fraction(orign) < 0.05\n"
        "  adds_up: (SELECT sum(n) FROM by_orgin) = rows\n",
        capsys,
    )
    assert problems == [
        "flights.yaml:9: checks.has_rows.condition: row is no metric of a run; did you mean rows?",
        "flights.yaml:14: checks.filled.condition: null_fraction(orign): there is no column "
        "'orign'; did you mean origin?",
        "flights.yaml:15: checks.adds_up.condition: there is no result 'by_orgin'; did you mean "
        "by_origin?",
    ]


def test_mistakes_of_queries_and_of_checks_are_found_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (
        "  bad: SELECT sum( FROM input\n"
        "checks:\n  good: (SELECT max(n) FROM bad) > 0\n  wrong: rows + 1\n"
    )
    problems = checked(tmp_path, text, capsys)
    assert [problem.split(": ")[1] for problem in problems] == [
        "aggregates.bad.query",
        "checks.wrong.condition",
    ]


def test_the_profile_is_of_the_columns_of_files_and_of_their_paths(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (
        "columns: {origin: VARCHAR}\nchecks:\n"
        "  same_day: min(date) = max(date)\n"
        "  filled: null_fraction(filename) = 0\n"
    )
    (problem,) = checked(tmp_path, text, capsys)
    assert "there is no column 'filename'" in problem


def test_checks_of_a_dataset_without_profile_are_of_the_run_and_its_results(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = "profile: false\nchecks:\n  rows: (SELECT sum(flights) FROM by_origin) = rows\n"
    assert checked(tmp_path, good, capsys) == []
    (problem,) = checked(tmp_path, f"{good}  filled: null_fraction(origin) = 0\n", capsys)
    assert "null_fraction(origin) is taken from the profile; delete 'profile: false'" in problem
