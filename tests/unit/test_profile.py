"""The profile is right whatever the values are, and however blocks are combined."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_jobs.engine import profile, states
from beam_jobs.engine.profile import profile_plan, read_profile
from beam_jobs.engine.run_report import ColumnProfile
from beam_jobs.engine.session import open_session
from beam_jobs.sql import Plan


def states_of(plan: Plan, relation: int, block: pa.Table) -> pa.Table:
    with open_session() as session:
        session.register("input", block)
        return states.partial_states(session, plan, relation, "file", 0)


def profiled(sql: str, kind: str) -> ColumnProfile:
    """Return the profile of a column x that is a SELECT's."""
    with open_session() as session:
        block = session.sql(sql).to_arrow_table()
    plan = profile_plan({"x": kind})
    relations = [[states_of(plan, number, block)] for number in range(len(plan.relations))]
    with states.finalized(plan, relations) as session:
        return read_profile(session, plan.columns).columns[0]


def frequent_of(plan: Plan, table: pa.Table) -> ColumnProfile:
    empty = [states_of(plan, 0, pa.table({"x": pa.array([], pa.int64())}))]
    with states.finalized(plan, [empty, [table]]) as session:
        return read_profile(session, plan.columns).columns[0]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=25), min_size=1, max_size=4),
    st.integers(0, 2),
)
def test_counts_are_within_their_bounds_in_whatever_order_blocks_are_combined(
    blocks: list[list[int]], shape: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(profile, "KEPT_VALUES", 3)
        patch.setattr(profile, "_COMBINE", profile._COMBINE.replace("1000", "3"))
        plan = profile_plan({"x": "BIGINT"})
    tables = [states_of(plan, 1, pa.table({"x": pa.array(block)})) for block in blocks]
    table = combined(plan, tables, shape)
    assert table.num_rows <= 4
    truth = Counter(value for block in blocks for value in block)
    values, counts = table["value"].to_pylist(), table["n"].to_numpy().tolist()
    rows: dict[str | None, int] = dict(zip(values, counts, strict=True))
    bound = rows.pop(None, 0)
    for value, count in truth.items():
        assert rows.get(str(value), 0) <= count <= rows.get(str(value), 0) + bound
    if len(truth) <= 3:
        assert (bound, rows) == (0, {str(value): count for value, count in truth.items()})


def combined(plan: Plan, tables: Sequence[pa.Table], shape: int) -> pa.Table:
    if len(tables) == 1:
        return tables[0]
    if shape == 0:
        return states.combine(plan, 1, tables)
    middle = len(tables) // 2 if shape == 1 else 1
    halves = (tables[:middle], tables[middle:])
    return states.combine(plan, 1, [combined(plan, half, shape) for half in halves])


def test_a_value_is_shown_only_if_it_is_proven_to_be_more_frequent_than_the_others() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(profile, "KEPT_VALUES", 2)
        plan = profile_plan({"x": "BIGINT"})
    found = frequent_of(plan, states_of(plan, 1, pa.table({"x": [1, 1, 1, 1, 2, 2, 3, 3, 4]})))
    assert found.frequent is not None
    assert [tuple(dict(value).values()) for value in found.frequent] == [("1", 4, 6)]
    assert found.others_at_most == 2


@pytest.mark.parametrize(
    ("kind", "values", "least", "most"),
    [
        ("DOUBLE", "'nan', 'inf', '-inf', '1.5', '-0.0', '1e308', '1e308'", "-inf", "nan"),
        ("FLOAT", "'nan', '0.1'", "0.1", "nan"),
        ("HUGEINT", "'170141183460469231731687303715884105727'", *2 * ("17014118",)),
        ("DECIMAL(38,2)", "'999999999999999999999999999999999999.99'", *2 * ("9999",)),
        ("DATE", "'infinity', '2020-01-01', '-infinity'", "-infinity", "infinity"),
        ("TIMESTAMP WITH TIME ZONE", "'2020-01-01 10:00:00+02'", *2 * ("2020-01-01 08",)),
        (
            "TIMESTAMP_NS",
            "'2020-01-01 10:00:00.123456789'",
            *2 * ("2020-01-01 10:00:00.123456789",),
        ),
        ("TIME", "'10:00:00'", "10:00:00", "10:00:00"),
        ("TIME WITH TIME ZONE", "'10:00:00+02'", "10:00:00+02", "10:00:00+02"),
        ("ENUM('z','a')", "'z', 'a'", "a", "z"),
        ("UUID", "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", "a0ee", "a0ee"),
        ("BOOLEAN", "'true', 'false'", "false", "true"),
        ("VARCHAR", "'', 'é'", "", "é"),
    ],
)
def test_no_value_of_any_type_makes_a_profile_fail(
    kind: str, values: str, least: str, most: str
) -> None:
    rows = f"SELECT unnest([{values}, NULL, NULL])::{kind} AS x"
    found = profiled(rows, kind)
    assert found.nulls == 2
    assert str(found.min).startswith(least)
    assert str(found.max).startswith(most)
    assert found.distinct is not None
    assert found.frequent


@pytest.mark.parametrize(
    "kind", ["INTEGER[]", "STRUCT(a INTEGER)", "MAP(VARCHAR, INTEGER)", "BLOB"]
)
def test_nested_and_binary_columns_have_nulls_only(kind: str) -> None:
    found = profiled(f"SELECT NULL::{kind} AS x FROM range(3)", kind)
    assert found.nulls == 3
    rest = (found.distinct, found.min, found.mean, found.quantiles, found.frequent)
    assert rest == (None,) * 5


def test_numbers_that_are_not_finite_are_left_out_of_mean_and_quantiles() -> None:
    found = profiled("SELECT unnest(['nan', 'inf', '1', '3'])::DOUBLE AS x", "DOUBLE")
    assert found.mean == 2
    assert found.quantiles is not None
    assert found.quantiles["50"] == 2


def test_long_texts_are_cut_and_not_among_the_frequent_ones() -> None:
    found = profiled("SELECT unnest([repeat('x', 1000), 'b', 'b', 'b']) AS x", "VARCHAR")
    assert found.max == "x" * 200
    assert [tuple(dict(value).values()) for value in found.frequent or ()] == [("b", 3, 4)]


def test_a_column_of_distinct_values_has_no_frequent_ones_and_says_so() -> None:
    found = profiled("SELECT i AS x FROM range(5000) r(i)", "BIGINT")
    assert (found.frequent, found.others_at_most) == ((), 5000)
    assert found.distinct == pytest.approx(5000, rel=0.05)


def test_a_column_may_have_any_name() -> None:
    names = ["v", "n", "col", "value", "place", "input", 'a "b"', "rows", "filled0", "min_1", "_g0"]
    plan = profile_plan(dict.fromkeys(names, "BIGINT"))
    block = pa.table({name: [number, 7] for number, name in enumerate(names)})
    relations = [[states_of(plan, number, block)] for number in range(2)]
    with states.finalized(plan, relations) as session:
        found = read_profile(session, plan.columns).columns
    assert [(column.name, column.min) for column in found] == [
        (name, str(min(number, 7))) for number, name in enumerate(names)
    ]
