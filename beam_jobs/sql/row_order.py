"""Rows of a join in the order of the input: DuckDB joins in whatever order is fastest.

Without that, ``first``, ``list`` and their like would depend on how the files are cut into blocks.
"""

from __future__ import annotations

from typing import Any

from beam_jobs.sql import functions
from beam_jobs.sql.resolve import parameters_of
from beam_jobs.sql.source import Query, table_name
from beam_jobs.sql.syntax import (
    Node,
    column,
    fingerprint,
    parse_expression,
    parse_select,
    rewrite,
)

_NUMBER = "_row"


def needs_order(query: Query) -> bool:
    """Whether a query's value depends on the order of the rows of a join."""
    in_order = any(name in functions.IN_ROW_ORDER for name in query.aggregates)
    return in_order and query.select["from_table"]["type"] == "JOIN"


def in_order(query: Query, columns: list[Node], where: Node | None) -> tuple[list[Node], Node]:
    """Return expressions over the rows of a join in order, and the FROM that has these rows.

    Args:
        query: The query, which joins tables.
        columns: Expressions over its FROM.
        where: WHERE; the FROM returned has only the rows that it keeps.
    """
    read: dict[str, Node] = {}
    over = [_over(node, read, frozenset()) for node in columns]
    rows = parse_select("SELECT 1 FROM input")["node"]
    numbered, count = _numbered(query.select["from_table"], 0)
    rows["from_table"] = numbered
    rows["where_clause"] = where
    rows["select_list"] = [{**node, "alias": f"_c{n}"} for n, node in enumerate(read.values())] or [
        parse_expression("1")
    ]
    terms = ", ".join(f"{_NUMBER}{n}" for n in range(count))
    rows["modifiers"] = [parse_expression(f"list(1 ORDER BY {terms})")["order_bys"]]
    return over, _subquery(rows, "")


def _over(value: Any, read: dict[str, Node], bound: frozenset[str]) -> Any:
    """Replace columns by their names in the subquery, and collect them."""

    def replace(node: Node) -> Node | None:
        if node["class"] == "LAMBDA" and node.get("syntax_type") != "SINGLE_ARROW":
            inner = bound | parameters_of(node)
            return {**node, "expr": _over(node["expr"], read, inner)}
        if node["class"] == "COLUMN_REF" and node["column_names"][0].lower() not in bound:
            key = fingerprint(node)
            read.setdefault(key, node)
            return {**column(f"_c{list(read).index(key)}"), "alias": node["alias"]}
        return None

    return rewrite(value, replace)


def _numbered(source: Node, begin: int) -> tuple[Node, int]:
    """Give each table of a join a column with the numbers of its rows."""
    if source["type"] == "JOIN" and source["join_type"] in ("SEMI", "ANTI"):
        # Of the right side these only tell which rows of the left there are.
        left, begin = _numbered(source["left"], begin)
        return {**source, "left": left}, begin
    if source["type"] == "JOIN":
        left, begin = _numbered(source["left"], begin)
        right, begin = _numbered(source["right"], begin)
        return {**source, "left": left, "right": right}, begin
    rows = parse_select(f"SELECT *, row_number() OVER () AS {_NUMBER}{begin} FROM input")["node"]
    rows["from_table"] = source
    name = source["alias"] or table_name(source)
    return _subquery(rows, name), begin + 1


def _subquery(rows: Node, name: str) -> Node:
    source: Node = parse_select("SELECT 1 FROM (SELECT 1)")["node"]["from_table"]
    source["subquery"]["node"] = rows
    return {**source, "alias": name}
