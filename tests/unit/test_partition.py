"""Partitions: their keys, folders and neighbours, for every moment."""

from __future__ import annotations

import datetime
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_jobs.datasets.partition import Grain, Partition
from beam_jobs.errors import UsageError

MOMENTS = st.datetimes(
    datetime.datetime.fromisoformat("1970-01-05"), datetime.datetime.fromisoformat("9998-12-31")
)
GRAINS = st.sampled_from(get_args(Grain))


@given(MOMENTS, GRAINS)
def test_a_key_is_read_back(moment: datetime.datetime, grain: Grain) -> None:
    partition = Partition.holding(moment, grain)
    assert Partition.parse(partition.key, grain) == partition


@given(MOMENTS, GRAINS)
def test_every_moment_is_in_one_partition(moment: datetime.datetime, grain: Grain) -> None:
    partition = Partition.holding(moment, grain)
    assert partition.start <= moment < partition.next.start
    assert partition.next.previous == partition
    assert partition.previous.next == partition


@given(MOMENTS, GRAINS)
def test_folders_are_ordered_as_time_is(moment: datetime.datetime, grain: Grain) -> None:
    partition = Partition.holding(moment, grain)
    assert partition.folder < partition.next.folder


@given(MOMENTS)
def test_a_period_consists_of_its_parts(moment: datetime.datetime) -> None:
    pairs: list[tuple[Grain, Grain]]
    pairs = [("month", "day"), ("week", "day"), ("day", "hour"), ("week", "hour")]
    for longer, shorter in pairs:
        period = Partition.holding(moment, longer)
        parts = period.parts(shorter)
        assert parts[0].start == period.start
        assert parts[-1].next.start == period.next.start
        assert [part.next for part in parts[:-1]] == parts[1:]


@pytest.mark.parametrize(
    ("key", "grain", "folder"),
    [
        ("2013-01-31", "day", "date=2013-01-31"),
        ("2013-01-31T05", "hour", "date=2013-01-31/hour=05"),
        ("2013-01-28", "week", "week=2013-01-28"),
        ("2013-01", "month", "month=2013-01"),
    ],
)
def test_each_grain_has_keys_and_folders_of_its_own(key: str, grain: Grain, folder: str) -> None:
    assert Partition.parse(key, grain).folder == folder


@pytest.mark.parametrize(
    ("key", "grain"),
    [
        ("2013-1-1", "day"),
        ("20130101", "day"),
        ("2013-02-29", "day"),
        ("2013-01-31T05", "day"),
        ("2013-01-31", "hour"),
        ("2013-01-31T24", "hour"),
        ("2013-01-29", "week"),
        ("2013-01-01", "month"),
        ("", "day"),
    ],
)
def test_what_is_no_key_is_refused_with_an_example(key: str, grain: Grain) -> None:
    with pytest.raises(UsageError, match=f"{key!r} is no {grain}: write 2013-01"):
        Partition.parse(key, grain)


@pytest.mark.parametrize("grain", get_args(Grain))
def test_the_last_year_has_no_partitions_as_none_would_follow(grain: Grain) -> None:
    key = Partition.holding(datetime.datetime.fromisoformat("9999-12-31T23:00"), grain).key
    with pytest.raises(UsageError, match="years end with 9998"):
        Partition.parse(key, grain)
