"""Splits an aggregate query into relations of mergeable rows and a final query over them.

    partial   SELECT <keys>, <state of each aggregate> FROM input WHERE … GROUP BY <keys>
    combine   SELECT <keys>, <combined states> FROM states GROUP BY <keys>
    final     SELECT <the query's expressions> FROM aggregated WHERE <HAVING> QUALIFY … ORDER BY …

The final query is the user's own, with each group expression and each aggregate call replaced by a
column of ``aggregated``, so that expressions, windows, ordering and limits stay DuckDB's business.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import duckdb

from beam_jobs.engine.session import open_session, quote_name
from beam_jobs.errors import QueryError, UsageError
from beam_jobs.formats.casts import is_type
from beam_jobs.sql import functions
from beam_jobs.sql.relations import (
    POSITION,
    STATES,
    aggregated_query,
    combine_queries,
    main_keys,
    partial_queries,
)
from beam_jobs.sql.resolve import Resolver, Source
from beam_jobs.sql.shape import INPUT, Query, nested_too_deeply, parse_query
from beam_jobs.sql.sizes import Growth, growths
from beam_jobs.sql.source import join_conditions, leaves
from beam_jobs.sql.split import AGGREGATED, Split, sort_keys, split_query
from beam_jobs.sql.syntax import Node, duckdb_error, parse_select, print_select, query_error
from beam_jobs.sql.used import used_columns

RESULT = "result"
_DESCRIBE = "DESCRIBE "
_NO_LOOKUPS: Mapping[str, Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True)
class Relation:
    """One kind of partial rows of a query: rows with keys and mergeable states.

    Attributes:
        keys: The first so many columns are the keys, which rows are partitioned by and combined
            on; with none there is one row in all.
        partial: SQL from ``input`` (the rows of one block) to the rows of this relation.
        combine: SQL from ``states`` (rows of many blocks, in the order of the input) to rows of
            the same columns and types, one per key.
        positioned: Whether `partial` needs to know which block of the input it is.
    """

    keys: int
    partial: str
    combine: str
    positioned: bool


@dataclass(frozen=True)
class Plan:
    """One query, split; SQL texts, so that it travels to workers as it is.

    Attributes:
        query: As the user wrote it; over no rows at all it is run as it is.
        columns: Name to DuckDB type of the columns of ``input``.
        used: Those columns that the query reads.
        lookups: Of each lookup table that the query joins, name to DuckDB type of its columns.
        relations: The first has the groups and their states, the others values of the groups.
        growths: How to measure the aggregates that keep values.
        final: SQL, run in order over the combined rows in ``states0``, ``states1`` …; the result
            is the view ``result`` then.
        result: Name to DuckDB type of the result's columns, in order.
        approximate: Names of the approximate aggregates that the query uses.
    """

    query: str
    columns: Mapping[str, str]
    used: tuple[str, ...]
    lookups: Mapping[str, Mapping[str, str]]
    relations: tuple[Relation, ...]
    growths: tuple[Growth, ...]
    final: tuple[str, ...]
    result: Mapping[str, str]
    approximate: tuple[str, ...]


def create_input(session: duckdb.DuckDBPyConnection, columns: Mapping[str, str]) -> None:
    """Create the empty table ``input``.

    Raises:
        UsageError: A column's type is none that DuckDB knows.
    """
    _create_table(session, INPUT, columns)


def create_lookups(
    session: duckdb.DuckDBPyConnection, lookups: Mapping[str, Mapping[str, str]]
) -> None:
    """Create empty lookup tables; as `create_input` otherwise."""
    for name, columns in lookups.items():
        _create_table(session, name, columns)


def _create_table(
    session: duckdb.DuckDBPyConnection, table: str, columns: Mapping[str, str]
) -> None:
    where = "" if table == INPUT else f"{table}: "
    for name, kind in columns.items():
        if not is_type(kind):
            raise UsageError(
                f"{where}column {name}: {kind!r} is not a type of DuckDB, "
                "such as VARCHAR or DECIMAL(10, 2)"
            )
    listed = ", ".join(f"{quote_name(name)} {kind}" for name, kind in columns.items())
    session.execute(f"CREATE TABLE {quote_name(table)}({listed})")


def create_states(session: duckdb.DuckDBPyConnection, relation: Relation, table: str) -> None:
    """Create an empty table for the rows of a relation, from the empty table ``input``.

    The partial query names the states' types, which have no spelling in SQL.
    """
    session.execute(f"CREATE TABLE {table} AS FROM ({relation.partial}) LIMIT 0")


def plan_query(
    text: str,
    columns: Mapping[str, str],
    lookups: Mapping[str, Mapping[str, str]] = _NO_LOOKUPS,
) -> Plan:
    """Plan a query over an ``input`` with the given columns.

    Args:
        text: One SELECT that aggregates ``input``.
        columns: Name to DuckDB type.
        lookups: Of each table that the query may join, name to DuckDB type of its columns.

    Raises:
        QueryError: The query is refused, with the position and what to write instead.
        UsageError: A column's type is unknown, or a lookup table has a name of our own.
    """
    try:
        return _plan(parse_query(text, lookups), columns, lookups)
    except RecursionError as error:
        raise nested_too_deeply(text) from error


def _plan(
    query: Query, columns: Mapping[str, str], lookups: Mapping[str, Mapping[str, str]]
) -> Plan:
    text = query.text
    session = open_session()
    create_input(session, columns)
    joined = {name: kinds for name, kinds in lookups.items() if name.lower() in query.lookups}
    _check_names(joined)
    create_lookups(session, joined)
    result = _describe(session, text)
    names = [name for name, _ in result]
    lowered = [name.lower() for name in names]
    if twice := next((name for name in names if lowered.count(name.lower()) > 1), None):
        problem = f"two columns of the result are named {twice}; rename one with AS"
        raise QueryError(problem, text, 0)
    resolver = Resolver(query, query.select, _sources(session, query.select))
    _check_names_in_source(session, query, query.select, resolver)
    split = split_query(query, resolver, names)
    plan = Plan(
        query=text,
        columns=dict(columns),
        used=used_columns(split, columns),
        lookups={name: dict(kinds) for name, kinds in joined.items()},
        relations=(),
        growths=(),
        final=(),
        result=dict(result),
        approximate=tuple(sorted(query.aggregates & functions.APPROXIMATE.keys())),
    )
    return _bind(session, plan, split)


def _check_names(lookups: Mapping[str, Mapping[str, str]]) -> None:
    for name in lookups:
        lowered = name.lower()
        if lowered in (INPUT, AGGREGATED, RESULT) or lowered.startswith((STATES, "_")):
            raise UsageError(f"{name}: a lookup table cannot have this name; choose another")


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


def _sources(session: duckdb.DuckDBPyConnection, select: Node) -> list[Source]:
    """Return what a SELECT's FROM joins, with the columns that its expressions may name."""
    everything = parse_select(f"SELECT * FROM {INPUT}")["node"]
    found = []
    for leaf in leaves(select["from_table"]):
        rows = _describe(session, print_select({**everything, "from_table": leaf}))
        found.append(Source(leaf, frozenset(name.lower() for name, _ in rows)))
    return found


