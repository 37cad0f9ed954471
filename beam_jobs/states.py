"""States: the mergeable partial results of a query, as Arrow tables."""

from __future__ import annotations

from collections.abc import Iterable

import duckdb
import pyarrow as pa

from beam_jobs.errors import InputError, TallyflowError
from beam_jobs.session import open_session
from beam_jobs.sql.plan import Plan, create_input, create_states
from beam_jobs.sql.split import AGGREGATED, STATES
from beam_jobs.sql.syntax import duckdb_error


def partial_states(session: duckdb.DuckDBPyConnection, plan: Plan, file: str) -> pa.Table:
    """Compute the states of one block, whose rows are the session's table ``input``.

    Returns:
        One row per group of the block; without GROUP BY one row, also for no rows.

    Raises:
        InputError: The query fails on the block's values, for instance in a cast; it names `file`.
    """
    try:
        return _to_arrow(session, plan.partial)
    except duckdb.Error as error:
        raise InputError(f"{file}: the query fails on its values: {_reason(error)}") from error


def finalize(plan: Plan, blocks: Iterable[pa.Table], scratch: str | None = None) -> pa.Table:
    """Merge the states of all blocks and compute the query's result.

    Args:
        plan: The plan that the states were computed with.
        blocks: The states of each block, in the order of the input: ``first``, ``list`` and their
            like depend on it, and so do the last digits of floating-point sums.
        scratch: Folder for spilling.

    Returns:
        The result, with the query's column names, types and row order.

    Raises:
        TallyflowError: The query fails on the aggregated values, for instance in a cast.
    """
    session = open_session(scratch=scratch)
    create_input(session, plan.columns)
    create_states(session, plan)
    try:
        rows = sum(_insert(session, block) for block in blocks)
        if not rows:
            # No row was aggregated at all: what the result is then, the query itself says best.
            return _to_arrow(session, plan.query)
        session.execute(f"CREATE TABLE {AGGREGATED} AS {plan.merge}")
        return _to_arrow(session, plan.final)
    except duckdb.Error as error:
        raise TallyflowError(f"the query fails on its aggregates: {_reason(error)}") from error


def _to_arrow(session: duckdb.DuckDBPyConnection, query: str) -> pa.Table:
    table: pa.Table = session.sql(query).to_arrow_table()
    return table


def _insert(session: duckdb.DuckDBPyConnection, block: pa.Table) -> int:
    """Add the states of a block; returns how many rows they have."""
    if block.num_rows:
        session.register("block", block)
        session.execute(f"INSERT INTO {STATES} FROM block")
        session.unregister("block")
    return int(block.num_rows)


def _reason(error: duckdb.Error) -> str:
    return " ".join(str(duckdb_error(error)["exception_message"]).split())


def to_bytes(states: pa.Table) -> bytes:
    """Return an Arrow table as the bytes of an Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, states.schema) as writer:
        writer.write_table(states)
    return bytes(sink.getvalue())


def from_bytes(stream: bytes) -> pa.Table:
    """Return the Arrow table of an Arrow IPC stream."""
    return pa.ipc.open_stream(stream).read_all()
