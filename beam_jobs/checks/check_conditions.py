"""Conditions of a dataset's checks: SQL expressions over metrics of a run and over its results.

DuckDB's own parser reads them. Names and functions outside of subqueries are metrics, and are
replaced by their values; within a subquery everything is DuckDB's, over the results of the run.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import duckdb

from beam_jobs.checks.check_metrics import NAMES, Metric
from beam_jobs.checks.check_syntax import (
    CLOCKS,
    SELECT,
    function_name,
    is_metric_function,
    moved,
    read_metric,
    refuse,
)
from beam_jobs.errors import QueryError
from beam_jobs.sql.functions import catalog
from beam_jobs.sql.syntax import (
    Node,
    parse_expression,
    parse_select,
    print_expression,
    rewrite,
    walk,
)

_EXPRESSIONS = frozenset(
    "BETWEEN CASE CAST COLLATE COLUMN_REF COMPARISON CONJUNCTION CONSTANT FUNCTION OPERATOR "
    "SUBQUERY TYPE".split()
)
_TABLES = frozenset({"BASE_TABLE", "EMPTY", "EXPRESSION_LIST", "JOIN", "SUBQUERY"})
# What is written for a metric where DuckDB has an aggregate.
_IN_PLACE_OF = {
    "approx_count_distinct": "distinct_count(column)",
    "approx_quantile": "quantile(column, 0.95)",
    "avg": "mean(column)",
    "count": "rows, or distinct_count(column)",
    "count_star": "rows",
    "median": "quantile(column, 0.5)",
    "quantile_cont": "quantile(column, 0.95)",
}


@dataclass(frozen=True)
class Condition:
    """A condition that may be evaluated.

    Attributes:
        text: As the user wrote it.
        expression: Its node.
        places: What it names of the run and of the history, with the offset in the text.
        results: Names of the aggregates whose results it reads.
        subqueries: Its subqueries that have one value, with their spelling.
    """

    text: str
    expression: Node
    places: Mapping[Metric, int]
    results: tuple[str, ...]
    subqueries: tuple[tuple[str, Node], ...]

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """What it names of the run and of the history, each once."""
        return tuple(self.places)

    @property
    def parts(self) -> Iterator[Condition]:
        """The conditions that it joins by ``AND``, ``OR`` and ``NOT``."""
        waiting = [self.expression]
        while waiting:
            node = waiting.pop(0)
            if node["class"] == "CONJUNCTION" or node["type"] == "OPERATOR_NOT":
                waiting += node["children"]
                continue
            named = {read_metric(self.text, part) for part in _outside(node)}
            places = {metric: at for metric, at in self.places.items() if metric in named}
            yield replace(self, expression=node, places=places)

    def position_of(self, name: str) -> int | None:
        """Return the offset in the text of the first column of a name, None if there is none."""
        for node in walk(self.expression):
            if node.get("class") == "COLUMN_REF" and node["column_names"][-1] == name:
                return refuse(self.text, node, "").position
        return None

    def sql(self, values: Mapping[Metric, str]) -> str:
        """Return the condition as a SQL expression without metrics.

        Args:
            values: A SQL expression for each of the metrics.
        """

        def replaced(node: Node) -> Node | None:
            if node["class"] == "SUBQUERY":
                return {**node, "child": rewrite(node["child"], replaced)}
            metric = read_metric(self.text, node)
            return None if metric is None else parse_expression(values[metric])

        return print_expression(rewrite(self.expression, replaced))


def parse_condition(text: str, aggregates: Collection[str]) -> Condition:
    """Read a condition.

    Args:
        text: A SQL expression.
        aggregates: Names of the dataset's aggregates.

    Raises:
        QueryError: It is none; with the position of what is refused, and what to write instead.
    """
    try:
        return _parsed(text, {name.lower(): name for name in aggregates})
    except RecursionError as error:
        raise QueryError("is nested too deeply; write several checks", text) from error


def _parsed(text: str, aggregates: Mapping[str, str]) -> Condition:
    try:
        select = parse_select(SELECT + text)["node"]
    except QueryError as error:
        raise moved(error, text) from error
    _check_is_expression(text, select)
    (expression,) = select["select_list"]
    places: dict[Metric, int] = {}
    results: dict[str, None] = {}
    subqueries: list[tuple[str, Node]] = []
    for node in _outside(expression):
        if node["class"] not in _EXPRESSIONS:
            raise refuse(text, node, "is no part of a condition: compare metrics and values")
        if node["class"] == "SUBQUERY":
            results |= dict.fromkeys(_results(text, node["subquery"]["node"], aggregates))
            if node["subquery_type"] == "SCALAR":
                subqueries.append((_spelling(text, node), node))
        elif metric := read_metric(text, node):
            places.setdefault(metric, refuse(text, node, "").position or 0)
        elif node["class"] == "FUNCTION":
            _check_function(text, node)
    return Condition(text, expression, places, tuple(results), tuple(subqueries))


def _check_is_expression(text: str, select: Node) -> None:
    """Refuse whatever is more than one expression."""
    plain = (
        select["type"] == "SELECT_NODE"
        and len(select["select_list"]) == 1
        and select["from_table"]["type"] == "EMPTY"
        and not select["select_list"][0]["alias"]
        and not any(
            select[part]
            for part in (
                *("modifiers", "where_clause", "group_expressions", "group_sets"),
                *("having", "qualify", "sample"),
            )
        )
        and not select["cte_map"]["map"]
    )
    if not plain:
        raise QueryError(
            "is more than one expression: write one condition, such as rows > 0; what reads "
            "results stands in parentheses, as in (SELECT sum(flights) FROM by_origin) = rows",
            text,
        )


def _outside(expression: Any) -> Iterator[Node]:
    """Yield the expressions outside of subqueries and of metrics, those themselves among them."""
    if isinstance(expression, list):
        for part in expression:
            yield from _outside(part)
    elif isinstance(expression, dict):
        inner = list(expression.values())
        if "class" in expression:
            yield expression
            if expression["class"] == "SUBQUERY":
                inner = [expression["child"]]
            elif is_metric_function(expression):
                return
        for part in inner:
            yield from _outside(part)


def _check_function(text: str, node: Node) -> None:
    """Refuse functions whose value is not that of the partition, and aggregates of no rows."""
    name = function_name(node)
    if name in catalog().aggregates:
        instead = _IN_PLACE_OF.get(name, "a subquery, as in (SELECT sum(flights) FROM by_origin)")
        raise refuse(text, node, f"{name} is no metric of a run: write {instead}")
    near = difflib.get_close_matches(name, NAMES, n=1)
    if near and name not in _functions():
        raise refuse(text, node, f"{name} is no metric and no function; did you mean {near[0]}?")
    _check_is_fixed(text, node)


@functools.cache
def _functions() -> frozenset[str]:
    """Return the names of DuckDB's functions, in lower case."""
    rows = duckdb.connect(":memory:").execute("SELECT lower(function_name) FROM duckdb_functions()")
    return frozenset(name for (name,) in rows.fetchall())


