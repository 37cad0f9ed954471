"""Simple SELECTs: checked in DuckDB's syntax tree, word by word, and run in a locked session.

A query is run only if each thing in it is known to mean the same in both dialects; anything else is
refused by name, so that a wrong number is never the answer.
"""

from __future__ import annotations

import contextlib
import datetime
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from local_cloud.bigquery.googlesql import invalid, unsupported
from local_cloud.bigquery.schema import Field, quoted, text

Node = dict[str, Any]

# Functions and operators that mean the same in both dialects.
_FUNCTIONS = (
    "count count_star sum avg min max any_value approx_count_distinct stddev_samp stddev_pop "
    "var_samp var_pop row_number rank dense_rank lag lead first_value last_value abs round sqrt "
    "mod if coalesce nullif lower upper length starts_with date_part current_date "
    "+ - * || ~~ !~~"
).split()
# Those that DuckDB has under another name, or not at all.
_RENAMED = {
    "countif": "count_if",
    "logical_and": "bool_and",
    "logical_or": "bool_or",
    "current_timestamp": "now",
    "safe_divide": "safe_divide",
    "/": "divide",
}
_DATE_PARTS = ("YEAR", "QUARTER", "MONTH", "DAY", "HOUR", "MINUTE", "SECOND")
_OPERATORS = (
    "OPERATOR_IS_NULL OPERATOR_IS_NOT_NULL OPERATOR_NOT OPERATOR_COALESCE COMPARE_IN COMPARE_NOT_IN"
).split()
_SESSION = """
CREATE TYPE float64 AS DOUBLE;
CREATE TYPE bigquery_numeric AS DECIMAL(38,9);
CREATE MACRO divide(a, b) AS CASE WHEN b = 0 THEN error('division by zero') ELSE a / b END;
CREATE MACRO safe_divide(a, b) AS CASE WHEN b = 0 THEN NULL ELSE a / b END;
"""
# Casts to these come out the same. Others do not: of 2.5 to INT64, of 1.0 to STRING.
_CAST_TYPES = "FLOAT64 DECIMAL DATE TIME DATETIME TIMESTAMPTZ".split()
_CLASSES = (
    "COLUMN_REF CONSTANT FUNCTION COMPARISON CONJUNCTION OPERATOR CASE CAST BETWEEN STAR SUBQUERY "
    "WINDOW TYPE"
).split()
_NODES = ("SELECT_NODE", "SET_OPERATION_NODE")
_TABLES = ("BASE_TABLE", "SUBQUERY", "JOIN", "EMPTY")
_OUTPUT = {
    "BIGINT": "INTEGER", "HUGEINT": "INTEGER", "INTEGER": "INTEGER", "SMALLINT": "INTEGER",
    "TINYINT": "INTEGER", "UBIGINT": "INTEGER", "DOUBLE": "FLOAT", "FLOAT": "FLOAT",
    "VARCHAR": "STRING", "BLOB": "BYTES", "BOOLEAN": "BOOLEAN", "DATE": "DATE", "TIME": "TIME",
    "TIMESTAMP": "DATETIME", "TIMESTAMP WITH TIME ZONE": "TIMESTAMP", "\"NULL\"": "INTEGER",
}  # fmt: skip


@dataclass(frozen=True)
class Relation:
    """What a table name in a query stands for.

    Attributes:
        sql: A SELECT of its rows.
        files: The files that this reads.
    """

    sql: str
    files: tuple[Path, ...] = ()


def prepare(
    connection: duckdb.DuckDBPyConnection,
    sql: str,
    find: Callable[[str], Relation],
    lock: Callable[[duckdb.DuckDBPyConnection, Sequence[Path]], None],
) -> tuple[Field, ...]:
    """Makes a view ``result`` of a query, and locks the session.

    Args:
        connection: A fresh session.
        sql: The query, in DuckDB's spelling.
        find: Finds the table of a name; raises `ServiceError` if there is none.
        lock: Locks the session but for some files.

    Returns:
        The columns of the result.

    Raises:
        ServiceError: The query cannot be run here.
    """
    tree = _parse(connection, sql)
    (statement,) = tree["statements"]
    _name_columns(statement["node"])
    relations: dict[str, Relation] = {}
    ctes = {str(cte["key"]).lower() for node in _nodes(tree) for cte in _ctes(node)}
    for node in _nodes(tree):
        _check(node)
        if node.get("type") == "BASE_TABLE":
            _bind(node, find, relations, ctes)
    connection.execute(_SESSION)
    for name, relation in relations.items():
        connection.execute(f"CREATE TEMP VIEW {quoted(name)} AS {relation.sql}")
    lock(connection, [path for relation in relations.values() for path in relation.files])
    with errors():
        (translated,) = connection.execute(
            "SELECT json_deserialize_sql(?::JSON)", [json.dumps(tree)]
        ).fetchall()[0]
        return _make_result(connection, translated)


@contextlib.contextmanager
def errors() -> Iterator[None]:
    """Turns what DuckDB says of a query into the error that a client gets."""
    try:
        yield
    except duckdb.Error as error:
        reason = " ".join(str(error).split("LINE 1:")[0].split())
        raise invalid(f"Query error: {reason}") from error


def _parse(connection: duckdb.DuckDBPyConnection, sql: str) -> Node:
    (found,) = connection.execute("SELECT json_serialize_sql(?)", [sql]).fetchall()[0]
    tree: Node = json.loads(found)
    if not tree["error"]:
        if len(tree["statements"]) != 1:
            raise unsupported("A script of several statements")
        return tree
    if tree["error_type"] == "not implemented":
        raise unsupported("A statement other than SELECT")
    raise invalid(f"Syntax error (or not supported by the local BigQuery): {tree['error_message']}")


