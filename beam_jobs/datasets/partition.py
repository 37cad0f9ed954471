"""Partitions: the days or hours of a dataset, and the weeks and months that they roll up to.

DAG files import this module each time they are parsed, so it imports nothing heavy.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Literal

from beam_jobs.errors import UsageError

Grain = Literal["hour", "day", "week", "month"]

_FORMATS: dict[Grain, str] = {
    "hour": "%Y-%m-%dT%H",
    "day": "%Y-%m-%d",
    "week": "%Y-%m-%d",
    "month": "%Y-%m",
}
_SHOWN: dict[Grain, str] = {
    "hour": "2013-01-31T05",
    "day": "2013-01-31",
    "week": "2013-01-28, a Monday",
    "month": "2013-01",
}


@dataclass(frozen=True, order=True)
class Partition:
    """One period of a dataset.

    Attributes:
        start: When it begins, by the clocks of the dataset's time zone; without a zone.
        grain: How long it is. Weeks begin on Monday.
    """

    start: datetime.datetime
    grain: Grain

    @classmethod
    def parse(cls, key: str, grain: Grain) -> Partition:
        """Reads a key as `key` gives it.

        Raises:
            UsageError: It is none of the grain's keys.
        """
        problem = UsageError(f"{key!r} is no {grain}: write {_SHOWN[grain]}")
        try:
            start = datetime.datetime.strptime(key, _FORMATS[grain])  # noqa: DTZ007 - see `start`
        except ValueError:
            raise problem from None
        partition = cls(start, grain)
        # strptime also takes 2013-1-1; and a week may begin on Monday only.
        if partition.key != key or partition != cls.holding(start, grain):
            raise problem
        if start.year == datetime.MAXYEAR:
            raise UsageError(f"{key!r}: years end with {datetime.MAXYEAR - 1}")
        return partition

    @classmethod
    def holding(cls, moment: datetime.datetime, grain: Grain) -> Partition:
        """The partition in which a moment is.

        Args:
            moment: By the clocks of the dataset's time zone.
            grain: Of the partition.
        """
        start = moment.replace(minute=0, second=0, microsecond=0, tzinfo=None)
        if grain != "hour":
            start = start.replace(hour=0)
        if grain == "week":
            start -= datetime.timedelta(days=start.weekday())
        if grain == "month":
            start = start.replace(day=1)
        return cls(start, grain)

    @property
    def key(self) -> str:
        """Its name: ``2013-01-31T05``, ``2013-01-31``, ``2013-01-28``, ``2013-01``."""
        return self.start.strftime(_FORMATS[self.grain])

    @property
    def folder(self) -> str:
        """Where its results are: ``date=2013-01-31``, ``date=2013-01-31/hour=05``, ``week=…``."""
        if self.grain == "hour":
            return f"date={self.start:%Y-%m-%d}/hour={self.start:%H}"
        return f"{'date' if self.grain == 'day' else self.grain}={self.key}"

    @property
    def next(self) -> Partition:
        """The partition that follows."""
        days = {"hour": 0, "day": 1, "week": 7, "month": 32}[self.grain]
        hours = 1 if self.grain == "hour" else 0
        return self.holding(self.start + datetime.timedelta(days=days, hours=hours), self.grain)

    @property
    def previous(self) -> Partition:
        """The partition before."""
        return self.holding(self.start - datetime.timedelta(seconds=1), self.grain)

    def parts(self, grain: Grain) -> list[Partition]:
        """The shorter partitions that it consists of, in their order."""
        parts = [self.holding(self.start, grain)]
        while (following := parts[-1].next).start < self.next.start:
            parts.append(following)
        return parts
