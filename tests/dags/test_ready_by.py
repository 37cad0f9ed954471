from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tallyflow.ready_by import ReadyBy


@pytest.mark.parametrize(
    ("ready_by", "zone", "start", "deadline"),
    [
        ("06:00", "UTC", "2013-01-02T00:00+00:00", "2013-01-02T06:00+00:00"),
        # Computed after that time of day: the deadline is that of the day after.
        ("06:00", "UTC", "2013-01-02T06:30+00:00", "2013-01-03T06:00+00:00"),
        # Midnight in Berlin; on 31 March its clocks go from 2 to 3, on 27 October from 3 to 2.
        ("06:00", "Europe/Berlin", "2013-03-30T23:00+00:00", "2013-03-31T04:00+00:00"),
        ("06:00", "Europe/Berlin", "2013-10-26T22:00+00:00", "2013-10-27T05:00+00:00"),
    ],
)
def test_the_deadline_is_the_next_time_the_clock_shows_it(
    ready_by: str, zone: str, start: str, deadline: str
) -> None:
    found = ReadyBy(ready_by, zone).after(datetime.fromisoformat(start))
    assert found.astimezone(UTC) == datetime.fromisoformat(deadline)


def test_the_scheduler_reads_what_the_dag_file_wrote() -> None:
    written = ReadyBy("06:00", "Europe/Berlin").serialize_reference()
    read = ReadyBy.deserialize_reference(written)
    assert (read.ready_by, read.timezone) == ("06:00", "Europe/Berlin")
