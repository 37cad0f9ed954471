"""How the text of a CSV value becomes a typed value, and what makes it a reject.

DuckDB's own casts are lenient where a number would silently change: '12.5' becomes the BIGINT 13,
'1.555' the DECIMAL(5,2) 1.56, '2013-01-01 23:00' a DATE without its time. Here these are rejects.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import duckdb

from beam_jobs.session import quote_name

_INTEGERS = frozenset(
    "TINYINT SMALLINT INTEGER INT BIGINT HUGEINT UTINYINT USMALLINT UINTEGER UBIGINT UHUGEINT "
    "INT1 INT2 INT4 INT8 INT16 INT32 INT64 INT128 SHORT LONG SIGNED INTEGRAL OID".split()
)
_DECIMAL = re.compile(r"(?:DECIMAL|NUMERIC|DEC)\s*(?:\(\s*\d+\s*(?:,\s*(\d+)\s*)?\))?$")
_DEFAULT_DECIMAL_SCALE = 3

# What a column's values must look like for its type to be inferred, most particular first. The
# forms are those that DuckDB's CSV sniffer takes for each type.
_OFFSET = r"(Z|[+-]\d{2}(:?\d{2})?)"
_DATE = r"\d{4}-\d{1,2}-\d{1,2}"
_TIME = r"\d{1,2}:\d{2}:\d{2}(\.\d+)?"
INFERRED: Mapping[str, str] = MappingProxyType(
    {
        "BOOLEAN": r"(?i)true|false",
        "BIGINT": r"\s*[+-]?\d+\s*",
        "DOUBLE": r"(?i)\s*[+-]?(\d+\.?\d*(e[+-]?\d+)?|\.\d+(e[+-]?\d+)?|nan|inf|infinity)\s*",
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


def cast(name: str, kind: str) -> str:
    """Return SQL for the value of a text column, NULL where the text is no value of its type."""
    text = quote_name(name)
    lossy = _lossy(text, kind.upper().strip())
    plain = f"TRY_CAST({text} AS {kind})"
    return f"CASE WHEN {lossy} THEN NULL ELSE {plain} END" if lossy else plain


def _lossy(text: str, kind: str) -> str | None:
    """Return SQL for whether DuckDB's cast of a text would lose a part of it."""
    exponent = f"contains(lower({text}), 'e')"
    if kind in _INTEGERS:
        return f"contains({text}, '.') OR {exponent}"
    if decimal := _DECIMAL.match(kind):
        scale = int(decimal[1] or (0 if "(" in kind else _DEFAULT_DECIMAL_SCALE))
        return f"length(rtrim(split_part({text}, '.', 2), '0 ')) > {scale} OR {exponent}"
    if kind == "DATE":
        return f"contains({text}, ':')"
    if kind == "TIME":
        return f"contains({text}, '-')"
    return None


def is_bad(name: str, kind: str) -> str:
    """Return SQL for whether the text of a column is no value of its type."""
    if kind.upper().strip() in ("VARCHAR", "TEXT", "STRING"):
        return "false"
    return f"({quote_name(name)} IS NOT NULL AND {cast(name, kind)} IS NULL)"


def matches(name: str, kind: str, null_strings: Sequence[str]) -> str:
    """Return SQL for whether every text of a column is of an inferred type or one of some nulls."""
    text = quote_name(name)
    form = INFERRED[kind].replace("'", "''")
    nulls = "".join(f" OR {text} = '{null.replace(chr(39), chr(39) * 2)}'" for null in null_strings)
    fits = f"(regexp_full_match({text}, '{form}') AND {cast(name, kind)} IS NOT NULL)"
    return f"bool_and({fits}{nulls})"
