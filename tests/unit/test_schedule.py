"""Which schedules are accepted."""

from __future__ import annotations

import pytest

from beam_jobs.datasets.schedule import SCHEDULE_PRESETS, check_schedule


@pytest.mark.parametrize(
    "schedule",
    [
        *SCHEDULE_PRESETS,
        "30 6 * * *",
        "*/15 0-6,22 1 JAN-mar sun,3",
        "05 06 * * 7",
        "0 8-18/2 * * *",
    ],
)
def test_presets_and_cron_expressions_are_accepted_as_they_are(schedule: str) -> None:
    assert check_schedule(schedule) == schedule


@pytest.mark.parametrize(
    ("schedule", "problem"),
    [
        ("@dayly", "is no preset; the presets are @hourly, @daily"),
        ("daily", "is no schedule; write a preset such as @daily"),
        ("0 0 * *", "is no schedule"),
        ("0 0 0 * * *", "is no schedule"),
        ("60 0 * * *", "has '60' as the minute; that is [*], or 0 to 59"),
        ("0 25 * * *", "has '25' as the hour; that is [*], or 0 to 23"),
        ("0 0 0 * *", "has '0' as the day of the month"),
        ("0 0 * 13 *", "has '13' as the month"),
        ("0 0 * * mond", "has 'mond' as the day of the week"),
        ("*/0 * * * *", "has '[*]/0' as the minute"),
        ("0 1,,2 * * *", "has '' as the hour"),
    ],
)
def test_a_wrong_schedule_is_refused_with_the_part_that_is_wrong(
    schedule: str, problem: str
) -> None:
    with pytest.raises(ValueError, match=problem):
        check_schedule(schedule)
