"""What a dataset may say about lookup tables, and how mistakes are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from beam_jobs.check_datasets import check_dataset
from beam_jobs.datasets.dataset import DatasetError

DATASET = """\
description: Flights
owner: tests
start_date: 2013-01-01
pattern: flights/date={date}/*.csv
columns: {carrier: VARCHAR}
lookups: {%s}
aggregates:
  total: SELECT %s AS n FROM input JOIN airlines USING (carrier)
"""


def check(folder: Path, lookups: str, selected: str = "count(*)") -> None:
    path = folder / "flights.yaml"
    path.write_text(DATASET % (lookups, selected))
    check_dataset(path)


def test_a_query_may_join_the_lookups_of_its_dataset(tmp_path: Path) -> None:
    check(tmp_path, "airlines: reference/airlines.csv", "max(name)")


def test_a_query_that_joins_another_table_is_found(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="8: aggregates.total.query: .*did you mean airline?"):
        check(tmp_path, "airline: reference/airlines.csv")


@pytest.mark.parametrize(
    ("lookups", "problem"),
    [
        ("input: a.csv", r"6: lookups\.input: 'input' is the table of the files themselves"),
        ("1st: a.csv", r"6: lookups\.1st: '1st' is not a name"),
        ("result: a.csv", r"6: lookups\.result: 'result' is the name of a table of our own"),
        ("airlines: /a.csv", r"6: lookups\.airlines: '/a.csv' is absolute"),
        ("airlines: 'gs://b/a.csv'", r"6: lookups\.airlines: 'gs://b/a.csv' names a storage"),
        ("airlines: '../a.csv'", r"6: lookups\.airlines: '../a.csv' has the part '\.\.'"),
        ("airlines: '*.csv'", r"6: lookups\.airlines: '\*.csv' has a \*; name one file"),
    ],
)
def test_mistakes_name_the_line_and_the_lookup(lookups: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=problem):
        check(tmp_path, lookups)
