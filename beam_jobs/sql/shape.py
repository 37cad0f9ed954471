"""What a query may look like, whatever the columns are: one SELECT that aggregates ``input``."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from beam_jobs.errors import QueryError
from beam_jobs.sql import functions
from beam_jobs.sql.syntax import Node, parse_select, query_error, walk

INPUT = "input"


@dataclass(frozen=True)
class Query:
    """A query that may be planned.

    Attributes:
        text: As the user wrote it.
        select: Its SELECT_NODE.
    """

    text: str
    select: Node

    def refuse(self, node: Node, problem: str) -> QueryError:
        """Return the error that refuses a part of this query."""
        return query_error(problem, self.text, node.get("query_location"))

    @property
    def groups_all(self) -> bool:
        """Whether it says GROUP BY ALL."""
        return bool(self.select["aggregate_handling"] == "FORCE_AGGREGATES")

    @property
    def aggregates(self) -> frozenset[str]:
        """Names of the aggregate functions it calls, in lower case."""
        return frozenset(node["function_name"].lower() for node in _aggregates(self.select))


def parse_query(text: str) -> Query:
    """Parse a query and refuse what cannot be computed block by block.

    Raises:
        QueryError: With the position of what is refused, and what to write instead.
    """
    try:
        return _checked(Query(text, parse_select(text)["node"]))
    except RecursionError as error:
        raise nested_too_deeply(text) from error


def nested_too_deeply(text: str) -> QueryError:
    """Return the error for a query with expressions within expressions without end."""
    return QueryError("is nested too deeply; write it in simpler terms", text)


def _checked(query: Query) -> Query:
    """Return a query that may be planned; the errors are those of `parse_query`."""
    select, text = query.select, query.text
    if select["type"] != "SELECT_NODE":
        raise query.refuse(select, "UNION, INTERSECT and EXCEPT are not supported: run two queries")
    _check_source(query, select)
    for node in walk(select):
        _check_node(query, node)
    for item in select["select_list"]:
        for node in walk(item):
            if node.get("class") == "STAR":
                raise query.refuse(node, "* and COLUMNS(…) are not supported: name the columns")
    for node in _aggregates(select):
        _check_aggregate(query, node)
    if not (any(_aggregates(select)) or select["group_sets"] or query.groups_all):
        raise QueryError(
            "is not an aggregate: it would return the rows of the input themselves; "
            "use count(*), sum(…) or another aggregate function, or GROUP BY",
            text,
            0,
        )
    return query


def _aggregates(select: Node) -> Iterator[Node]:
    """Yield the aggregate calls of a query, those of its FROM left out."""
    outside_from = {key: value for key, value in select.items() if key != "from_table"}
    return (node for node in walk(list(outside_from.values())) if functions.is_aggregate(node))


def _check_source(query: Query, select: Node) -> None:
    """Refuse every FROM but ``input`` and row-by-row subqueries of it."""
    if select["cte_map"]["map"]:
        raise query.refuse(select, "WITH is not supported: write FROM (SELECT … FROM input)")
    if select["sample"]:
        raise query.refuse(select, "SAMPLE is not supported: its rows differ from run to run")
    source = select["from_table"]
    if source.get("sample"):
        raise query.refuse(source, "TABLESAMPLE is not supported: its rows differ from run to run")
    match source["type"]:
        case "BASE_TABLE":
            _check_table(query, source)
        case "SUBQUERY":
            _check_rowwise(query, source)
        case "EMPTY":
            raise QueryError(f"has no FROM; write SELECT … FROM {INPUT}", query.text)
        case "TABLE_FUNCTION":
            raise query.refuse(
                source,
                f"table functions are not allowed: a query reads {INPUT}, the files of --input",
            )
        case "JOIN":
            raise query.refuse(_leftmost(source), f"joins are not supported: FROM {INPUT} only")
        case _:
            raise QueryError(f"reads no table; write SELECT … FROM {INPUT}", query.text)


def _leftmost(source: Node) -> Node:
    while source["type"] == "JOIN":
        source = source["left"]
    return source


def _check_table(query: Query, source: Node) -> None:
    name = ".".join(source["qualified_name"]["path"])
    if name.lower() == INPUT:
        return
    close = difflib.get_close_matches(name.lower(), [INPUT])
    hint = f"did you mean {INPUT}?" if close else f"the files of --input are the table {INPUT}"
    raise query.refuse(source, f"there is no table {name!r}; {hint}")


def _check_rowwise(query: Query, source: Node) -> None:
    """Refuse a subquery whose rows for one block depend on the rows of another."""
    inner = source["subquery"]["node"]
    position = source if "query_location" in source else {}
    if inner["type"] != "SELECT_NODE":
        raise query.refuse(position, "UNION, INTERSECT and EXCEPT are not supported in FROM")
    whole = (
        inner["modifiers"]
        or inner["group_sets"]
        or inner["aggregate_handling"] != "STANDARD_HANDLING"
        or inner["having"]
        or inner["qualify"]
        or any(_aggregates(inner))
        or any(node.get("class") == "WINDOW" for node in walk(inner["select_list"]))
    )
    if whole:
        raise query.refuse(
            position,
            "the subquery in FROM may only filter and compute rows (SELECT … FROM input WHERE …): "
            "no aggregates, DISTINCT, ORDER BY, LIMIT or window functions",
        )
    _check_source(query, inner)


def _check_node(query: Query, node: Node) -> None:
    match node.get("class"):
        case "SUBQUERY":
            raise query.refuse(node, "subqueries are supported only as FROM (SELECT … FROM input)")
        case "PARAMETER":
            raise query.refuse(node, "parameters are not supported: write the value itself")
        case "LAMBDA" if node.get("syntax_type") == "SINGLE_ARROW" and not _is_json_path(node):
            raise query.refuse(node, "write the lambda as lambda x: …")
        case "FUNCTION":
            _check_function(query, node)


def _is_json_path(node: Node) -> bool:
    return bool(node["expr"].get("class") == "CONSTANT")


def _check_function(query: Query, node: Node) -> None:
    known = functions.catalog()
    name = node["function_name"].lower()
    if node["schema"] or node["catalog"]:
        raise query.refuse(node, f"write {name}(…) with its first argument inside the parentheses")
    if node["export_state"]:
        raise query.refuse(node, "EXPORT_STATE is not for queries: Tallyflow adds it where needed")
    if name in known.changing:
        raise query.refuse(
            node, f"{name}() gives another value for every block and run; write the value itself"
        )
    if name in known.macros and (problem := known.macro_problem(name)):
        raise query.refuse(node, problem)


def _check_aggregate(query: Query, node: Node) -> None:
    """Refuse an aggregate that cannot be merged exactly.

    Those with DISTINCT or ORDER BY are computed from their values, whatever the function.
    """
    name = node["function_name"].lower()
    if node["distinct"] or name == "last":
        return
    arguments: list[Any] = node["arguments"]
    if name.startswith(("arg_", "argm", "max_by", "min_by")) and len(arguments) > 2:  # noqa: PLR2004
        raise query.refuse(node, f"{name} of n rows is not supported: use list(… ORDER BY …)[:n]")
    if name in functions.MERGED_BY:
        if len(arguments) > 1 and name != "regr_count":
            raise query.refuse(
                node, f"{name} of the n largest or smallest is not supported: GROUP BY and LIMIT n"
            )
        return
    if name not in functions.EXPORTS_STATE and not node["order_bys"]["orders"]:
        close = functions.ALTERNATIVES.get(name)
        remedy = f"; instead: {close}" if close else ""
        raise query.refuse(node, f"{name} has no state that can be merged over blocks{remedy}")