def _check_names_in_source(
    session: duckdb.DuckDBPyConnection, query: Query, select: Node, resolver: Resolver
) -> None:
    """Refuse names within FROM that are no columns, such as ``current_date``."""
    for condition in join_conditions(select["from_table"]):
        resolver.resolve(condition)
    for leaf in leaves(select["from_table"]):
        if leaf["type"] == "SUBQUERY":
            inner = leaf["subquery"]["node"]
            within = Resolver(query, inner, _sources(session, inner))
            within.resolve(inner["where_clause"])
            _check_names_in_source(session, query, inner, within)


def _bind(session: duckdb.DuckDBPyConnection, plan: Plan, split: Split) -> Plan:
    """Complete a plan with what the states' types tell, and prove that its result is the query's.

    Raises:
        QueryError: DuckDB has no state for an aggregate over these types, or the plan would give
            other columns than the query.
    """
    try:
        session.execute(f"SET VARIABLE {POSITION} = 0")
        partials = partial_queries(split)
        kinds = [_kinds(session, partial, f"{STATES}{n}") for n, partial in enumerate(partials)]
        combines = combine_queries(split, dict(_describe(session, f"FROM {STATES}0")))
        final = _final(split, dict(_describe(session, f"FROM {STATES}0")))
        for statement in final:
            session.execute(statement)
        found = session.execute(f"{_DESCRIBE}FROM {RESULT}").fetchall()
    except duckdb.Error as error:
        problem = " ".join(str(duckdb_error(error)["exception_message"]).split())
        raise QueryError(f"cannot be computed block by block: {problem}", plan.query) from error
    if {name: kind for name, kind, *_ in found} != plan.result:
        raise QueryError("cannot be computed block by block; write it in simpler terms", plan.query)
    keys = [len(main_keys(split))] + [
        len(split.keys) + len(values.columns) for values in split.values
    ]
    positioned = [False, *(values.positioned for values in split.values)]
    relations = tuple(map(Relation, keys, partials, combines, positioned))
    completed = {"relations": relations, "growths": growths(split, kinds), "final": final}
    return Plan(**{**plan.__dict__, **completed})


def _kinds(session: duckdb.DuckDBPyConnection, partial: str, table: str) -> dict[str, str]:
    """Create a table of states; return the types of its columns as they leave DuckDB."""
    session.execute(f"CREATE TABLE {table} AS FROM ({partial}) LIMIT 0")
    exported = session.table(table).to_arrow_table()
    session.register("exported", exported)
    return dict(_describe(session, "FROM exported"))


def _final(split: Split, kinds: Mapping[str, str]) -> tuple[str, ...]:
    """Return the statements that end in the view of the result."""
    aggregated = aggregated_query(split, kinds)
    result = f"CREATE VIEW {RESULT} AS {split.final}"
    keys: Sequence[str] = sort_keys(split)
    if split.sorts or not keys:
        return (f"CREATE VIEW {AGGREGATED} AS {aggregated}", result)
    ordered = f"{aggregated} ORDER BY {', '.join(keys)}"
    return (f"CREATE TABLE {AGGREGATED} AS {ordered}", result)
