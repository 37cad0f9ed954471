"""Splits an aggregate query into a partial query per block, a merge, and a final query.

    partial   SELECT <group keys>, <state of each aggregate> FROM input WHERE … GROUP BY <keys>
    merge     SELECT <group keys>, <value of each aggregate> FROM states GROUP BY <group keys>
    final     SELECT <the query's expressions> FROM aggregated WHERE <HAVING> QUALIFY … ORDER BY …

The final query is the user's own, with each group expression and each aggregate call replaced by a
column of the merge, so that expressions, windows, ordering and limits stay DuckDB's business.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import duckdb

from beam_jobs.casts import is_type
from beam_jobs.errors import QueryError, UsageError
from beam_jobs.session import open_session, quote_name
from beam_jobs.sql import functions
from beam_jobs.sql.resolve import Resolver
from beam_jobs.sql.shape import INPUT, Query, nested_too_deeply, parse_query
from beam_jobs.sql.split import AGGREGATED, STATES, Split, split_query
from beam_jobs.sql.syntax import Node, duckdb_error, parse_select, print_select, query_error

_DESCRIBE = "DESCRIBE "


@dataclass(frozen=True)
class Plan:
    """One query, split; SQL texts, so that it travels to workers as it is.

    Attributes:
        query: As the user wrote it; over no rows at all it is run as it is.
        columns: Name to DuckDB type of the columns of ``input``.
        partial: From ``input`` (the rows of one block) to one row of states per group.
        merge: From ``states`` (the partial rows of all blocks) to one row of values per group.
        final: From ``aggregated`` (the rows of the merge) to the result.
        result: Name to DuckDB type of the result's columns, in order.
        approximate: Names of the approximate aggregates that the query uses.
    """

    query: str
    columns: Mapping[str, str]
    partial: str
    merge: str
    final: str
    result: Mapping[str, str]
    approximate: tuple[str, ...]


def create_input(session: duckdb.DuckDBPyConnection, columns: Mapping[str, str]) -> None:
    """Create the empty table ``input``.

    Raises:
        UsageError: A column's type is none that DuckDB knows.
    """
    for name, kind in columns.items():
        if not is_type(kind):
            raise UsageError(
                f"column {name}: {kind!r} is not a type of DuckDB, "
                "such as VARCHAR or DECIMAL(10, 2)"
            )
    listed = ", ".join(f"{quote_name(name)} {kind}" for name, kind in columns.items())
    session.execute(f"CREATE TABLE {INPUT}({listed})")


def create_states(session: duckdb.DuckDBPyConnection, plan: Plan) -> None:
    """Create the empty table ``states`` of a plan, from the empty table ``input``.

    The partial query names the states' types, which have no spelling in SQL.
    """
    session.execute(f"CREATE TABLE {STATES} AS FROM ({plan.partial}) LIMIT 0")


def plan_query(text: str, columns: Mapping[str, str]) -> Plan:
    """Plan a query over an ``input`` with the given columns.

    Args:
        text: One SELECT that aggregates ``input``.
        columns: Name to DuckDB type.

    Raises:
        QueryError: The query is refused, with the position and what to write instead.
        UsageError: A column's type is unknown.
    """
    try:
        return _plan(parse_query(text), columns)
    except RecursionError as error:
        raise nested_too_deeply(text) from error


def _plan(query: Query, columns: Mapping[str, str]) -> Plan:
    text = query.text
    session = open_session()
    create_input(session, columns)
    result = _describe(session, text)
    names = [name for name, _ in result]
    lowered = [name.lower() for name in names]
    if twice := next((name for name in names if lowered.count(name.lower()) > 1), None):
        problem = f"two columns of the result are named {twice}; rename one with AS"
        raise QueryError(problem, text, 0)
    _check_names_in_source(session, query, query.select)
    resolver = Resolver(query, query.select, _source_columns(session, query.select))
    split = split_query(query, resolver, names)
    plan = Plan(
        query=text,
        columns=dict(columns),
        partial=split.partial,
        merge="",
        final=split.final,
        result=dict(result),
        approximate=tuple(sorted(query.aggregates & functions.APPROXIMATE.keys())),
    )
    return _bind(session, plan, split)


def _describe(session: duckdb.DuckDBPyConnection, query: str) -> list[tuple[str, str]]:
    """Return the names and types of a query's columns; DuckDB's complaint becomes a QueryError."""
    try:
        rows = session.execute(_DESCRIBE + query).fetchall()
    except duckdb.Error as error:
        fields = duckdb_error(error)
        position = fields.get("position")
        at = None if position is None else max(0, int(position) - len(_DESCRIBE))
        problem = " ".join(str(fields["exception_message"]).split())
        raise query_error(problem, query, at) from error
    return [(name, kind) for name, kind, *_ in rows]


def _source_columns(session: duckdb.DuckDBPyConnection, select: Node) -> frozenset[str]:
    """Return the columns of a SELECT's FROM, for the names that its expressions may use."""
    everything = parse_select(f"SELECT * FROM {INPUT}")["node"]
    source = print_select({**everything, "from_table": select["from_table"]})
    return frozenset(name.lower() for name, _ in _describe(session, source))


def _check_names_in_source(session: duckdb.DuckDBPyConnection, query: Query, select: Node) -> None:
    """Refuse names in the subqueries of FROM that are no columns, such as ``current_date``."""
    if select["from_table"]["type"] == "SUBQUERY":
        inner = select["from_table"]["subquery"]["node"]
        resolver = Resolver(query, inner, _source_columns(session, inner))
        resolver.resolve(inner["where_clause"])
        _check_names_in_source(session, query, inner)


def _bind(session: duckdb.DuckDBPyConnection, plan: Plan, split: Split) -> Plan:
    """Complete the merge with the states' types, and prove that the plan's result is the query's.

    Raises:
        QueryError: DuckDB has no state for an aggregate over these types, or the plan would give
            other columns than the query.
    """
    try:
        create_states(session, plan)
        kinds = dict(_describe(session, f"FROM {STATES}"))
        merge = split.merge(kinds)
        session.execute(f"CREATE TABLE {AGGREGATED} AS {merge}")
        found = session.execute(_DESCRIBE + plan.final).fetchall()
    except duckdb.Error as error:
        problem = " ".join(str(duckdb_error(error)["exception_message"]).split())
        raise QueryError(f"cannot be computed block by block: {problem}", plan.query) from error
    if {name: kind for name, kind, *_ in found} != plan.result:
        raise QueryError("cannot be computed block by block; write it in simpler terms", plan.query)
    return Plan(**{**plan.__dict__, "merge": merge})
