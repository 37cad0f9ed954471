"""What a query may look like, whatever the columns are: one SELECT that aggregates ``input``."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from beam_jobs.errors import QueryError
from beam_jobs.sql import functions
from beam_jobs.sql.source import INPUT, Query, aggregates_of, check_source
from beam_jobs.sql.syntax import Node, parse_select, walk

__all__ = ["INPUT", "Query", "nested_too_deeply", "parse_query"]


def parse_query(text: str, lookups: Collection[str] = ()) -> Query:
    """Parse a query and refuse what cannot be computed block by block.

    Args:
        text: The query.
        lookups: Names of the lookup tables that it may join.

    Raises:
        QueryError: With the position of what is refused, and what to write instead.
    """
    try:
        return _checked(Query(text, parse_select(text)["node"]), [name.lower() for name in lookups])
    except RecursionError as error:
        raise nested_too_deeply(text) from error


def nested_too_deeply(text: str) -> QueryError:
    """Return the error for a query with expressions within expressions without end."""
    return QueryError("is nested too deeply; write it in simpler terms", text)


def _checked(query: Query, lookups: Collection[str]) -> Query:
    """Return a query that may be planned; the errors are those of `parse_query`."""
    select, text = query.select, query.text
    if select["type"] != "SELECT_NODE":
        raise query.refuse(select, "UNION, INTERSECT and EXCEPT are not supported: run two queries")
    check_source(query, select, lookups)
    for node in walk(select):
        _check_node(query, node)
    for item in select["select_list"]:
        for node in walk(item):
            if node.get("class") == "STAR":
                raise query.refuse(node, "* and COLUMNS(…) are not supported: name the columns")
    for node in aggregates_of(select):
        _check_aggregate(query, node)
    if not (any(aggregates_of(select)) or _has_groups(query)):
        raise QueryError(
            "is not an aggregate: it would return the rows of the input themselves; "
            "use count(*), sum(…) or another aggregate function, or GROUP BY",
            text,
            0,
        )
    return query


def _has_groups(query: Query) -> bool:
    """Whether there is a GROUP BY; to DuckDB, GROUP BY ALL of constants alone is none."""
    if query.groups_all:
        nodes = walk(query.select["select_list"])
        return any(node.get("class") == "COLUMN_REF" for node in nodes)
    return bool(query.select["group_sets"])


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
    arguments: list[Any] = node["arguments"]
    if name.startswith(("arg_", "argm", "max_by", "min_by")) and len(arguments) > 2:  # noqa: PLR2004
        raise query.refuse(node, f"{name} of n rows is not supported: use list(… ORDER BY …)[:n]")
    if name in ("min", "max") and len(arguments) > 1:
        raise query.refuse(
            node, f"{name} of the n largest or smallest is not supported: GROUP BY and LIMIT n"
        )
    if name in functions.OVER_COUNTS and len(arguments) > 1:
        raise query.refuse(
            node, f"{name} with bins is not supported: GROUP BY the bin and count(*)"
        )
    if name == "mode" and node["distinct"]:
        raise query.refuse(node, "of distinct values none is the most frequent: leave DISTINCT out")
    known = (
        name in functions.MERGED_BY
        or name in functions.EXPORTS_STATE
        or name in functions.OVER_COUNTS
        or name == "last"
    )
    if not known and not node["distinct"] and not node["order_bys"]["orders"]:
        close = functions.ALTERNATIVES.get(name)
        remedy = f"; instead: {close}" if close else ""
        raise query.refuse(node, f"{name} has no state that can be merged over blocks{remedy}")
