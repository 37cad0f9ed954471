"""Evaluates the checks of a run: its metrics, its results, and the partitions before it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import duckdb

from beam_jobs.checks.audit_report import CheckResult, HistoryValue, Number, ValueFound, message_of
from beam_jobs.checks.check_conditions import Condition
from beam_jobs.checks.check_metrics import Metric, Value, history_sql, measures, value_in
from beam_jobs.checks.check_types import kind_of_condition, not_boolean
from beam_jobs.datasets.dataset_parts import Check
from beam_jobs.engine.run_report import RunReport
from beam_jobs.errors import QueryError
from beam_jobs.sql.functions import APPROXIMATE
from beam_jobs.sql.syntax import duckdb_error, print_expression, walk

_INTEGER = re.compile(r"U?(TINY|SMALL|BIG|HUGE)INT|U?INTEGER")
# What DuckDB says of a NULL that nothing gives a type.
_UNTYPED = '"NULL"'
NO_HISTORY = "no history"


@dataclass(frozen=True)
class Earlier:
    """A published partition before the run's."""

    key: str
    report: RunReport


@dataclass(frozen=True)
class Evaluator:
    """Evaluates conditions for one run.

    Attributes:
        session: In which its results are tables.
        report: Of the run.
        earlier: The published partitions before, the newest first; at least as many as any
            condition looks back, if there are so many.
    """

    session: duckdb.DuckDBPyConnection
    report: RunReport
    earlier: Sequence[Earlier]

    def result(self, name: str, check: Check, condition: Condition) -> CheckResult:
        """Evaluate a check.

        Whatever keeps it from being true or false is a failure, with the reason; except that a
        check passes which is NULL for nothing but the lack of partitions before.

        Args:
            name: Of the check.
            check: The check.
            condition: Its condition.
        """
        values: dict[str, ValueFound] = {}
        reason: str | None
        try:
            passed, reason = self._outcome(condition, values)
        except duckdb.Error as error:
            fields = duckdb_error(error)
            passed, reason = False, " ".join(str(fields["exception_message"]).split())
        except QueryError as error:
            passed, reason = False, error.problem
        found = tuple(values.values())
        message = message_of(condition.text, found, reason)
        if check.description and not passed:
            message += f". {' '.join(check.description.split())}"
        return CheckResult(
            name=name,
            condition=condition.text,
            severity=check.severity,
            passed=passed,
            values=found,
            message=message,
        )

    def _outcome(
        self, condition: Condition, values: dict[str, ValueFound]
    ) -> tuple[bool, str | None]:
        """Return whether a condition is true, and what else there is to say.

        Args:
            condition: The condition.
            values: Receives what is found.
        """
        literals: dict[Metric, str] = {}
        for metric in condition.metrics:
            if metric.of is None:
                current = value_in(metric, self.report)
                values.setdefault(str(metric), _found(metric, current))
            else:
                current = self._history(metric, metric.of, values)
            literals[metric] = current.sql
        for spelling, node in condition.subqueries:
            value = self._evaluate(print_expression(node))
            values[spelling] = ValueFound(
                name=spelling,
                value=_json(value),
                approximate=any(
                    str(part.get("function_name")).lower() in APPROXIMATE for part in walk(node)
                ),
                note=None,
            )
        kind = kind_of_condition(self.session, condition, literals)
        if kind != "BOOLEAN":
            return False, not_boolean(kind)
        ((passed,),) = self.session.execute(f"SELECT {condition.sql(literals)}").fetchall()
        unknown = [] if passed is not None else list(self._unknown(condition, literals, values))
        return _verdict(passed, list(values.values()), unknown)

    def _unknown(
        self,
        condition: Condition,
        literals: Mapping[Metric, str],
        values: Mapping[str, ValueFound],
    ) -> Iterator[str]:
        """Yield the parts of a condition that are NULL, and not for the lack of history."""
        for part in condition.parts:
            if any(values[str(metric)].note == NO_HISTORY for metric in part.metrics):
                continue
            if self._evaluate(part.sql(literals)).text is None:
                yield print_expression(part.expression)

    def _history(self, metric: Metric, of: Metric, values: dict[str, ValueFound]) -> Value:
        """Return the value of a metric of the history, and note it and what it is compared with."""
        current = value_in(of, self.report)
        if metric.is_compared:
            values.setdefault(str(of), _found(of, current))
        looked_at = self.earlier[: metric.partitions]
        earlier = [(one.key, value_in(of, one.report)) for one in looked_at]
        known = [value for _, value in earlier if value.text is not None]
        # Of a value that is NULL now, the type may not be known.
        other = _other_type(known if current.text is None else [current, *known])
        note: str | None
        if other is not None:
            value, note = Value(None, None), f"{of} is {other}; declare the column's type"
        else:
            value = self._evaluate(history_sql(metric, current, known))
            note = None if value.text is not None else _why_null(metric, current, known)
        values[str(metric)] = ValueFound(
            name=str(metric),
            value=_json(value),
            approximate=metric.is_approximate,
            note=note,
            of=str(of),
            history=tuple(
                HistoryValue(partition=key, value=_json(value)) for key, value in earlier
            ),
        )
        return value

    def _evaluate(self, sql: str) -> Value:
        query = f"SELECT CAST(e AS VARCHAR), typeof(e) FROM (SELECT {sql} AS e)"
        ((text, kind),) = self.session.execute(query).fetchall()
        return Value(text, None if kind == _UNTYPED else kind)


def _verdict(
    passed: bool | None, values: Sequence[ValueFound], unknown: Sequence[str]
) -> tuple[bool, str | None]:
    lacks_history = any(value.note == NO_HISTORY for value in values)
    if passed is not None:
        return passed, None
    others = [value.name for value in values if value.value is None and value.note != NO_HISTORY]
    if lacks_history:
        others = others or list(unknown)
    if lacks_history and not others:
        return True, f"passed, as there is {NO_HISTORY} to compare with"
    why = f", as {' and '.join(others)} is NULL" if others else ""
    return False, f"is NULL, neither true nor false{why}; say what holds then, as in rows = 0 OR …"


def _found(metric: Metric, value: Value) -> ValueFound:
    return ValueFound(
        name=str(metric),
        value=_json(value),
        approximate=metric.is_approximate,
        note=value.note,
    )


def _json(value: Value) -> Number:
    """Return a value as JSON has it: a number if nothing of it is lost."""
    if value.text is None:
        return None
    kind = value.kind or ""
    if kind == "BOOLEAN":
        return value.text == "true"
    if _INTEGER.fullmatch(kind):
        return int(value.text)
    return float(value.text) if kind in ("FLOAT", "DOUBLE") else value.text


def _why_null(metric: Metric, current: Value, known: Sequence[Value]) -> str:
    if not known:
        return NO_HISTORY
    return current.note or f"the trailing mean is 0, of which {metric.of} is no fraction"


def _other_type(values: Sequence[Value]) -> str | None:
    """Return which types values have that cannot be compared, None if they can."""
    kinds = dict.fromkeys(str(value.kind) for value in values)
    if len(kinds) < 2 or all("mean" in measures(kind) for kind in kinds):  # noqa: PLR2004
        return None
    return " and ".join(kinds)
