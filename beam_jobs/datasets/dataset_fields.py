"""Checks single fields of a dataset file, for pydantic: each message follows the value."""

from __future__ import annotations

import datetime
import re
import zoneinfo

from beam_jobs.datasets.partition import Partition
from beam_jobs.formats.formats import encoding_name

DATE_PLACEHOLDER = "{date}"
HOUR_PLACEHOLDER = "{hour}"
# Names of the tables that reading a block, and a query's plan, make beside the lookup tables.
_OWN_TABLES = re.compile(r"_.*|states.*|aggregated|result")


def check_pattern(pattern: str) -> str:
    """Return a pattern of a partition's files as it is.

    Raises:
        ValueError: It is not relative to the storage root, or has no date.
    """
    _check_relative(pattern)
    if unusual := {"", ".", ".."}.intersection(pattern.split("/")):
        raise ValueError(f"has the part {min(unusual)!r}; name each folder, and files as in *.csv")
    _check_placeholders(pattern)
    return pattern


def _check_placeholders(path: str) -> None:
    if re.search("[{}]", path.replace(DATE_PLACEHOLDER, "").replace(HOUR_PLACEHOLDER, "")):
        raise ValueError(
            "has other braces than {date} and {hour}; write those, and * where names differ"
        )
    if DATE_PLACEHOLDER not in path:
        raise ValueError("has no {date}; write it where the partition's date is, date={date}")


def fill_in(path: str, partition: Partition) -> str:
    """Return a path with the date and hour of a partition."""
    date, hour = partition.start.strftime("%Y-%m-%d %H").split()
    return path.replace(DATE_PLACEHOLDER, date).replace(HOUR_PLACEHOLDER, hour)


def check_marker(path: str) -> str:
    """Return the path of the file that says that a partition is complete as it is.

    Raises:
        ValueError: It is not that of one file of each partition, below the storage root.
    """
    _check_relative(path)
    if unusual := {"", ".", ".."}.intersection(path.split("/")):
        raise ValueError(f"has the part {min(unusual)!r}; name each folder")
    if sign := re.search(r"[*?\[]", path):
        raise ValueError(f"has a {sign[0]}; name one file")
    _check_placeholders(path)
    return path


def check_timezone(name: str) -> str:
    """Return the name of a time zone as it is.

    Raises:
        ValueError: There is none of that name.
    """
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("is no time zone; write one such as UTC or Europe/Berlin") from None
    return name


def check_time(text: str) -> str:
    """Return a time of day as it is.

    Raises:
        ValueError: It is none.
    """
    if not re.fullmatch("([01][0-9]|2[0-3]):[0-5][0-9]", text):
        raise ValueError("is no time of day; write one such as '06:00'")
    return text


def _check_relative(path: str) -> None:
    if "://" in path:
        raise ValueError("names a storage; leave out all that is above the storage root")
    if path.startswith("/"):
        raise ValueError("is absolute; write it relative to the storage root, without the first /")


def check_lookup_path(path: str) -> str:
    """Return the path of a lookup table as it is.

    Raises:
        ValueError: It is not that of one file below the storage root.
    """
    _check_relative(path)
    if unusual := {"", ".", ".."}.intersection(path.split("/")):
        raise ValueError(f"has the part {min(unusual)!r}; name each folder")
    if sign := re.search(r"[*?\[{]", path):
        raise ValueError(f"has a {sign[0]}; name one file")
    return path


def check_lookup_name(name: str) -> str:
    """Return the name of a lookup table as it is.

    Raises:
        ValueError: A query cannot have a table of that name; the message follows the name.
    """
    if not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name):
        raise ValueError("is not a name: letters, digits and _ only, no digit first")
    if name.lower() == "input":
        raise ValueError("is the table of the files themselves; choose another name")
    if _OWN_TABLES.fullmatch(name.lower()):
        raise ValueError("is the name of a table of our own; choose another")
    return name


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


def check_bigquery_name(name: str) -> str:
    """Return the name of a dataset in BigQuery as it is.

    Raises:
        ValueError: It cannot be one.
    """
    if not re.fullmatch("[A-Za-z0-9_]{1,1024}", name):
        raise ValueError("is not a name of BigQuery's: letters, digits and _ only")
    return name
