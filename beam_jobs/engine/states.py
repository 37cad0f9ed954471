"""States: the mergeable partial results of a query, as Arrow tables."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import duckdb
import numpy as np
import pyarrow as pa

from beam_jobs.engine.memory import AT_WORK
from beam_jobs.engine.session import memory_limit, open_session, quote_name
from beam_jobs.errors import InputError, TallyflowError
from beam_jobs.sql.plan import (
    RESULT,
    Plan,
    Relation,
    create_input,
    create_lookups,
    create_states,
)
from beam_jobs.sql.relations import POSITION, STATES
from beam_jobs.sql.sizes import STATE_LIMIT
from beam_jobs.sql.syntax import duckdb_error

_COMPRESSED = pa.ipc.IpcWriteOptions(compression="lz4")


def partial_states(
    session: duckdb.DuckDBPyConnection, plan: Plan, number: int, file: str, position: int
) -> pa.Table:
    """Compute the rows of a relation for one block, which is the session's table ``input``.

    Args:
        session: Has the columns of ``plan.used`` in ``input``, and the lookup tables.
        plan: Of the query.
        number: Of the relation.
        file: What to name where the query fails.
        position: Of the block: greater than that of every block before it in the input. ``mode``
            needs it, as among equals it takes the value that came first.

    Returns:
        One row per key of the block; without keys one row, also for no rows.

    Raises:
        InputError: The query fails on the block's values, for instance in a cast; it names `file`.
    """
    relation = plan.relations[number]
    try:
        if relation.positioned:
            session.execute(f"SET VARIABLE {POSITION} = {position:d}")
        return _to_arrow(session, relation.partial)
    except duckdb.Error as error:
        raise InputError(f"{file}: the query fails on its values: {_reason(error)}") from error


def combine(
    plan: Plan, number: int, tables: Iterable[pa.Table], scratch: str | None = None
) -> pa.Table:
    """Combine the rows of a relation that have the same keys.

    It is associative: rows that are combined already may be combined with more.

    Args:
        plan: Of the query.
        number: Of the relation.
        tables: Rows of the relation, in the order of the input:
            ``first``, ``list`` and their like depend on it, and so do the last digits of
            floating-point sums.
        scratch: Folder for spilling.

    Returns:
        One row per key, with the columns and types of the tables.

    Raises:
        TallyflowError: An aggregate would keep more for a group than it may, or the session's
            memory is not enough.
    """
    relation = plan.relations[number]
    with _session(plan, scratch) as session:
        rows, size = _load(session, relation, STATES, tables)
        if not rows:
            return _to_arrow(session, f"FROM {STATES}")
        if size > STATE_LIMIT:
            for growth in plan.growths:
                if growth.relation == number and growth.combined:
                    _check_size(session, growth.aggregate, growth.combined)
        return _to_arrow(session, relation.combine)


@contextmanager
def finalized(
    plan: Plan, relations: Sequence[Iterable[pa.Table]], scratch: str | None = None
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a session with the query's result as its view ``result``.

    The result is computed when it is read, once: what spills goes to `scratch`, and nothing of it
    has to be in memory. Errors of DuckDB within the context become a `TallyflowError`.

    Args:
        plan: Of the query.
        relations: For each relation its combined rows, in tables that have no key in common.
        scratch: Folder for spilling.

    Yields:
        The session; ``FROM result`` has the query's column names, types and row order.

    Raises:
        TallyflowError: The query fails on the aggregated values, for instance in a cast, or
            an aggregate keeps more for a group than it may, or memory is not enough.
    """
    with _session(plan, scratch) as session:
        loaded = [
            _load(session, relation, f"{STATES}{number}", tables)
            for number, (relation, tables) in enumerate(zip(plan.relations, relations, strict=True))
        ]
        for growth in plan.growths:
            if loaded[growth.relation][1] > STATE_LIMIT:
                _check_size(session, growth.aggregate, growth.final)
        if loaded[0][0]:
            for statement in plan.final:
                session.execute(statement)
        else:
            # No row was aggregated at all: what the result is then, the query itself says best.
            session.execute(f"CREATE VIEW {RESULT} AS {plan.query}")
        yield session


