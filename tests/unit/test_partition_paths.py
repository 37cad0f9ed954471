"""Folders called ``name=value`` are columns."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_jobs.datasets.partition_paths import path_columns, path_values


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("flights/date=2013-01-01/f.csv", {"date": "2013-01-01"}),
        ("date=2013-01-01/f.csv", {"date": "2013-01-01"}),
        ("gs://bucket/date=2013-01-01/hour=07/f.csv", {"date": "2013-01-01", "hour": "07"}),
        ("a/City=S%C3%A3o%20Paulo/f", {"city": "São Paulo"}),
        ("a/x=100%/f", {"x": "100%"}),
        ("a/x=__HIVE_DEFAULT_PARTITION__/f", {"x": None}),
        ("a/x=/f", {"x": ""}),
        ("a/x=y=z/f", {"x": "y=z"}),
        ("a/file=1.csv", {}),
        ("a/2x=1/my-x=2/f", {}),
        ("plain.csv", {}),
    ],
)
def test_the_folders_of_a_path_give_names_and_texts(
    path: str, values: dict[str, str | None]
) -> None:
    assert path_values(path) == values


@pytest.mark.parametrize(
    ("texts", "kind"),
    [
        (["2013-01-01", "2013-12-31"], "DATE"),
        (["2013-01-01", "2013-1-2"], "VARCHAR"),
        (["2013-W01-1"], "VARCHAR"),
        (["1", "-20"], "BIGINT"),
        (["7", "007"], "VARCHAR"),
        (["-0"], "VARCHAR"),
        (["1_000"], "VARCHAR"),
        (["１"], "VARCHAR"),
        ([str(2**63)], "VARCHAR"),
        ([str(-(2**63))], "BIGINT"),
        (["9" * 5000], "VARCHAR"),
        (["1", "2013-01-01"], "VARCHAR"),
        (["__HIVE_DEFAULT_PARTITION__", "5"], "BIGINT"),
        (["__HIVE_DEFAULT_PARTITION__"], "VARCHAR"),
        ([""], "VARCHAR"),
    ],
)
def test_a_column_has_the_type_that_all_its_texts_are_written_as(
    texts: list[str], kind: str
) -> None:
    assert path_columns([f"a/x={text}/f" for text in texts]) == {"x": kind}


def test_a_name_spelled_in_two_ways_is_one_column() -> None:
    assert path_columns(["a/Date=2013-01-01/f", "a/date=2013-01-02/f", "b/f"]) == {"date": "DATE"}


@given(st.integers())
@settings(deadline=None)
def test_an_integer_is_a_bigint_if_it_fits(number: int) -> None:
    kind = "BIGINT" if -(2**63) <= number < 2**63 else "VARCHAR"
    assert path_columns([f"x={number}/f"]) == {"x": kind}
