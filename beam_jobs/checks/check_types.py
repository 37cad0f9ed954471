"""Whether the conditions of a dataset's checks fit its columns and its results.

Nothing is read for it: what is not declared is not checked before a run.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping

import duckdb

from beam_jobs.checks.check_conditions import Condition
from beam_jobs.checks.check_metrics import (
    NAMES,
    OF_COLUMN,
    Metric,
    Value,
    column_kind,
    kind_of,
    measures,
)
from beam_jobs.engine.session import open_session, quote_name
from beam_jobs.errors import QueryError
from beam_jobs.sql.syntax import duckdb_error

_OF_NUMBERS = ("trailing_mean", "change_from_trailing_mean")


def check_types(
    condition: Condition,
    columns: Mapping[str, str] | None,
    results: Mapping[str, Mapping[str, str]],
    *,
    has_profile: bool,
) -> None:
    """Refuse a condition that cannot be evaluated, as far as that is known before a run.

    Args:
        condition: The condition.
        columns: Name to DuckDB type of the columns of ``input``; None if they are not declared.
        results: Of each result whose columns are known, name to DuckDB type.
        has_profile: Whether the run report has a profile.

    Raises:
        QueryError: With what to write instead.
    """
    for metric in condition.metrics:
        problem = _problem(metric, columns, has_profile=has_profile)
        if problem is not None:
            raise QueryError(problem, condition.text, condition.places[metric])
    if not results.keys() >= set(condition.results):
        return
    kinds = {metric: kind_of(metric, columns or {}) for metric in condition.metrics}
    values = {metric: Value(None, kind).sql for metric, kind in kinds.items()}
    with open_session() as session:
        for name in condition.results:
            listed = ", ".join(f"{quote_name(one)} {kind}" for one, kind in results[name].items())
            session.execute(f"CREATE TABLE {quote_name(name)}({listed})")
        kind = kind_of_condition(session, condition, values)
    if None not in kinds.values() and kind != "BOOLEAN":
        raise QueryError(not_boolean(kind), condition.text)


def kind_of_condition(
    session: duckdb.DuckDBPyConnection, condition: Condition, values: Mapping[Metric, str]
) -> str:
    """Return the DuckDB type of a condition; nothing is evaluated.

    Args:
        session: In which the results are tables.
        condition: The condition.
        values: A SQL expression for each of its metrics.

    Raises:
        QueryError: It names a column that a result does not have, or compares what cannot be.
    """
    try:
        described = session.execute(f"DESCRIBE SELECT {condition.sql(values)}").fetchall()
    except duckdb.Error as error:
        fields = duckdb_error(error)
        problem = " ".join(str(fields["exception_message"]).split())
        name = str(fields.get("name", ""))
        if name.lower() in NAMES:
            problem = f"{name} is of the run: write it outside of subqueries"
        raise QueryError(problem, condition.text, condition.position_of(name)) from error
    return str(described[0][1])


def not_boolean(kind: str) -> str:
    """Return what is wrong with a condition of another type."""
    return f"is of type {kind}, and neither true nor false: compare it, as in rows > 0"


def _problem(metric: Metric, columns: Mapping[str, str] | None, *, has_profile: bool) -> str | None:
    one = metric.in_profile
    if one is not None and not has_profile:
        return f"{one} is taken from the profile; delete 'profile: false', or this check"
    if one is None or columns is None:
        return None
    name = str(one.column)
    kind = column_kind(name, columns)
    if kind is None:
        return f"{metric}: there is no column {name!r}; {nearest(name, columns)}"
    found = measures(kind)
    if OF_COLUMN[one.name] not in found:
        return f"{one}: {name} is {kind}, and the profile has no {one.name} of that type"
    if metric.name in _OF_NUMBERS and one.name in ("min", "max") and "mean" not in found:
        return f"{metric} is of numbers, and {name} is {kind}"
    return None


def nearest(name: str, columns: Collection[str]) -> str:
    """Return which column may have been meant by a name that none has."""
    near = difflib.get_close_matches(name.lower(), [one.lower() for one in columns], n=1)
    known = next((one for one in columns if one.lower() in near), None)
    return f"the columns are {', '.join(columns)}" if known is None else f"did you mean {known}?"
