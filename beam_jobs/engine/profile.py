"""The profile of the columns, as a plan like a query's: it is computed in the same read.

The most frequent values are rows of a relation of their own. Of each column, a block gives its
1,000 most frequent values with their counts, and a *bound*: how often any other value may occur.
Combined, counts and bounds add up, and what then exceeds 1,000 values goes into the bound. So a
value occurs at least as often as it was counted, and at most that and the bound; and nothing that
was left out occurs more often than the bound. Without anything left out, counts are exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import duckdb

from beam_jobs.engine.run_report import PERCENTS, ColumnProfile, FrequentValue, Profile
from beam_jobs.engine.session import quote_name
from beam_jobs.formats.casts import spelled
from beam_jobs.sql import Plan, Relation, plan_query
from beam_jobs.sql.functions import APPROXIMATE
from beam_jobs.sql.relations import STATES

KEPT_VALUES = 1000
SHOWN_VALUES = 10
# Planning takes 4 ms a column, and the states of each block grow with them.
MOST_COLUMNS = 500
# Longer values are not kept among the frequent ones; so a state is at most some 200 KB a column.
VALUE_CHARACTERS = 200
# Where so many of a block's first values differ, counting all of them costs much and tells nothing.
_SAMPLED = 4096
_MANY_DISTINCT = 3900

_INTEGERS = (
    "TINYINT SMALLINT INTEGER BIGINT HUGEINT UTINYINT USMALLINT UINTEGER UBIGINT UHUGEINT".split()
)
_NUMBERS = (*_INTEGERS, "FLOAT", "DOUBLE", "DECIMAL")
_ORDERED = (*_NUMBERS, "VARCHAR", "BOOLEAN", "UUID", "ENUM", "DATE", "TIME", "TIMESTAMP")
_APPROXIMATE: Mapping[str, str] = MappingProxyType(
    {
        "distinct": APPROXIMATE["approx_count_distinct"],
        "quantiles": APPROXIMATE["approx_quantile"],
    }
)


def profile_plan(columns: Mapping[str, str]) -> Plan:
    """Plan the profile of columns.

    Args:
        columns: Name to DuckDB type of the columns of ``input``; one at least.
    """
    selected = ["count(*) AS rows"]
    for number, (name, kind) in enumerate(columns.items()):
        selected += [
            f"{sql} AS {measure}{number}" for measure, sql in _measures(name, kind).items()
        ]
    plan = plan_query(f"SELECT {', '.join(selected)} FROM input", columns)
    counted = [
        _frequent_of_block(number, quote_name(name))
        for number, (name, kind) in enumerate(columns.items())
        if _has_order(kind)
    ]
    if not counted:
        return plan
    partial = (
        # A value that is too long goes into the bound, which has no value.
        "SELECT col, value, (CASE WHEN value IS NULL THEN max(n) ELSE sum(n) END)::BIGINT AS n "
        "FROM (SELECT col, CASE WHEN place <= "
        f"{KEPT_VALUES} AND length(value) <= {VALUE_CHARACTERS} THEN value END AS value, n "
        f"FROM ({' UNION ALL '.join(counted)})) GROUP BY col, value"
    )
    frequent = Relation(keys=1, partial=partial, combine=_COMBINE, positioned=False)
    return replace(plan, relations=(*plan.relations, frequent))


def read_profile(session: duckdb.DuckDBPyConnection, columns: Mapping[str, str]) -> Profile:
    """Read the profile from a session in which its plan is finalized.

    Args:
        session: As `beam_jobs.engine.states.finalized` yields it.
        columns: Those of the plan.
    """
    result = session.execute("FROM result")
    names = [column[0] for column in result.description or ()]
    ((*values,),) = result.fetchall()
    found = dict(zip(names, values, strict=True))
    counts: dict[int, list[tuple[str | None, int]]] = {}
    if any(map(_has_order, columns.values())):
        rows = f"SELECT col, value, n FROM {STATES}1 ORDER BY col, n DESC, value"
        for number, value, count in session.execute(rows).fetchall():
            counts.setdefault(number, []).append((value, count))
    profiles = (
        _profile(number, name, kind, found, counts.get(number, ()))
        for number, (name, kind) in enumerate(columns.items())
    )
    return Profile(columns=tuple(profiles), approximate=dict(_APPROXIMATE))


def _root(kind: str) -> str:
    """Return a type without its parameters; of a nested type, something that is none."""
    name = spelled(kind)
    if name.endswith("]"):
        return name
    return name.partition("(")[0].removesuffix(" WITH TIME ZONE").partition("_")[0]


def _has_order(kind: str) -> bool:
    return _root(kind) in _ORDERED


def _measures(name: str, kind: str) -> dict[str, str]:
    """Return the SQL of each measure of a column; none of them can fail, whatever the values."""
    column, root = quote_name(name), _root(kind)
    found = {"filled": f"count({column})"}
    if root not in _ORDERED:
        return found
    found["distinct_"] = f"approx_count_distinct({column})"
    # The least of the beginnings is the beginning of the least.
    ends = {"VARCHAR": f"left({column}, {VALUE_CHARACTERS})", "ENUM": f"{column}::VARCHAR"}
    value = ends.get(root, column)
    found["min_"] = f"min({value})::VARCHAR"
    found["max_"] = f"max({value})::VARCHAR"
    if root in _NUMBERS:
        number = f"{column}::DOUBLE"
        if root in ("FLOAT", "DOUBLE"):
            number = f"CASE WHEN isfinite({column}) THEN {number} END"
        fractions = ", ".join(str(percent / 100) for percent in PERCENTS)
        found["mean_"] = f"avg({number})"
        found["quantiles_"] = f"approx_quantile({number}, [{fractions}])"
    return found


def _frequent_of_block(number: int, column: str) -> str:
    """Return SQL for the most frequent values of a column in a block, and the one after them.

    The count of that one is what any other may have at most. A column whose values nearly all
    differ has no such values: there is one row of place 0 without a value, and with all rows.
    """
    is_counted = (
        f"(SELECT count(DISTINCT {column}) < {_MANY_DISTINCT} "
        f"FROM (SELECT {column} FROM input LIMIT {_SAMPLED}))"
    )
    return (
        f"SELECT {number}::USMALLINT AS col, v::VARCHAR AS value, n, "
        f"row_number() OVER (ORDER BY n DESC, v) AS place FROM (SELECT {column} AS v, "
        # By position: the names may be those of columns, too.
        f"count(*) AS n FROM input WHERE {column} IS NOT NULL AND {is_counted} "
        f"GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {KEPT_VALUES + 1}) "
        f"UNION ALL SELECT {number}::USMALLINT, NULL, count({column}), 0 FROM input "
        f"WHERE NOT {is_counted} HAVING count({column}) > 0"
    )


# A bound has no value. What is left out now may have occurred as often as it was counted, and as
# the bounds say, besides.
_COMBINE = f"""
    SELECT col, CASE WHEN place <= {KEPT_VALUES} THEN value END AS value,
           (CASE WHEN bool_or(value IS NULL) OR min(place) > {KEPT_VALUES}
                 THEN coalesce(max(n) FILTER (value IS NULL), 0)
                      + coalesce(max(n) FILTER (value IS NOT NULL), 0)
                 ELSE max(n) END)::BIGINT AS n
    FROM (
        SELECT col, value, n,
               CASE WHEN value IS NOT NULL
                    THEN row_number() OVER (PARTITION BY col, value IS NULL ORDER BY n DESC, value)
               END AS place
        FROM (SELECT col, value, sum(n) AS n FROM {STATES} GROUP BY col, value)
    )
    GROUP BY col, CASE WHEN place <= {KEPT_VALUES} THEN value END"""


def _profile(
    number: int,
    name: str,
    kind: str,
    found: Mapping[str, Any],
    counts: list[tuple[str | None, int]] | tuple[()],
) -> ColumnProfile:
    def measure(measure: str) -> Any:
        return found.get(f"{measure}{number}")

    quantiles = measure("quantiles_")
    has_values = _has_order(kind)
    bound = next((count for value, count in counts if value is None), 0)
    frequent = tuple(
        FrequentValue(value=value, at_least=count, at_most=count + bound)
        for value, count in counts
        if value is not None and count > bound
    )
    return ColumnProfile(
        name=name,
        type=kind,
        nulls=found["rows"] - measure("filled"),
        distinct=measure("distinct_"),
        min=measure("min_"),
        max=measure("max_"),
        mean=measure("mean_"),
        quantiles=quantiles and dict(zip(map(str, PERCENTS), quantiles, strict=True)),
        frequent=frequent[:SHOWN_VALUES] if has_values else None,
        others_at_most=bound if has_values else None,
    )
