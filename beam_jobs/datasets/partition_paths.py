"""Columns that stand in the path of a file, as in ``flights/date=2013-01-01/flights.csv``."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import date
from urllib.parse import unquote

_PART = re.compile(r"(?<=/)([A-Za-z_][A-Za-z0-9_]*)=([^/]*)(?=/)")
# What Hive, Spark and their like write for NULL.
_NULL = "__HIVE_DEFAULT_PARTITION__"


def path_values(path: str) -> dict[str, str | None]:
    """Return the name, in lower case, and the text of each ``name=value`` folder of a path.

    In lower case, as two files may spell a name in two ways, which is one name in SQL.
    """
    found = _PART.findall("/" + path)
    return {name.lower(): None if value == _NULL else unquote(value) for name, value in found}


def path_columns(paths: Sequence[str]) -> dict[str, str]:
    """Return the name and DuckDB type of the columns in the paths of all files of a run.

    A column that only some of the paths have is NULL for the others. It is DATE or BIGINT when
    every value is one (and is written just so: ``007`` stays a text), else VARCHAR.
    """
    values: dict[str, list[str]] = {}
    for path in paths:
        for name, value in path_values(path).items():
            values.setdefault(name, [])
            if value is not None:
                values[name].append(value)
    return {name: _type(texts) for name, texts in values.items()}


def _type(texts: Sequence[str]) -> str:
    if texts and all(_is(_iso_date, text) for text in texts):
        return "DATE"
    if texts and all(_is(_plain_integer, text) for text in texts):
        return "BIGINT"
    return "VARCHAR"


def _iso_date(text: str) -> str:
    return date.fromisoformat(text).isoformat()


def _plain_integer(text: str) -> str:
    number = int(text)
    if not -(2**63) <= number < 2**63:
        raise ValueError(text)
    return str(number)


def _is(normal: Callable[[str], str], text: str) -> bool:
    """Whether a text is the normal form of the value it stands for."""
    try:
        return normal(text) == text
    except ValueError:
        return False
