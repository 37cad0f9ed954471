"""Merges files of states into the result of their query, in memory that does not grow with them.

    files, in the order of time ─▶ [if large: spread by a hash of the group] ─▶ combine ─▶ finalize

It is what a job does with the states of its blocks, by the same functions, without Beam.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from beam_jobs.engine import states
from beam_jobs.engine.results import write_result
from beam_jobs.engine.states_files import origin, read_origin, read_states, schema, write_states
from beam_jobs.errors import InputError, TallyflowError
from beam_jobs.sql import Plan

# Of states as they are in Parquet before compression, to each of the parts that groups are spread
# over. In memory they are several times as large.
_PART_BYTES = 64 * 1024 * 1024
_MOST_PARTS = 64


def merge_files(
    plan: Plan, files: Sequence[Sequence[str]], result: str, merged: Sequence[str], scratch: str
) -> int:
    """Merge files of states; write the result of their query, and the merged states.

    Args:
        plan: The query.
        files: For each relation of the plan its files, local ones, in the order of the input:
            ``first``, ``list`` and their like depend on it.
        result: Where in `scratch` to write the result, in the format that the ending names.
        merged: Where to write the merged states, one file for each relation.
        scratch: A folder of its own; the session reaches no other.

    Returns:
        How many rows the result has.

    Raises:
        InputError: A file holds no states of this query, or those of another version.
        TallyflowError: The query fails on the merged values, or they need too much memory.
    """
    combined = []
    for relation, given in enumerate(files):
        _check(plan, relation, given)
        folder = Path(scratch) / f"relation{relation}"
        folder.mkdir()
        combined.append(_combine(plan, relation, given, folder))
    tables = [_read(paths) for paths in combined]
    with states.finalized(plan, tables, scratch) as session:
        rows = write_result(session, result)
    for relation, (path, paths) in enumerate(zip(merged, combined, strict=True)):
        write_states(path, plan, relation, _read(paths))
    return rows


def _check(plan: Plan, relation: int, paths: Sequence[str]) -> None:
    """Refuse files that are not what the manifests say of them.

    Raises:
        InputError: Naming the file.
    """
    wanted = origin(plan, relation)
    for path in paths:
        found = read_origin(path)
        if found != wanted:
            raise InputError(f"{path}: holds other states than {wanted}: {found}")


def _combine(plan: Plan, relation: int, paths: Sequence[str], folder: Path) -> list[Path]:
    """Combine the rows of a relation; return files of them that have no key in common."""
    keys = plan.relations[relation].keys
    size = sum(map(_uncompressed, paths))
    count = min(_MOST_PARTS, 1 + size // _PART_BYTES) if keys else 1
    failed: list[InputError] = []
    rows = _read_files(paths, schema(plan, relation), failed)
    parts: Sequence[Iterator[pa.Table]] = [rows]
    if count > 1:
        parts = [_read([spread]) for spread in _spread(rows, keys, count, folder)]
    combined = []
    for number, tables in enumerate(parts):
        with _own_error(failed):
            table = states.combine(plan, relation, tables, str(folder))
        combined.append(folder / f"combined{number}")
        with pa.ipc.new_stream(str(combined[-1]), table.schema) as writer:
            writer.write_table(table)
    return combined


def _uncompressed(path: str) -> int:
    found = pq.read_metadata(path)
    return sum(found.row_group(number).total_byte_size for number in range(found.num_row_groups))


def _spread(tables: Iterator[pa.Table], keys: int, count: int, folder: Path) -> list[Path]:
    """Spread rows over files by a hash of their keys; within each they stay in their order."""
    spread = [folder / f"part{number}" for number in range(count)]
    with contextlib.ExitStack() as stack:
        writers: list[pa.ipc.RecordBatchStreamWriter] = []
        for table in tables:
            if not writers:
                writers = [
                    stack.enter_context(pa.ipc.new_stream(str(path), table.schema))
                    for path in spread
                ]
            for writer, rows in zip(writers, states.partition(table, keys, count), strict=True):
                writer.write_table(rows)
    return spread


def _read_files(
    paths: Sequence[str], kinds: pa.Schema, failed: list[InputError]
) -> Iterator[pa.Table]:
    """Read files of states in their order; the error that one of them raises is `failed`, too."""
    for path in paths:
        try:
            yield from _checked(path, kinds)
        except InputError as error:
            failed.append(error)
            raise


def _checked(path: str, kinds: pa.Schema) -> Iterator[pa.Table]:
    try:
        for table in read_states(path):
            # DuckDB would convert them.
            if not table.schema.equals(kinds):
                raise InputError(f"{path}: its columns are not those of the query's states")
            yield table
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error


@contextlib.contextmanager
def _own_error(failed: Sequence[InputError]) -> Iterator[None]:
    """Raise the error of a file in place of what DuckDB, which reads it, makes of it."""
    try:
        yield
    except TallyflowError as error:
        if failed:
            raise failed[0] from error
        raise


def _read(paths: Sequence[Path]) -> Iterator[pa.Table]:
    """Read Arrow streams, mapped into memory: the system drops what was read when it has to."""
    for path in paths:
        with pa.memory_map(str(path)) as stream:
            yield pa.ipc.open_stream(stream).read_all()
