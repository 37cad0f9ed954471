"""The schedules a dataset may have: Airflow's presets and plain cron expressions.

Airflow itself finds a bad cron expression only when it loads the DAG, and names neither file nor
line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

SCHEDULE_PRESETS = ("@hourly", "@daily", "@weekly", "@monthly", "@quarterly", "@yearly")


@dataclass(frozen=True)
class _CronField:
    name: str
    low: int
    high: int
    words: str = ""

    def holds(self, value: str) -> bool:
        if value.isdecimal():
            return self.low <= int(value) <= self.high
        return value in self.words.split()


_CRON_FIELDS = (
    _CronField("minute", 0, 59),
    _CronField("hour", 0, 23),
    _CronField("day of the month", 1, 31),
    _CronField("month", 1, 12, "jan feb mar apr may jun jul aug sep oct nov dec"),
    _CronField("day of the week", 0, 7, "sun mon tue wed thu fri sat"),
)
_CRON_ITEM = re.compile(r"(?:\*|([0-9a-z]+)(?:-([0-9a-z]+))?)(?:/0*[1-9][0-9]*)?")


def check_schedule(schedule: str) -> str:
    """Returns a schedule as it is.

    Raises:
        ValueError: It is neither a preset nor a five-part cron expression of numbers, names,
            ``*``, lists, ranges and steps; the message is to follow the value.
    """
    if schedule.startswith("@"):
        if schedule not in SCHEDULE_PRESETS:
            raise ValueError(f"is no preset; the presets are {', '.join(SCHEDULE_PRESETS)}")
        return schedule
    texts = schedule.lower().split()
    if len(texts) != len(_CRON_FIELDS):
        raise ValueError(
            "is no schedule; write a preset such as @daily, or the five parts of cron (minute, "
            "hour, day of the month, month, day of the week) as in 30 6 * * *"
        )
    for field, text in zip(_CRON_FIELDS, texts, strict=True):
        for item in text.split(","):
            match = _CRON_ITEM.fullmatch(item)
            if not match or not all(map(field.holds, filter(None, match.groups()))):
                raise ValueError(
                    f"has {item!r} as the {field.name}; that is *, or {field.low} to {field.high}"
                )
    return schedule


def is_hourly(schedule: str) -> bool:
    """Whether a valid schedule has one run in every hour."""
    if schedule.startswith("@"):
        return schedule == "@hourly"
    minute, *others = schedule.split()
    return minute.isdecimal() and others == ["*"] * 4


def is_on_every_day(schedule: str) -> bool:
    """Whether a valid schedule has a run on every day."""
    if schedule.startswith("@"):
        return schedule in ("@hourly", "@daily")
    return schedule.split()[2:] == ["*"] * 3
