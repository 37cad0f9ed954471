"""Checks single fields of a dataset file, for pydantic: each message follows the value."""

from __future__ import annotations

import datetime
import re

from beam_jobs.formats import encoding_name

DATE_PLACEHOLDER = "{date}"


def check_pattern(pattern: str) -> str:
    """Return a pattern of a partition's files as it is.

    Raises:
        ValueError: It is not relative to the storage root, or has no date.
    """
    if "://" in pattern:
        raise ValueError("names a storage; leave out all that is above the storage root")
    if pattern.startswith("/"):
        raise ValueError("is absolute; write it relative to the storage root, without the first /")
    if unusual := {"", ".", ".."}.intersection(pattern.split("/")):
        raise ValueError(f"has the part {min(unusual)!r}; name each folder, and files as in *.csv")
    if re.search("[{}]", pattern.replace(DATE_PLACEHOLDER, "")):
        raise ValueError("has other braces than {date}; write {date}, and * where names differ")
    if DATE_PLACEHOLDER not in pattern:
        raise ValueError("has no {date}; write it where the partition's date is, date={date}")
    return pattern


def read_date(value: object) -> object:
    """Return a date, which YAML reads as one unless it is quoted.

    Raises:
        ValueError: It is none.
    """
    if isinstance(value, str):
        try:
            return datetime.date.fromisoformat(value)
        except ValueError as error:
            raise ValueError(f"is no date ({error}); write one such as 2013-01-31") from error
    if type(value) is not datetime.date:
        raise ValueError("is no date; write one such as 2013-01-31")
    return value


def read_encoding(value: object) -> object:
    """Return an encoding in the one spelling that it has here.

    Raises:
        ValueError: It is none.
    """
    return encoding_name(str(value))
