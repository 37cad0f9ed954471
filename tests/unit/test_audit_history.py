"""What is computed from the history is what it says, for every history."""

from __future__ import annotations

from fractions import Fraction

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_jobs.checks.check_metrics import Metric, Value, history_sql
from beam_jobs.engine.session import open_session

COUNTS = st.integers(0, 2**63 - 1)
HISTORIES = st.lists(COUNTS, min_size=1, max_size=30)


@pytest.fixture(scope="module")
def session() -> duckdb.DuckDBPyConnection:
    return open_session()


def computed(
    session: duckdb.DuckDBPyConnection, name: str, current: int, earlier: list[int]
) -> int | float | None:
    values = [Value(str(value), "BIGINT") for value in earlier]
    metric = Metric(name, of=Metric("rows"), partitions=len(values))
    sql = history_sql(metric, Value(str(current), "BIGINT"), values)
    ((found,),) = session.execute(f"SELECT {sql}").fetchall()
    assert found is None or isinstance(found, int | float)
    return found


@given(HISTORIES)
@settings(deadline=None, max_examples=50)
def test_counts_are_taken_exactly(session: duckdb.DuckDBPyConnection, earlier: list[int]) -> None:
    assert computed(session, "previous", 0, earlier) == earlier[0]
    assert computed(session, "trailing_min", 0, earlier) == min(earlier)
    assert computed(session, "trailing_max", 0, earlier) == max(earlier)


@given(COUNTS, HISTORIES)
@settings(deadline=None, max_examples=50)
def test_the_mean_and_the_change_from_it_are_those_of_fractions(
    session: duckdb.DuckDBPyConnection, current: int, earlier: list[int]
) -> None:
    mean = Fraction(sum(earlier), len(earlier))
    assert computed(session, "trailing_mean", current, earlier) == pytest.approx(float(mean))
    change = computed(session, "change_from_trailing_mean", current, earlier)
    if mean == 0:
        assert change is None
    else:
        expected = float((current - mean) / mean)
        assert change == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("name", ["previous", "trailing_min", "trailing_mean"])
def test_nothing_comes_of_no_history(session: duckdb.DuckDBPyConnection, name: str) -> None:
    assert computed(session, name, 842, []) is None
