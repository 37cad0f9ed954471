"""Checks single fields of a dataset file, for pydantic: each message follows the value."""

from __future__ import annotations

import datetime
import re

from beam_jobs.formats import encoding_name

DATE_PLACEHOLDER = "{date}"
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
    if re.search("[{}]", pattern.replace(DATE_PLACEHOLDER, "")):
        raise ValueError("has other braces than {date}; write {date}, and * where names differ")
    if DATE_PLACEHOLDER not in pattern:
        raise ValueError("has no {date}; write it where the partition's date is, date={date}")
    return pattern


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
