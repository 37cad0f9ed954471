"""How the text of a CSV value becomes a typed value, and what makes it a reject.

DuckDB's own casts are lenient where a value silently changes: '12.5' becomes the BIGINT 13,
'1.555' the DECIMAL(5,2) 1.56, '1e400' the DOUBLE infinity, '2013-01-01 23:00:00' a DATE without its
time, '2013-01-01 10:00:00+02' a TIMESTAMP without its offset. Here these are rejects. What a type
cannot help stays: FLOAT and DOUBLE hold the nearest number that they have.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from types import MappingProxyType

import duckdb

from beam_jobs.engine.session import quote_text

_INTEGERS = (
    "TINYINT SMALLINT INTEGER BIGINT HUGEINT UTINYINT USMALLINT UINTEGER UBIGINT UHUGEINT BIGNUM"
).split()
_DECIMAL = re.compile(r"DECIMAL\(\d+,(\d+)\)")
# Types whose every text is either cast whole or not at all.
_EXACT = frozenset(("VARCHAR", "BOOLEAN", "UUID", "BLOB", "BIT", "JSON"))
# Digits that each type keeps of a second.
_SECOND_DIGITS: Mapping[str, int] = MappingProxyType(
    {
        "TIME": 6,
        "TIME_NS": 9,
        "TIME WITH TIME ZONE": 6,
        "TIMESTAMP": 6,
        "TIMESTAMP_S": 0,
        "TIMESTAMP_MS": 3,
        "TIMESTAMP_NS": 9,
        "TIMESTAMP WITH TIME ZONE": 6,
        "INTERVAL": 6,
    }
)

# What a column's values must look like for its type to be inferred, most particular first. The
# forms are those that DuckDB's CSV sniffer takes for each type.
_OFFSET = r"(Z|[+-]\d{2}(:?\d{2})?)"
_DATE = r"\d{4}-\d{1,2}-\d{1,2}"
_TIME = r"\d{1,2}:\d{2}:\d{2}(\.\d+)?"
INFERRED: Mapping[str, str] = MappingProxyType(
    {
        "BOOLEAN": r"(?i)true|false",
        # Of integers, `is_bad` says it all.
        "BIGINT": "",
        # DuckDB's sniffer takes these for DOUBLE, in which long numbers become equal.
        "HUGEINT": "",
        "DOUBLE": r"(?i) *[+-]?(\d+\.?\d*(e[+-]?\d+)?|\.\d+(e[+-]?\d+)?|nan|inf|infinity) *",
        "TIME": _TIME,
        "DATE": _DATE,
        "TIMESTAMP": rf"{_DATE}[ T]{_TIME}",
        "TIMESTAMP WITH TIME ZONE": rf"{_DATE}[ T]{_TIME} ?{_OFFSET}",
    }
)


def is_type(kind: str) -> bool:
    """Whether a text names one type of DuckDB's, and nothing beside it."""
    try:
        # Of "INT, b INT" DuckDB reads the INT only; as a field of a struct it is two.
        return len(duckdb.sqltype(f"STRUCT(x {kind})").children) == 1
    except duckdb.Error:
        return False


@functools.cache
def spelled(kind: str) -> str:
    """Return the one name that DuckDB prints for a type: ``BIGINT`` for ``int8``."""
    return str(duckdb.sqltype(kind))


def can_be_read(kind: str) -> bool:
    """Whether a CSV column can have a type of DuckDB's: the nested ones have no one spelling."""
    name = spelled(kind)
    return (
        name in (*_EXACT, *_INTEGERS, *_SECOND_DIGITS, "DATE", "FLOAT", "DOUBLE")
        or name.startswith("ENUM(")
        or bool(_DECIMAL.fullmatch(name))
    )


def cast(text: str, kind: str) -> str:
    """Return SQL for the value of a text, NULL where DuckDB makes none of it.

    Args:
        text: SQL for the text.
        kind: A type that `can_be_read`.
    """
    return text if spelled(kind) == "VARCHAR" else f"TRY_CAST({text} AS {kind})"


def is_bad(text: str, value: str, kind: str) -> str | None:
    """Return SQL for whether a text is no value of its type, or would lose a part of itself.

    Args:
        text: SQL for the text.
        value: SQL for what `cast` makes of it.
        kind: The type.

    Returns:
        SQL that is never NULL; None if no text is bad.
    """
    name = spelled(kind)
    if name == "VARCHAR":
        return None
    lost = _loses(text, value, name)
    return f"({text} IS NOT NULL AND ({value} IS NULL{f' OR {lost}' if lost else ''}))"


def _loses(text: str, value: str, kind: str) -> str | None:
    """Return SQL for whether a cast that DuckDB does would change what a text says."""
    if kind in _INTEGERS:
        # As exact as a regular expression, and faster: this runs on every value.
        return f"{text} GLOB '*[!0-9+ -]*'"
    if decimal := _DECIMAL.fullmatch(kind):
        return f"regexp_matches({text}, '{_more_digits(int(decimal[1]))}|[^0-9.+ -]')"
    if kind in ("FLOAT", "DOUBLE"):
        return f"(isinf({value}) AND NOT contains(lower({text}), 'inf'))"
    if kind == "DATE":
        return f"contains({text}, ':')"
    if kind not in _SECOND_DIGITS:
        return None
    lost = _more_digits(_SECOND_DIGITS[kind])
    if kind in ("TIME", "TIME_NS"):  # a date before it, an offset after it
        lost += "|[^0-9:. ]"
    elif kind.startswith("TIMESTAMP") and kind != "TIMESTAMP WITH TIME ZONE":
        lost += "|:.*[^0-9:. Z]"  # an offset; Z is none, as these hold the time in UTC
    return f"regexp_matches({text}, '{lost}')"


def _more_digits(count: int) -> str:
    """Return a pattern for a fraction with more digits than a type keeps, zeros left alone."""
    return rf"\.\d{{{count}}}\d*[1-9]"


def matches(text: str, kind: str) -> str:
    """Return SQL for whether a text, given as SQL, is of an inferred type."""
    fits = f"NOT {is_bad(text, cast(text, kind), kind)}"
    if form := INFERRED[kind]:
        return f"(regexp_full_match({text}, {quote_text(form)}) AND {fits})"
    return fits
