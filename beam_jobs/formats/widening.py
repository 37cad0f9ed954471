"""Which DuckDB type holds every value of another: how columns of typed files are brought together.

Only what is exact counts: BIGINT does not widen to DOUBLE, and nothing to VARCHAR.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType

import duckdb

from beam_jobs.errors import InputError
from beam_jobs.formats import casts

NULL = '"NULL"'
_LARGEST_PRECISION = 38
_DECIMAL = re.compile(r"DECIMAL\((\d+),(\d+)\)")
# Bits of the magnitude, and whether there are negative numbers; narrow before wide.
_INTEGERS: Mapping[str, tuple[int, bool]] = MappingProxyType(
    {
        "UTINYINT": (8, False),
        "TINYINT": (7, True),
        "USMALLINT": (16, False),
        "SMALLINT": (15, True),
        "UINTEGER": (32, False),
        "INTEGER": (31, True),
        "UBIGINT": (64, False),
        "BIGINT": (63, True),
        "UHUGEINT": (128, False),
        "HUGEINT": (127, True),
    }
)
# Bits of the integers that each holds without a gap.
_MANTISSA: Mapping[str, int] = MappingProxyType({"FLOAT": 24, "DOUBLE": 53})
# Coarser before finer. A time out of the range of a finer type fails in the cast.
_CHAINS = (
    ("TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP", "TIMESTAMP_NS"),
    ("TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ_NS"),
    ("TIME", "TIME_NS"),
    ("FLOAT", "DOUBLE"),
    ("JSON", "VARCHAR"),
)


@functools.lru_cache(maxsize=4096)
def widens(kind: str, to: str) -> bool:
    """Whether a cast from one type to another keeps every value, or fails.

    Args:
        kind: DuckDB type of a file's column.
        to: DuckDB type of the run's column.
    """
    kind, to = casts.spelled(kind), casts.spelled(to)
    if kind in (to, NULL):
        return True
    if kind.startswith("ENUM("):
        return to == "VARCHAR"
    if any(kind in chain and to in chain[chain.index(kind) :] for chain in _CHAINS):
        return True
    if kind in _INTEGERS:
        return _integer_widens(kind, to)
    decimal, wide = _DECIMAL.fullmatch(kind), _DECIMAL.fullmatch(to)
    if decimal and wide:
        precision, scale = int(decimal[1]), int(decimal[2])
        more = int(wide[2]) - scale
        return more >= 0 and int(wide[1]) - precision >= more
    return _nested_widens(kind, to)


def common(one: str, other: str) -> str | None:
    """Return the narrowest type that holds every value of two types; None if there is none."""
    if widens(one, other):
        return other
    if widens(other, one):
        return one
    if one in _INTEGERS and other in _INTEGERS:
        both = (kind for kind in _INTEGERS if widens(one, kind) and widens(other, kind))
        return next(both, None)
    digits = [_digits(kind) for kind in (one, other)]
    if None not in digits:
        scale = max(found[1] for found in digits if found)
        precision = max(found[0] for found in digits if found) + scale
        return f"DECIMAL({precision},{scale})" if precision <= _LARGEST_PRECISION else None
    if widens(one, "DOUBLE") and widens(other, "DOUBLE"):
        return "DOUBLE"
    return None


def columns_of_all(
    files: Iterable[tuple[str, Mapping[str, str | None]]], declared: Mapping[str, str]
) -> dict[str, str]:
    """Return name and DuckDB type of the columns of a run.

    Args:
        files: Path of each sampled file, and name and DuckDB type of its columns; None for a type
            that DuckDB does not have. Such columns are none of the run's.
        declared: Types that are given; they are not questioned.

    Raises:
        InputError: The types of a column in two files have none in common.
    """
    given = {name.lower(): (name, kind) for name, kind in declared.items()}
    # By the name in lower case: its spelling, its type, and the file that has it.
    found: dict[str, tuple[str, str, str]] = {}
    for path, columns in files:
        for name, kind in columns.items():
            if name.lower() in given:
                found.setdefault(name.lower(), (name, given[name.lower()][1], path))
            elif kind is not None:
                spelled, before, first = found.setdefault(name.lower(), (name, kind, path))
                both = common(before, kind)
                if both is None:
                    raise InputError(
                        f"{path}: column {name} is {kind}, but {before} in {first}, and no type "
                        "holds both exactly; give each kind of file a pattern of its own"
                    )
                found[name.lower()] = (spelled, both, first if both == before else path)
    columns_found = {name: kind for name, kind, _ in found.values()}
    columns_found.update({name: kind for low, (name, kind) in given.items() if low not in found})
    # A column that is NULL in all of the sampled files may be anything in another.
    return {name: "VARCHAR" if kind == NULL else kind for name, kind in columns_found.items()}


def no_fit(path: str, name: str, stored: str, kind: str) -> InputError:
    """Return the error for a column whose type in a file does not widen to the run's."""
    return InputError(
        f"{path}: column {name} is {stored}, which {kind}, the type of the run's column, does not "
        "hold exactly; declare a type that does, or give each kind of file a pattern of its own"
    )


def _integer_widens(kind: str, to: str) -> bool:
    bits, signed = _INTEGERS[kind]
    if to in _INTEGERS:
        wide, wide_signed = _INTEGERS[to]
        return bits <= wide and (wide_signed or not signed)
    if to in _MANTISSA:
        return bits <= _MANTISSA[to]
    if decimal := _DECIMAL.fullmatch(to):
        return len(str(2**bits)) <= int(decimal[1]) - int(decimal[2])
    return to == "BIGNUM"


def _digits(kind: str) -> tuple[int, int] | None:
    """Return how many digits a type has before and after the point."""
    if decimal := _DECIMAL.fullmatch(kind):
        return int(decimal[1]) - int(decimal[2]), int(decimal[2])
    return (len(str(2 ** _INTEGERS[kind][0])), 0) if kind in _INTEGERS else None


def _nested_widens(kind: str, to: str) -> bool:
    """Whether two types are built alike, of parts that widen."""
    narrow, wide = duckdb.sqltype(kind), duckdb.sqltype(to)
    if narrow.id != wide.id or narrow.id not in ("list", "array", "struct", "map"):
        return False
    pairs = list(zip(narrow.children, wide.children, strict=False))
    return len(narrow.children) == len(wide.children) and all(
        one == other and (a == b if isinstance(a, int) else widens(str(a), str(b)))
        for (one, a), (other, b) in pairs
    )
