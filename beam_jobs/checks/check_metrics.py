"""The metrics that a check's condition may name, and their values in run reports."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from beam_jobs.engine.profile import VALUE_CHARACTERS, profile_plan
from beam_jobs.engine.run_report import ColumnProfile, Profile, RunReport
from beam_jobs.engine.session import quote_name, quote_text
from beam_jobs.formats.casts import spelled

# Of a run as a whole.
OF_RUN = ("rows", "rejects", "files", "missing_columns", "new_columns")
# Of a column, by the measure of the profile that they are taken from.
OF_COLUMN: Mapping[str, str] = MappingProxyType(
    {
        "null_fraction": "filled",
        "distinct_count": "distinct",
        "min": "min",
        "max": "max",
        "mean": "mean",
        "quantile": "quantiles",
    }
)
# Of another metric in the partitions before.
OF_HISTORY = (
    "previous",
    "trailing_mean",
    "trailing_min",
    "trailing_max",
    "change_from_trailing_mean",
)
NAMES = (*OF_RUN, *OF_COLUMN, *OF_HISTORY)
_APPROXIMATE = ("distinct_count", "quantile")
_PLAIN_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)


@dataclass(frozen=True)
class Metric:
    """A number, or the least or greatest value of a column, that a condition names.

    Attributes:
        name: Its function, or its name where it has no arguments.
        column: Of which column; None for a metric of the run.
        percent: Of a quantile.
        of: For a metric of the history, what it is taken of.
        partitions: How many earlier partitions that is at most.
    """

    name: str
    column: str | None = None
    percent: int | None = None
    of: Metric | None = None
    partitions: int = 0

    def __str__(self) -> str:
        if self.of is not None:
            count = "" if self.name == "previous" else f", {self.partitions}"
            return f"{self.name}({self.of}{count})"
        if self.column is None:
            return self.name
        plain = _PLAIN_NAME.fullmatch(self.column)
        column = self.column if plain else quote_name(self.column)
        return f"{self.name}({column}{'' if self.percent is None else f', {self.percent / 100:g}'})"

    @property
    def is_approximate(self) -> bool:
        """Whether its value is an estimate."""
        return (self.of or self).name in _APPROXIMATE

    @property
    def is_compared(self) -> bool:
        """Whether the value of the run itself is part of it, besides the history."""
        return self.name == "change_from_trailing_mean"

    @property
    def in_profile(self) -> Metric | None:
        """The metric of a column's profile that it is or that it is taken of, None without one."""
        metric = self.of or self
        return metric if metric.column is not None else None


@dataclass(frozen=True)
class Value:
    """A metric's value as a SQL literal of its type.

    Attributes:
        text: The value; None for NULL.
        kind: Its DuckDB type, None where that is not known.
        note: Why it is NULL.
    """

    text: str | None
    kind: str | None
    note: str | None = None

    @property
    def sql(self) -> str:
        """An expression that has the value, and the type."""
        literal = "NULL" if self.text is None else quote_text(self.text)
        return literal if self.kind is None else f"CAST({literal} AS {self.kind})"


@functools.cache
def measures(kind: str) -> frozenset[str]:
    """Return what the profile has of columns of a type, as `OF_COLUMN` names it."""
    found = profile_plan({"x": kind}).result
    return frozenset(name.removesuffix("0").removesuffix("_") for name in found)


def kind_of(metric: Metric, columns: Mapping[str, str]) -> str | None:
    """Return the type of a metric, None where that of its column is not known.

    Args:
        metric: The metric.
        columns: Name to DuckDB type.
    """
    if metric.name in ("min", "max"):
        kind = column_kind(str(metric.column), columns)
        # The profile has the least and the greatest of its texts.
        return "VARCHAR" if kind is not None and spelled(kind).startswith("ENUM") else kind
    if metric.name in ("previous", "trailing_min", "trailing_max") and metric.of is not None:
        return kind_of(metric.of, columns)
    return "BIGINT" if metric.name in (*OF_RUN, "distinct_count") else "DOUBLE"


def column_kind(name: str, columns: Mapping[str, str]) -> str | None:
    """Return the type of a column; as in DuckDB, the case of its name does not matter."""
    return next((kind for one, kind in columns.items() if one.lower() == name.lower()), None)


def value_in(metric: Metric, report: RunReport) -> Value:
    """Return the value of a metric, not one of the history, in a run.

    Args:
        metric: The metric.
        report: Of the run.
    """
    if metric.column is not None:
        return _value_of_column(metric, metric.column, report.rows, report.profile)
    numbers = {
        "rows": report.rows,
        "rejects": report.rejects.count,
        "files": report.inputs.number,
        "missing_columns": len(report.drift.missing),
        "new_columns": len(report.drift.new),
    }
    return Value(str(numbers[metric.name]), "BIGINT")


def _value_of_column(metric: Metric, name: str, rows: int, profile: Profile | None) -> Value:
    columns = {} if profile is None else {column.name: column for column in profile.columns}
    kinds = {name: column.type for name, column in columns.items()}
    kind = kind_of(metric, kinds)
    if profile is None:
        return Value(None, kind, "the run has no profile")
    column = next((one for one in profile.columns if one.name.lower() == name.lower()), None)
    if column is None:
        return Value(None, kind, f"the run has no column {name}")
    if OF_COLUMN[metric.name] not in measures(column.type):
        return Value(None, kind, f"the profile has none of {column.type} columns")
    text = _text(metric, column, rows)
    if text is None:
        why = "there are no rows" if rows == 0 else f"the column {name} has no values"
        return Value(None, kind, why)
    if kind == "VARCHAR" and len(text) >= VALUE_CHARACTERS:
        return Value(None, kind, f"the profile cuts it after {VALUE_CHARACTERS} characters")
    return Value(text, kind)


def _text(metric: Metric, column: ColumnProfile, rows: int) -> str | None:
    """Return the text of a metric's value in a column's profile."""
    number: float | None
    match metric.name:
        case "min":
            return column.min
        case "max":
            return column.max
        case "null_fraction":
            number = column.nulls / rows if rows else None
        case "distinct_count":
            number = column.distinct
        case "mean":
            number = column.mean
        case _:
            number = (column.quantiles or {}).get(str(metric.percent))
    return None if number is None else repr(number)


def history_sql(metric: Metric, current: Value, earlier: Sequence[Value]) -> str:
    """Return SQL for a metric of the history.

    Args:
        metric: The metric.
        current: The value in the run itself of what it is taken of.
        earlier: Its values in the partitions before, the newest first, none of them NULL.
    """
    if not earlier:
        is_same = metric.name in ("previous", "trailing_min", "trailing_max")
        return Value(None, current.kind if is_same else "DOUBLE").sql
    values = f"[{', '.join(value.sql for value in earlier)}]"
    mean = f"CAST(list_avg({values}) AS DOUBLE)"
    match metric.name:
        case "previous":
            return earlier[0].sql
        case "trailing_mean":
            return mean
        case "trailing_min":
            return f"list_min({values})"
        case "trailing_max":
            return f"list_max({values})"
        case _:
            difference = f"(CAST({current.sql} AS DOUBLE) - {mean})"
            return f"(CASE WHEN {mean} <> 0 THEN {difference} / abs({mean}) END)"