def _nodes(value: Any) -> Iterator[Node]:
    """All nodes of a tree."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from _nodes(one)


def _ctes(node: Node) -> list[Node]:
    found = node.get("cte_map")
    return list(found["map"]) if isinstance(found, dict) else []


def _name_columns(node: Node) -> None:
    """Names the columns that a query leaves without a name as BigQuery does, f0_, f1_, …."""
    while node.get("type") == "SET_OPERATION_NODE":
        node = (node.get("children") or [node.get("left")])[0]
    unnamed = 0
    for column in node.get("select_list", ()):
        if not column["alias"] and column["class"] not in ("COLUMN_REF", "STAR"):
            column["alias"] = f"f{unnamed}_"
            unnamed += 1


def _check(node: Node) -> None:
    kind, place = node.get("class"), node.get("type")
    if "class" in node and kind not in _CLASSES:
        raise unsupported(f"The expression {kind}")
    if "class" not in node and isinstance(place, str):
        if place.endswith("_NODE") and place not in _NODES:
            raise unsupported(f"The statement {place}")
        if "sample" in node and "query_location" in node and place not in _TABLES:
            raise unsupported(f"The table expression {place}")
    if node.get("sample") or node.get("at_clause"):
        raise unsupported("TABLESAMPLE or FOR SYSTEM_TIME")
    if kind == "OPERATOR" and place not in _OPERATORS:
        raise unsupported(f"The operator {place}")
    if kind == "FUNCTION" or (kind == "WINDOW" and node.get("function_name")):
        _check_function(node)
    if kind == "CAST":
        _check_cast(node)


def _check_function(node: Node) -> None:
    name = str(node["function_name"]).lower()
    if node.get("schema") or (name not in _FUNCTIONS and name not in _RENAMED):
        raise unsupported(f"The function {name.upper()}")
    if name == "date_part":
        part = node["arguments"][0]["expression"].get("literal", {}).get("text", "")
        if str(part).upper() not in _DATE_PARTS:
            raise unsupported(f"EXTRACT of {part or 'this'}")
    if name in _RENAMED:
        node["function_name"] = _RENAMED[name]
        node["qualified_name"] = {"path": [_RENAMED[name]]}
        node["is_operator"] = False


def _check_cast(node: Node) -> None:
    kind = node["type_expr"]
    name = str(kind["type_name"]).upper()
    if node["child"]["class"] == "CONSTANT" and name in ("BIGINT", "VARCHAR", "DOUBLE", "BOOLEAN"):
        return  # A parameter of the query.
    if name == "DECIMAL" and not kind["children"]:
        kind["type_name"] = "bigquery_numeric"
        kind["qualified_name"] = {"path": ["bigquery_numeric"]}
    elif name not in _CAST_TYPES and name != "TIMESTAMP":
        raise unsupported(f"A cast to {name}")


def _bind(
    node: Node,
    find: Callable[[str], Relation],
    relations: dict[str, Relation],
    ctes: set[str],
) -> None:
    path = node.get("qualified_name", {}).get("path") or [node["table_name"]]
    name = ".".join(path)
    if name.lower() in ctes:
        return
    view = f"table {name}"
    if view not in relations:
        relations[view] = find(name)
    node["alias"] = node["alias"] or name.rpartition(".")[2]
    node |= {"catalog_name": "", "schema_name": "", "table_name": view}
    node["qualified_name"] = {"path": [view]}


def _make_result(connection: duckdb.DuckDBPyConnection, sql: str) -> tuple[Field, ...]:
    described = connection.execute(f"DESCRIBE {sql}").fetchall()
    names = [str(name).lower() for name, *_ in described]
    for name in names:
        if names.count(name) > 1:
            raise invalid(
                "Duplicate column names in the result are not supported. "
                f"Found duplicate(s): {name}"
            )
    fields = tuple(_field(str(name), str(kind)) for name, kind, *_ in described)
    columns = ", ".join(
        f"CAST({quoted(field.name)} AS {field.sql_type}) AS {quoted(field.name)}"
        for field in fields
    )
    connection.execute(f"CREATE TEMP VIEW result AS SELECT {columns} FROM ({sql})")  # noqa: S608
    return fields


def _field(name: str, kind: str) -> Field:
    if kind.endswith("[]"):
        item = _field(name, kind[:-2])
        if item.is_repeated:
            raise unsupported(f"An array of arrays (column {name})")
        return Field(name, item.type, "REPEATED", item.fields)
    if kind.startswith("DECIMAL"):
        return Field(name, "NUMERIC")
    if kind not in _OUTPUT:
        raise unsupported(f"A result of type {kind} (column {name})")
    return Field(name, _OUTPUT[kind])


def constant(rows: Sequence[Mapping[str, object]], fields: Sequence[Field]) -> str:
    """The SELECT of rows that are known already."""
    if not rows:
        empty = ", ".join(f"CAST(NULL AS {one.sql_type}) AS {quoted(one.name)}" for one in fields)
        return f"SELECT {empty} WHERE false"
    return " UNION ALL ".join(
        "SELECT "
        + ", ".join(f"{_constant(row.get(one.name), one)} AS {quoted(one.name)}" for one in fields)
        for row in rows
    )


def _constant(value: object, field: Field) -> str:
    if isinstance(value, datetime.datetime):
        value = value.isoformat()
    return f"CAST({'NULL' if value is None else text(str(value))} AS {field.sql_type})"
