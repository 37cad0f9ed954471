"""What the command that checks dataset files prints, and with which status it exits."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from beam_jobs.check_datasets import main

REPOSITORY = Path(__file__).parents[2]

HEAD = """\
description: Flights
owner: data-platform
start_date: 2013-01-01
pattern: flights/date={date}/*.csv
"""
GOOD = HEAD + "aggregates:\n  total: SELECT count(*) AS n FROM input\n"


def write(folder: Path, text: str, name: str = "flights.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def check(path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """The exit status, the output and the problems, without the folder's name."""
    status = main([str(path)])
    output, problems = capsys.readouterr()
    folder = path if path.is_dir() else path.parent
    return status, output, problems.replace(f"{folder}/", "")


def test_a_good_dataset_prints_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, GOOD)
    assert check(path, capsys) == (0, "ok flights: 1 aggregate\n", "")


def test_the_shipped_datasets_are_good_and_checked_in_under_three_seconds() -> None:
    start = time.process_time()
    assert main([str(REPOSITORY / "dags/datasets")]) == 0
    assert time.process_time() - start < 3


def test_every_problem_of_every_file_is_reported_and_good_files_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, GOOD, "good.yaml")
    write(tmp_path, GOOD.replace("owner", "onwer"), "a.yaml")
    write(tmp_path, GOOD.replace("input", "flights").replace("count(*)", "mode(x)"), "b.yaml")
    status, output, problems = check(tmp_path, capsys)
    assert (status, output) == (2, "ok good: 1 aggregate\n")
    assert [line.split(": ")[:2] for line in problems.splitlines()] == [
        ["a.yaml:1", "owner"],
        ["a.yaml:2", "onwer"],
        ["b.yaml:6", "aggregates.total.query"],
    ]


@pytest.mark.parametrize(
    ("aggregates", "place"),
    [
        ("  total: selct 1\n", "flights.yaml:6: aggregates.total.query: syntax error"),
        (
            "  total:\n    query: |\n      SELECT count(*) AS n\n      FROM input\n      WHER x\n",
            "flights.yaml:10: aggregates.total.query: syntax error",
        ),
        (
            "  total:\n    query: >\n      SELECT count(*),\n      random()\n      FROM input\n",
            "flights.yaml:9: aggregates.total.query: random()",
        ),
    ],
)
def test_a_mistake_in_a_query_is_found_at_its_line_in_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], aggregates: str, place: str
) -> None:
    path = write(tmp_path, HEAD + "aggregates:\n" + aggregates)
    status, _, problems = check(path, capsys)
    assert status == 2
    assert problems.startswith(place)


def test_names_in_a_query_are_checked_against_the_declared_columns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    query = "  total: |\n    SELECT count(*) AS n,\n    max(orgin) AS last FROM input\n"
    path = write(tmp_path, HEAD + "columns: {origin: VARCHAR}\naggregates:\n" + query)
    status, _, problems = check(path, capsys)
    assert status == 2
    assert problems.startswith("flights.yaml:9: aggregates.total.query: ")
    assert '"orgin"' in problems


def test_without_declared_columns_any_name_may_be_in_the_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, GOOD.replace("count(*)", "sum(anything)"))
    assert check(path, capsys)[0] == 0


@pytest.mark.parametrize(
    ("fields", "query"),
    [
        (
            "columns: {origin: VARCHAR}\n",
            "SELECT date, filename, max(origin) FROM input GROUP BY ALL",
        ),
        ("format: text\n", "SELECT line, date, filename, count(*) FROM input GROUP BY ALL"),
    ],
)
def test_a_query_may_use_the_file_name_and_the_path_columns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], fields: str, query: str
) -> None:
    path = write(tmp_path, f"{HEAD}{fields}aggregates:\n  total: {query}\n")
    assert check(path, capsys) == (0, "ok flights: 1 aggregate\n", "")


@pytest.mark.parametrize(
    "kind", ["INTEGR", "INT, b INT", "INT); SELECT (1", "DECIMAL(99, 2)", "x y"]
)
def test_a_type_that_duckdb_does_not_know_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    text = GOOD.replace("aggregates", f"columns:\n  a: VARCHAR\n  b: '{kind}'\naggregates")
    status, _, problems = check(write(tmp_path, text), capsys)
    assert status == 2
    assert problems.startswith(f"flights.yaml:7: columns.b: {kind!r} is not a type of DuckDB")
    assert problems.count("\n") == 1


def test_types_with_parts_are_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "columns: {a: 'ENUM(''x'', ''y'')', b: 'DECIMAL(9, 2)', c: 'TIMESTAMP WITH TIME ZONE'}\n"
    assert check(write(tmp_path, GOOD + text), capsys)[0] == 0


def test_a_type_that_no_csv_value_can_have_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, problems = check(write(tmp_path, f"{GOOD}columns: {{a: 'INTEGER[]'}}\n"), capsys)
    assert status == 2
    assert "columns.a: a CSV value cannot be 'INTEGER[]': read it as VARCHAR" in problems


@pytest.mark.parametrize(
    ("pattern", "status"), [("*.jsonl", 0), ("*.parquet", 0), ("*.csv.gz", 2), ("*.dat", 2)]
)
def test_files_of_other_formats_may_have_nested_columns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], pattern: str, status: int
) -> None:
    text = GOOD.replace("*.csv", pattern) + "columns: {a: 'INTEGER[]'}\n"
    assert check(write(tmp_path, text), capsys)[0] == status


def test_a_character_that_is_two_things_is_a_mistake(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = GOOD + "comment: '#'\nescape: '#'\n"
    status, _, problems = check(write(tmp_path, text), capsys)
    assert status == 2
    assert problems == "flights.yaml:1: '#' cannot be both the escape and the comment\n"


def test_a_file_that_airflow_would_overlook_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, GOOD, "flights.yml")
    status, _, problems = check(tmp_path, capsys)
    assert status == 2
    assert problems.startswith("flights.yml:1: the ending '.yml' is not that of a dataset file")


def test_drafts_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, GOOD)
    write(tmp_path, "not yet", "_draft.yaml")
    assert check(tmp_path, capsys)[0] == 0


def test_a_folder_without_datasets_and_a_missing_file_are_mistakes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path), str(tmp_path / "nope.yaml")]) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"{tmp_path}: the folder has no dataset; add a .yaml file",
        f"{tmp_path}/nope.yaml: cannot be read: No such file or directory",
    ]


def test_the_schema_is_written_on_request(tmp_path: Path) -> None:
    target = tmp_path / "schema.json"
    assert main([str(write(tmp_path, GOOD)), "--write_schema", str(target)]) == 0
    assert json.loads(target.read_text(encoding="utf-8"))["title"] == "Tallyflow dataset"


def test_a_schema_that_cannot_be_written_is_a_usage_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["--write_schema", str(tmp_path / "no/such/folder.json")])
    assert exit_.value.code == 2
    assert "folder.json: No such file or directory" in capsys.readouterr().err


def test_the_help_shows_an_example() -> None:
    command = [sys.executable, "-m", "beam_jobs.check_datasets", "--help"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "ok flights: 3 aggregates" in done.stdout
