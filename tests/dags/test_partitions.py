from __future__ import annotations

import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from beam_jobs.datasets.dataset import load_dataset
from beam_jobs.datasets.dataset_model import Dataset
from beam_jobs.errors import UsageError
from tallyflow.partitions import label, partition_of, partition_of_rollup


def dataset(folder: Path, **fields: str) -> Dataset:
    lines = {
        "description": "x",
        "owner": "x",
        "start_date": "2013-01-01",
        "pattern": "x/{date}.csv",
        "aggregates": "{a: SELECT count(*) AS n FROM input}",
    } | fields
    path = folder / "x.yaml"
    path.write_text("".join(f"{name}: {value}\n" for name, value in lines.items()))
    return load_dataset(path)


def run(start: str | None, after: str, key: str | None = None) -> Any:
    return SimpleNamespace(
        data_interval_start=start and datetime.datetime.fromisoformat(start),
        run_after=datetime.datetime.fromisoformat(after),
        partition_key=key,
    )


@pytest.mark.parametrize(
    ("zone", "start", "after", "key"),
    [
        ("UTC", "2013-01-01T00:00+00:00", "2013-01-02T00:00+00:00", "2013-01-01"),
        # The day of New York begins at five, in summer at four; these days have 23 and 25 hours.
        ("America/New_York", "2013-03-10T05:00+00:00", "2013-03-11T04:00+00:00", "2013-03-10"),
        ("America/New_York", "2013-11-03T04:00+00:00", "2013-11-04T05:00+00:00", "2013-11-03"),
        ("Asia/Tokyo", "2012-12-31T15:00+00:00", "2013-01-01T15:00+00:00", "2013-01-01"),
        # By hand, without an interval: the last complete day, by the dataset's clocks.
        ("UTC", None, "2013-03-01T00:30+00:00", "2013-02-28"),
        ("America/New_York", None, "2013-03-01T03:00+00:00", "2013-02-27"),
    ],
)
def test_a_run_computes_the_day_of_its_time_zone(
    tmp_path: Path, zone: str, start: str | None, after: str, key: str
) -> None:
    found = partition_of(dataset(tmp_path, timezone=zone), run(start, after), {"date": None})
    assert found.key == key


def test_an_hourly_run_computes_the_hour_in_which_its_interval_starts(tmp_path: Path) -> None:
    hourly = dataset(tmp_path, pattern="x/{date}/{hour}.csv", schedule="15 * * * *")
    scheduled = run("2013-01-01T05:15+00:00", "2013-01-01T06:15+00:00")
    assert partition_of(hourly, scheduled, {"date": None}).key == "2013-01-01T05"
    by_hand = run(None, "2013-01-01T00:10+00:00")
    assert partition_of(hourly, by_hand, {"date": None}).key == "2012-12-31T23"
    assert partition_of(hourly, by_hand, {"date": "2013-01-31T07"}).key == "2013-01-31T07"
    with pytest.raises(UsageError, match="'2013-01-31' is no hour"):
        partition_of(hourly, by_hand, {"date": "2013-01-31"})


def test_a_rollup_computes_the_period_whose_days_are_published(tmp_path: Path) -> None:
    found = dataset(tmp_path)
    after = "2013-02-06T12:00+00:00"
    weekly = run(None, after, "2013-01-07 (W02)")
    assert partition_of_rollup(found, "week", weekly, {}).key == "2013-01-07"
    monthly = run(None, after, "2013-01")
    assert partition_of_rollup(found, "month", monthly, {}).key == "2013-01"
    by_hand = run(None, after)
    assert partition_of_rollup(found, "week", by_hand, {}).key == "2013-01-28"
    assert partition_of_rollup(found, "month", by_hand, {"date": "2012-12"}).key == "2012-12"


def test_a_label_has_only_what_google_allows() -> None:
    assert label("manual__2013-01-02T00:00:00+00:00") == "manual__2013-01-02t00-00-00-00-00"
    assert len(label("x" * 100)) == 63
