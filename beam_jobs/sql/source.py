"""What a query may read: ``input``, rows computed from it, and lookup tables joined to it."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from beam_jobs.errors import QueryError
from beam_jobs.sql import functions
from beam_jobs.sql.syntax import Node, query_error, walk

INPUT = "input"

# Joins that keep or repeat rows of their left side by what the right side holds.
_LEFT_ONLY = frozenset({"LEFT", "SEMI", "ANTI"})


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

    def spelling(self, node: Node) -> str:
        """Return a part of the query as the user wrote it, on one line."""
        begin = node["query_location"]
        text = self.text.encode()[begin : begin + node["query_location_length"]]
        return " ".join(text.decode(errors="replace").split())

    @property
    def groups_all(self) -> bool:
        """Whether it says GROUP BY ALL."""
        return bool(self.select["aggregate_handling"] == "FORCE_AGGREGATES")

    @property
    def aggregates(self) -> frozenset[str]:
        """Names of the aggregate functions it calls, in lower case."""
        return frozenset(node["function_name"].lower() for node in aggregates_of(self.select))

    @property
    def lookups(self) -> tuple[str, ...]:
        """Names of the lookup tables it joins, in lower case and in order."""
        names = (table_name(leaf).lower() for leaf in leaves(self.select["from_table"]))
        return tuple(sorted({name for name in names if name not in ("", INPUT)}))


def aggregates_of(select: Node) -> Iterator[Node]:
    """Yield the aggregate calls of a SELECT, those of its FROM left out."""
    outside_from = {key: value for key, value in select.items() if key != "from_table"}
    return (node for node in walk(list(outside_from.values())) if functions.is_aggregate(node))


def leaves(source: Node) -> Iterator[Node]:
    """Yield what a FROM joins, from left to right; a FROM without joins is one leaf."""
    if source["type"] == "JOIN":
        yield from leaves(source["left"])
        yield from leaves(source["right"])
    else:
        yield source


def table_name(leaf: Node) -> str:
    """Return the name of a table in FROM as it is written, empty for a subquery."""
    return ".".join(leaf["qualified_name"]["path"]) if leaf["type"] == "BASE_TABLE" else ""


def join_conditions(source: Node) -> Iterator[Node]:
    """Yield the conditions after ON."""
    if source["type"] == "JOIN":
        yield from join_conditions(source["left"])
        yield from join_conditions(source["right"])
        if source["condition"]:
            yield source["condition"]


def check_source(query: Query, select: Node, lookups: Collection[str]) -> None:
    """Refuse every FROM whose rows for a block depend on another block, or that reads files.

    Args:
        query: The whole query.
        select: Its SELECT.
        lookups: Names of the lookup tables, in lower case.

    Raises:
        QueryError: With the position of what is refused.
    """
    _check_clauses(query, select)
    source = select["from_table"]
    if source["type"] != "JOIN":
        _check_leaf(query, source, lookups)
        if not _reads_input(source):
            raise query.refuse(source, f"reads only a lookup table: join it to {INPUT}")
        return
    for leaf in leaves(source):
        _check_leaf(query, leaf, lookups)
    reading = [leaf for leaf in leaves(source) if _reads_input(leaf)]
    if not reading:
        raise query.refuse(
            next(leaves(source)), f"joins only lookup tables: one of them must be {INPUT}"
        )
    if len(reading) > 1:
        raise query.refuse(
            _placed(reading[1], reading[0]),
            f"joins of {INPUT} with itself are not supported: only lookup tables can be joined",
        )
    _check_join(query, source)


def _placed(node: Node, other: Node) -> Node:
    """Return the first of two nodes that has a place in the query."""
    return node if "query_location" in node else other


def _check_clauses(query: Query, select: Node) -> None:
    if select["cte_map"]["map"]:
        raise query.refuse(select, "WITH is not supported: write FROM (SELECT … FROM input)")
    if select["sample"]:
        raise query.refuse(select, "SAMPLE is not supported: its rows differ from run to run")


def _check_leaf(query: Query, leaf: Node, lookups: Collection[str]) -> None:
    """Refuse what is neither ``input``, nor rows computed from it, nor a lookup table."""
    if leaf.get("sample"):
        raise query.refuse(leaf, "TABLESAMPLE is not supported: its rows differ from run to run")
    match leaf["type"]:
        case "BASE_TABLE":
            _check_table(query, leaf, lookups)
        case "SUBQUERY":
            _check_rowwise(query, leaf, lookups)
        case "EMPTY":
            raise QueryError(f"has no FROM; write SELECT … FROM {INPUT}", query.text)
        case "TABLE_FUNCTION":
            raise query.refuse(
                leaf,
                f"table functions are not allowed: a query reads {INPUT}, the files of --input",
            )
        case _:
            raise QueryError(f"reads no table; write SELECT … FROM {INPUT}", query.text)


def _reads_input(leaf: Node) -> bool:
    return leaf["type"] == "SUBQUERY" or table_name(leaf).lower() == INPUT


def _check_table(query: Query, leaf: Node, lookups: Collection[str]) -> None:
    name = table_name(leaf)
    known = [INPUT, *lookups]
    if name.lower() in known:
        return
    close = difflib.get_close_matches(name.lower(), known, n=1)
    hint = f"did you mean {close[0]}?" if close else f"the files of --input are the table {INPUT}"
    raise query.refuse(leaf, f"there is no table {name!r}; {hint}")


def _check_join(query: Query, join: Node) -> None:
    """Refuse joins whose rows for a block are not those of the whole input that stem from it."""
    place = next((leaf for leaf in leaves(join["right"]) if "query_location" in leaf), {})
    if join["ref_type"] not in ("REGULAR", "CROSS"):
        kind = join["ref_type"]
        raise query.refuse(place, f"{kind} joins are not supported: write JOIN … ON or USING")
    if join["join_type"] not in ("INNER", *_LEFT_ONLY):
        kind = {"OUTER": "FULL"}.get(join["join_type"], join["join_type"])
        raise query.refuse(
            place,
            f"{kind} JOIN is not supported: a block cannot know which rows of the lookup table "
            f"no other block matches; write {INPUT} LEFT JOIN …",
        )
    article = "an" if join["join_type"] == "ANTI" else "a"
    if join["join_type"] in _LEFT_ONLY and any(map(_reads_input, leaves(join["right"]))):
        raise query.refuse(
            place,
            f"{INPUT} must stand on the left of {article} {join['join_type']} JOIN: a block cannot "
            "know which rows of the lookup table no other block matches",
        )
    for side in (join["left"], join["right"]):
        if side["type"] == "JOIN":
            _check_join(query, side)


def _check_rowwise(query: Query, leaf: Node, lookups: Collection[str]) -> None:
    """Refuse a subquery whose rows for one block depend on the rows of another."""
    inner = leaf["subquery"]["node"]
    position = leaf if "query_location" in leaf else {}
    if inner["type"] != "SELECT_NODE":
        raise query.refuse(position, "UNION, INTERSECT and EXCEPT are not supported in FROM")
    whole = (
        inner["modifiers"]
        or inner["group_sets"]
        or inner["aggregate_handling"] != "STANDARD_HANDLING"
        or inner["having"]
        or inner["qualify"]
        or any(aggregates_of(inner))
        or any(node.get("class") == "WINDOW" for node in walk(inner["select_list"]))
    )
    if whole:
        raise query.refuse(
            position,
            "the subquery in FROM may only filter and compute rows (SELECT … FROM input WHERE …): "
            "no aggregates, DISTINCT, ORDER BY, LIMIT or window functions",
        )
    for node in walk(inner["select_list"]):
        if node.get("class") == "COLLATE":
            raise query.refuse(node, "COLLATE is not supported in FROM: write lower(…) or the like")
    _check_clauses(query, inner)
    source = inner["from_table"]
    if source["type"] == "JOIN":
        raise query.refuse(
            next(leaves(source)), "joins in a subquery are not supported: join in the outer FROM"
        )
    check_source(query, inner, lookups)