def partition(table: pa.Table, keys: int, count: int) -> list[pa.Table]:
    """Divide rows by a hash of their keys: equal keys, as GROUP BY has it, stay together.

    Args:
        table: The rows.
        keys: The first so many columns are the keys. Without keys all rows are in the first part.
        count: Of parts.

    Returns:
        As many tables as asked for, the rows in their order.
    """
    if not keys or count == 1:
        return [table, *(table.slice(0, 0) for _ in range(count - 1))]
    session = _hashing_session().cursor()
    session.register("keys", table.select(range(keys)))
    names = ", ".join(quote_name(name) for name in table.column_names[:keys])
    query = f"SELECT (hash({names}) % {count:d})::USMALLINT AS part FROM keys"
    parts = session.execute(query).fetchnumpy()["part"]
    session.close()
    ends = np.cumsum(np.bincount(parts, minlength=count))
    # Taken, not sliced: DuckDB does not read nested values that begin at an offset.
    rows = np.split(np.argsort(parts, kind="stable"), ends[:-1])
    return [table.take(numbers) for numbers in rows]


@functools.cache
def _hashing_session() -> duckdb.DuckDBPyConnection:
    return open_session()


@contextmanager
def _session(plan: Plan, scratch: str | None) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a session with an empty input, whose errors say what to do."""
    with AT_WORK, open_session(scratch=scratch) as session:
        create_input(session, plan.columns)
        create_lookups(session, plan.lookups)
        try:
            yield session
        except duckdb.OutOfMemoryException as error:
            raise TallyflowError(
                f"the query's groups need more memory than the {memory_limit()} of a session, or "
                "more disk than its scratch folder has: count(DISTINCT …) and sums spill to disk, "
                "but list(…), median(…) and the like keep their values in memory; use "
                f"approx_quantile(…), or fewer groups ({_reason(error)})"
            ) from error
        except duckdb.Error as error:
            raise TallyflowError(f"the query fails on its aggregates: {_reason(error)}") from error


def _load(
    session: duckdb.DuckDBPyConnection,
    relation: Relation,
    target: str,
    tables: Iterable[pa.Table],
) -> tuple[int, int]:
    """Load tables into a new table of the session; return their rows and bytes."""
    create_states(session, relation, target)
    rows = size = 0
    waiting = iter(tables)
    first = next(waiting, None)
    if first is None:
        return 0, 0

    def batches() -> Iterator[pa.RecordBatch]:
        nonlocal rows, size
        for table in (first, *waiting):
            rows += table.num_rows
            size += table.nbytes
            yield from table.to_batches()

    # One statement for all of them: as one each they would cost a millisecond apiece.
    session.register("_blocks", pa.RecordBatchReader.from_batches(first.schema, batches()))
    session.execute(f"INSERT INTO {target} FROM _blocks")
    session.unregister("_blocks")
    return rows, size


def _check_size(session: duckdb.DuckDBPyConnection, aggregate: str, measure: str) -> None:
    """Refuse an aggregate that keeps too much for one group.

    Raises:
        TallyflowError: Naming it and the limit.
    """
    ((largest,),) = session.execute(measure).fetchall()
    if largest is not None and largest > STATE_LIMIT:
        raise TallyflowError(
            f"{aggregate} keeps {largest:,} bytes of values for one group; the limit is "
            f"{STATE_LIMIT:,}: group by more, filter the rows, or use an aggregate that keeps no "
            "values, such as approx_quantile or count"
        )


def _reason(error: duckdb.Error) -> str:
    return " ".join(str(duckdb_error(error)["exception_message"]).split())


def _to_arrow(session: duckdb.DuckDBPyConnection, query: str) -> pa.Table:
    table: pa.Table = session.sql(query).to_arrow_table()
    return table


def to_bytes(states: pa.Table) -> bytes:
    """Return an Arrow table as the bytes of an Arrow IPC stream, compressed."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, states.schema, options=_COMPRESSED) as writer:
        writer.write_table(states)
    return bytes(sink.getvalue())


def from_bytes(stream: bytes) -> pa.Table:
    """Return the Arrow table of an Arrow IPC stream."""
    return pa.ipc.open_stream(stream).read_all()
