"""How a condition names metrics: ``rows``, ``null_fraction(dep_time)``, ``previous(rows)``."""

from __future__ import annotations

import difflib
import re
from decimal import Decimal, InvalidOperation

from beam_jobs.checks.check_metrics import NAMES, OF_COLUMN, OF_HISTORY, OF_RUN, Metric
from beam_jobs.engine.run_report import PERCENTS
from beam_jobs.errors import QueryError
from beam_jobs.sql.syntax import Node, query_error

# Names that DuckDB takes for functions.
CLOCKS = frozenset(
    {"current_date", "current_time", "current_timestamp", "localtime", "localtimestamp"}
)
MOST_PARTITIONS = 366
# A condition is parsed as what follows it.
SELECT = "SELECT "


def is_metric_function(node: Node) -> bool:
    """Whether an expression outside of subqueries is written as a metric with arguments."""
    return node["class"] == "FUNCTION" and function_name(node) in (*OF_COLUMN, *OF_HISTORY)


def function_name(node: Node) -> str:
    """Return the name of a function in lower case."""
    return str(node["function_name"]).lower()


def read_metric(text: str, node: Node) -> Metric | None:
    """Return the metric that an expression outside of subqueries names, None if it is another.

    Raises:
        QueryError: It is a name without a meaning, or a metric with other arguments than it has.
    """
    if node["class"] == "COLUMN_REF":
        name = ".".join(node["column_names"])
        if name.lower() in OF_RUN:
            return Metric(name.lower())
        raise refuse(text, node, f"{name} is no metric of a run{_hint(name)}")
    if not is_metric_function(node):
        return None
    name = function_name(node)
    extra = (
        *(node["schema"], node["filter"], node["order_bys"]["orders"], node["distinct"]),
        *(node["export_state"], *(argument["name"] for argument in node["arguments"])),
    )
    arguments = [argument["expression"] for argument in node["arguments"]]
    takes_two = name in ("quantile", *OF_HISTORY) and name != "previous"
    if any(extra) or len(arguments) != 1 + takes_two:
        raise refuse(text, node, f"{name} is written {_example(name)}, and nothing else in it")
    if name in OF_HISTORY:
        return _history(text, name, arguments)
    column = arguments[0]
    if column["class"] != "COLUMN_REF" or len(column["column_names"]) != 1:
        problem = f"{name} is of a column: write its name, as in {_example(name)}"
        raise refuse(text, column, problem)
    percent = _percent(text, arguments[1]) if takes_two else None
    return Metric(name, column["column_names"][0], percent)


def _history(text: str, name: str, arguments: list[Node]) -> Metric:
    inner = arguments[0]
    of = read_metric(text, inner)
    if of is None or of.of is not None:
        problem = f"{name} is of a metric of one run, as in {_example(name)}"
        raise refuse(text, inner, problem)
    if name == "previous":
        return Metric(name, of=of, partitions=1)
    literal = arguments[1].get("literal", {})
    count = str(literal.get("text", ""))
    if literal.get("kind") != "INTEGER" or not re.fullmatch("[0-9]{1,3}", count):
        count = "0"
    if not 1 <= int(count) <= MOST_PARTITIONS:
        problem = f"{name} is over 1 to {MOST_PARTITIONS} partitions, as in {_example(name)}"
        raise refuse(text, arguments[1], problem)
    return Metric(name, of=of, partitions=int(count))


def _percent(text: str, node: Node) -> int:
    """Return the percents of a quantile, of which the profile has a few."""
    try:
        percent = Decimal(str(node["literal"]["text"])) * 100
    except (KeyError, TypeError, InvalidOperation):
        percent = Decimal(-1)
    if percent not in PERCENTS:
        known = ", ".join(f"{one / 100:g}" for one in PERCENTS)
        raise refuse(text, node, f"the profile has the quantiles {known}; write one of them")
    return int(percent)


def _example(name: str) -> str:
    if name == "previous":
        return "previous(rows)"
    if name in OF_HISTORY:
        return f"{name}(rows, 7)"
    return "quantile(dep_delay, 0.95)" if name == "quantile" else f"{name}(dep_delay)"


def _hint(name: str) -> str:
    if name.lower() in CLOCKS:
        return ", and another value each time; write the value itself"
    near = difflib.get_close_matches(name.lower(), NAMES, n=1)
    if near:
        return f"; did you mean {near[0]}?"
    return (
        f": those are {', '.join(OF_RUN)}; of a column write {', '.join(OF_COLUMN)}, as in "
        f"null_fraction({name})"
    )


def refuse(text: str, node: Node, problem: str) -> QueryError:
    """Return the error that refuses a part of a condition.

    Args:
        text: The condition.
        node: Its part.
        problem: What is wrong, and what to write instead.
    """
    return moved(query_error(problem, SELECT + text, node.get("query_location")), text)


def moved(error: QueryError, text: str) -> QueryError:
    """Return an error in what was parsed as one in the condition."""
    position = error.position
    return QueryError(error.problem, text, position and max(0, position - len(SELECT)))
