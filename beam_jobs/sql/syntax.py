"""A query as DuckDB's own parser sees it: JSON nodes, how to walk, compare, rewrite and print them.

The nodes are those of ``json_serialize_sql``; DuckDB is the only SQL parser here, so what it
accepts is what we accept.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator
from typing import Any

import duckdb

from beam_jobs.errors import QueryError

Node = dict[str, Any]

_NO_LOCATION = 2**64 - 1
_LOCATION_KEYS = ("query_location", "query_location_length")


@functools.cache
def _parser() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(":memory:")
    connection.execute("SET errors_as_json = true")
    return connection


def duckdb_error(error: duckdb.Error) -> Node:
    """Return the fields of an error of a session with ``errors_as_json``.

    Returns:
        At least ``exception_message``; ``position`` (text, in bytes) where DuckDB knows it.
    """
    text = str(error)
    try:
        fields = json.loads(text[text.index("{") :])
    except ValueError:
        return {"exception_message": text}
    return fields if isinstance(fields, dict) else {"exception_message": text}


def query_error(problem: str, query: str, byte_position: int | None) -> QueryError:
    """Return the error for the part of `query` that begins at a byte offset, as DuckDB counts."""
    if byte_position is None or byte_position == _NO_LOCATION:
        return QueryError(problem, query)
    before = query.encode()[:byte_position].decode(errors="ignore")
    return QueryError(problem, query, len(before))


def parse_select(query: str) -> Node:
    """Parse a text that must hold one SELECT statement.

    Returns:
        The statement's node, with the query under ``node``.

    Raises:
        QueryError: It does not parse, or is no single SELECT.
    """
    try:
        query.encode()
    except UnicodeEncodeError as error:
        raise QueryError("is not valid UTF-8", query, error.start) from error
    if "\0" in query:
        raise QueryError("has a NUL character", query, query.index("\0"))
    if not query.strip():
        raise QueryError("is empty; write SELECT … FROM input GROUP BY …", query)
    try:
        statements = _parser().extract_statements(query)
    except duckdb.Error:
        statements = []  # Let the serializer below report it: its error has the position.
    if len(statements) > 1:
        second = len(statements[0].query)
        second += len(query[second:]) - len(query[second:].lstrip())
        raise QueryError("only one statement is allowed; remove what follows the ;", query, second)
    ((text,),) = _parser().execute("SELECT json_serialize_sql(?::VARCHAR)", [query]).fetchall()
    parsed = json.loads(text)
    if parsed["error"]:
        if parsed.get("error_type") == "not implemented":
            raise QueryError(
                "only SELECT is allowed: a query may read input and nothing else", query, 0
            )
        position = parsed.get("position")
        raise query_error(
            parsed["error_message"], query, None if position is None else int(position)
        )
    if not parsed["statements"]:
        raise QueryError("is empty; write SELECT … FROM input GROUP BY …", query)
    statement: Node = parsed["statements"][0]
    return statement


def print_select(node: Node) -> str:
    """Return the SQL text of a query node."""
    document = {"error": False, "statements": [{"node": node, "named_param_map": []}]}
    print_sql = "SELECT json_deserialize_sql(?::JSON)"
    ((text,),) = _parser().execute(print_sql, [json.dumps(document)]).fetchall()
    return str(text)


def print_expression(expression: Node) -> str:
    """Return the SQL text of an expression node."""
    statement = parse_select("SELECT 1")
    statement["node"]["select_list"] = [{**expression, "alias": ""}]
    return print_select(statement["node"]).removeprefix("SELECT ")


def parse_expression(sql: str) -> Node:
    """Return the node of an expression of our own making."""
    item: Node = parse_select(f"SELECT {sql}")["node"]["select_list"][0]
    return item


def column(name: str) -> Node:
    """Return a reference to a column."""
    return {
        "class": "COLUMN_REF",
        "type": "COLUMN_REF",
        "alias": "",
        "query_location": _NO_LOCATION,
        "query_location_length": 0,
        "column_names": [name],
    }


def walk(value: Any) -> Iterator[Node]:
    """Yield every node at or below `value`, parents first."""
    if isinstance(value, dict):
        if "class" in value or "type" in value:
            yield value
        for part in value.values():
            yield from walk(part)
    elif isinstance(value, list):
        for part in value:
            yield from walk(part)


def rewrite(value: Any, replace: Callable[[Node], Node | None]) -> Any:
    """Copy `value` with nodes replaced, parents first.

    Args:
        value: A node, or a list or field of nodes.
        replace: Returns what stands in a node's place, which is not looked into again, or None to
            keep the node and go on with its parts.
    """
    if isinstance(value, list):
        return [rewrite(part, replace) for part in value]
    if not isinstance(value, dict):
        return value
    if "class" in value:
        replacement = replace(value)
        if replacement is not None:
            return replacement
    return {key: rewrite(part, replace) for key, part in value.items()}


def fingerprint(expression: Node) -> str:
    """Return a text that two expressions share when DuckDB holds them to be the same.

    Like DuckDB's binder, it does not look at aliases, positions or the case of names.
    """

    def plain(value: Any) -> Any:
        if isinstance(value, list):
            return [plain(part) for part in value]
        if not isinstance(value, dict):
            return value
        kept = {
            key: plain(part)
            for key, part in value.items()
            if key not in _LOCATION_KEYS and not (key == "alias" and "class" in value)
        }
        if value.get("class") == "COLUMN_REF":
            kept["column_names"] = [name.lower() for name in value["column_names"]]
        return kept

    return json.dumps(plain(expression), sort_keys=True)