def _check_is_fixed(text: str, node: Node) -> None:
    name = function_name(node)
    if name in catalog().changing:
        problem = f"{name}() gives another value each time; write the value itself"
        raise refuse(text, node, problem)
    if name in catalog().macros and (why := catalog().macro_problem(name)):
        raise refuse(text, node, why)


def _results(text: str, query: Node, aggregates: Mapping[str, str]) -> Iterator[str]:
    """Yield the aggregates that a subquery reads.

    Raises:
        QueryError: It reads something else, or calls what it must not.
    """
    nodes = list(walk(query))
    named = {entry["key"].lower() for node in nodes for entry in _with_entries(node)}
    for node in nodes:
        if node.get("class") == "FUNCTION":
            _check_function_of_subquery(text, node)
        elif node.get("class") == "COLUMN_REF" and node["column_names"][-1].lower() in CLOCKS:
            problem = f"{node['column_names'][-1]} gives another value each time; write the value"
            raise refuse(text, node, problem)
        elif node.get("type") == "BASE_TABLE":
            name = ".".join(node["qualified_name"]["path"])
            if name.lower() in aggregates:
                yield aggregates[name.lower()]
            elif name.lower() not in named:
                raise refuse(text, node, _no_result(name, aggregates))
        elif "alias" in node and "class" not in node and node["type"] not in _TABLES:
            raise refuse(text, node, "a condition reads the dataset's results, and nothing else")
        if node.get("sample"):
            raise refuse(text, node, "a sample gives other rows each time; read all of them")


def _with_entries(node: Node) -> list[Node]:
    entries: list[Node] = node["cte_map"]["map"] if "cte_map" in node else []
    return entries


def _check_function_of_subquery(text: str, node: Node) -> None:
    name = function_name(node)
    if name in NAMES and name not in catalog().aggregates:
        problem = f"{name} is of the run: write it outside of subqueries, and compare them with it"
        raise refuse(text, node, problem)
    _check_is_fixed(text, node)


def _no_result(name: str, aggregates: Mapping[str, str]) -> str:
    near = difflib.get_close_matches(name.lower(), aggregates, n=1)
    known = ", ".join(aggregates.values())
    hint = f"did you mean {aggregates[near[0]]}?" if near else f"the results are {known}"
    return f"there is no result {name!r}; {hint}"


def _spelling(text: str, node: Node) -> str:
    begin = node["query_location"] - len(SELECT)
    spelled = text.encode()[begin : begin + node["query_location_length"]]
    return " ".join(spelled.decode(errors="replace").split())
