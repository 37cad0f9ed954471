"""States as Parquet files, for rollups: what merges into the answer over several partitions."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from beam_jobs.engine.session import open_session
from beam_jobs.errors import InputError
from beam_jobs.sql import Plan, parse_query
from beam_jobs.sql.plan import create_input, create_lookups
from beam_jobs.sql.relations import POSITION
from beam_jobs.sql.syntax import print_select
from beam_jobs.version import VERSION

_KEY = b"tallyflow"
_ARROW_SCHEMA = b"ARROW:schema"


@dataclass(frozen=True)
class StatesOrigin:
    """What a file of states says about itself; states merge only where all of it is equal.

    Attributes:
        fingerprint: Of the query and the types that it reads.
        duckdb: The version that made the states, and can read them.
        tallyflow: The version that planned the query.
        relation: The number of the query's relation.
        relations: How many relations, and with them files, there are.
    """

    fingerprint: str
    duckdb: str
    tallyflow: str
    relation: int
    relations: int


def fingerprint(plan: Plan) -> str:
    """Return a hash of a query and of the types of what it reads.

    White space, comments and the case of keywords do not change it; neither do columns that the
    query does not read.
    """
    select = parse_query(plan.query, list(plan.lookups)).select
    columns = {name: plan.columns[name] for name in plan.used}
    lookups = {name: dict(kinds) for name, kinds in sorted(plan.lookups.items())}
    described = json.dumps([print_select(select), columns, lookups, dict(plan.result)])
    return hashlib.sha256(described.encode()).hexdigest()[:32]


def origin(plan: Plan, relation: int) -> StatesOrigin:
    """Return what the file of a relation's states is to say about itself."""
    return StatesOrigin(
        fingerprint(plan), duckdb.__version__, VERSION, relation, len(plan.relations)
    )


def schema(plan: Plan, relation: int) -> pa.Schema:
    """Return the Arrow schema of the states of a relation."""
    with open_session() as session:
        create_input(session, plan.columns)
        create_lookups(session, plan.lookups)
        session.execute(f"SET VARIABLE {POSITION} = 0")
        rows: pa.Table = session.sql(plan.relations[relation].partial).to_arrow_table()
        return rows.schema


def problem(plan: Plan) -> str | None:
    """Return why the states of a query cannot be Parquet, None when they can."""
    for relation in range(len(plan.relations)):
        for field in schema(plan, relation):
            kind = _unstorable(field.type)
            if kind:
                return f"Parquet has no type for the states of {kind} values"
    return None


def _unstorable(kind: pa.DataType) -> str:
    if pa.types.is_interval(kind):
        return "INTERVAL"
    if pa.types.is_fixed_size_list(kind):
        return "ARRAY"  # pyarrow does not write one that is NULL
    children = (kind.field(number).type for number in range(kind.num_fields))
    return next(filter(None, map(_unstorable, children)), "")


def paths(path: str, plan: Plan) -> list[str]:
    """Return where the states of each relation are: ``x.parquet``, ``x.1.parquet``, and so on."""
    stem = path.removesuffix(".parquet")
    others = (f"{stem}.{number}.parquet" for number in range(1, len(plan.relations)))
    return [path, *others]


def write_states(path: str, plan: Plan, relation: int, tables: Iterable[pa.Table]) -> None:
    """Write the states of a relation to a local file, one table at a time.

    Args:
        path: Where.
        plan: Of the query.
        relation: The number of its relation.
        tables: The combined rows, in tables that have no key in common.
    """
    waiting = iter(tables)
    first = next(waiting, None)
    if first is None:
        first = schema(plan, relation).empty_table()
    said = {_KEY: json.dumps(origin(plan, relation).__dict__).encode()}
    # The Arrow schema is stored, too: with it, all types of DuckDB's come back as they are.
    with pq.ParquetWriter(
        path, first.schema.with_metadata(said), compression="zstd", store_schema=True
    ) as writer:
        for table in (first, *waiting):
            writer.write_table(table.replace_schema_metadata(said))


def read_origin(path: str) -> StatesOrigin:
    """Return what a local file of states says about itself.

    Raises:
        InputError: It is none.
    """
    try:
        found = _metadata(path).get(_KEY)
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    if found is None:
        raise InputError(f"{path}: is no file of states, but another Parquet file")
    return StatesOrigin(**json.loads(found))


def read_states(path: str) -> Iterator[pa.Table]:
    """Read a local file of states, one row group at a time, with the types it was written with."""
    written = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(_metadata(path)[_ARROW_SCHEMA])))
    with pq.ParquetFile(Path(path)) as file:
        for number in range(file.num_row_groups):
            table = file.read_row_group(number)
            # Parquet has other names for the items of lists, and no seconds.
            yield table.cast(written) if table.schema != written else table


def _metadata(path: str) -> Mapping[bytes, bytes]:
    return pq.read_metadata(path).metadata or {}
