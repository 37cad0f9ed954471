"""What the files of a partition are waited for, and whether it has come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from beam_jobs.files import InputFile


@dataclass(frozen=True)
class Found:
    """What is there at some moment.

    Attributes:
        is_complete: Whether what is waited for has come.
        files: How many files of the partition there are; None if they could not be listed.
        text: What was found, or what is missing yet, for people.
    """

    is_complete: bool
    files: int | None
    text: str


@dataclass(frozen=True)
class Awaited:
    """What a partition's files are waited for: one of the last three, or nothing but a file.

    Attributes:
        pattern: Of the files, absolute.
        marker: A file, absolute, that says that they are complete.
        files: How many there have to be.
        unchanged_minutes: How long none may have come or changed.
    """

    pattern: str
    marker: str | None = None
    files: int | None = None
    unchanged_minutes: int | None = None

    def look(self, now: datetime) -> Found:
        """Looks what is there; lists the files, and takes as long as that takes.

        Raises:
            InputError: The storage cannot be listed.
        """
        from beam_jobs.files import match_files  # noqa: PLC0415 - DAG files import this module

        files = match_files(self.pattern)
        marker_is_there = self.marker is None or bool(match_files(self.marker))
        return self.judge(files, now, marker_is_there=marker_is_there)

    def judge(
        self, files: Sequence[InputFile], now: datetime, *, marker_is_there: bool = True
    ) -> Found:
        """Says whether what is there is what is waited for."""
        count = len(files)
        text = f"{count} file{'' if count == 1 else 's'} match {self.pattern}"
        if self.marker is not None and not marker_is_there:
            return Found(is_complete=False, files=count, text=f"{text}; {self.marker} is not there")
        if self.files is not None and count < self.files:
            return Found(
                is_complete=False, files=count, text=f"{text}; {self.files} have to be there"
            )
        if self.unchanged_minutes is not None and files:
            newest = max(files, key=lambda file: file.modified or 0)
            changed = datetime.fromtimestamp(newest.modified or 0, UTC)
            if now - changed < timedelta(minutes=self.unchanged_minutes):
                changing = (
                    f"{text}; {newest.path} changed at {changed:%H:%M:%S} UTC, which is not "
                    f"{self.unchanged_minutes} minutes ago"
                )
                return Found(is_complete=False, files=count, text=changing)
        # A marker alone is complete: its day may have no files, which is for `when_missing`.
        return Found(is_complete=count > 0 or self.marker is not None, files=count, text=text)
