"""Reads Parquet files with DuckDB itself, some row groups at a time.

A session of `open_session` reaches the named files and its scratch folder only. Of a
remote file, the bytes that are read are copied there first, to the places they have in the file.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import duckdb

from beam_jobs.engine.reports import BlockReport
from beam_jobs.engine.session import open_session, quote_name, quote_text
from beam_jobs.errors import InputError
from beam_jobs.files import InputFile, changed
from beam_jobs.filesystems import is_remote
from beam_jobs.formats import casts
from beam_jobs.formats.parquet_footer import Chunk, Footer, read_footer
from beam_jobs.formats.parquet_scratch import copy, link
from beam_jobs.formats.widening import columns_of_all, no_fit, widens

# What several queries read is in memory as a whole, several times as large.
BLOCK_BYTES = 32 * 1024 * 1024
_ROW = "file_row_number"
_LARGEST_PRECISION = 38


@dataclass(frozen=True)
class RowGroups:
    """Some row groups of a file that follow each other; the data is still to be read.

    Attributes:
        file: The file.
        stamp: Checksum of its footer.
        first_group: Number of the first of them.
        groups: How many.
        first_row: Number of their first row.
        rows: How many rows they have.
        is_first: Whether they are the file's beginning: one block of each file is.
        is_whole: Whether they are all of the file.
    """

    file: InputFile
    stamp: int
    first_group: int
    groups: int
    first_row: int
    rows: int
    is_first: bool
    is_whole: bool


def find_columns(files: Sequence[InputFile], declared: Mapping[str, str]) -> dict[str, str]:
    """Return name and DuckDB type of the columns of a run, from a sample of its files.

    Args:
        files: The sample.
        declared: Types that are given; they are not questioned.

    Raises:
        InputError: A file cannot be read, or the types of two files have none in common.
    """
    found = ((file.path, _sampled_columns(file)) for file in files)
    return columns_of_all(found, declared)


def row_groups(file: InputFile, start: int, end: int) -> Iterator[RowGroups]:
    """Yield the row groups that begin in a byte range of a file, several small ones together.

    Args:
        file: The file.
        start: First byte.
        end: The byte after the last.

    Yields:
        Blocks of about the same size, at most `BLOCK_BYTES` and a row group. A range from 0 has one
        at least, be it without rows.

    Raises:
        InputError: The file is no Parquet file, is broken or was changed.
    """
    footer = read_footer(file)
    groups = footer.groups()
    numbers = [number for number, group in enumerate(groups) if start <= group.offset < end]
    if not numbers:
        if start == 0:
            yield RowGroups(file, footer.stamp, 0, 0, 0, 0, is_first=True, is_whole=not groups)
        return
    ends = [*(group.offset for group in groups[1:]), file.size - len(footer.data)]
    begin = groups[numbers[0]].offset
    size = max(1, ends[numbers[-1]] - begin)
    count = -(-size // BLOCK_BYTES)

    def place(number: int) -> int:
        middle = (groups[number].offset + ends[number]) // 2
        return (middle - begin) * count // size

    for _, members in itertools.groupby(numbers, place):
        first, *others = members
        end = first + 1 + len(others)
        yield RowGroups(
            file,
            footer.stamp,
            first,
            end - first,
            groups[first].first_row,
            sum(group.rows for group in groups[first:end]),
            is_first=start == 0 and first == numbers[0],
            is_whole=end - first == len(groups),
        )


def load(
    session: duckdb.DuckDBPyConnection,
    scratch: str,
    block: RowGroups,
    wanted: Mapping[str, str],
    known: Collection[str],
) -> tuple[str, BlockReport]:
    """Make a block readable in a session.

    Args:
        session: Of `open_session`, which was given the file.
        scratch: The session's folder; what is copied there is deleted by `release`.
        block: The row groups.
        wanted: Name to DuckDB type of the run's columns to read.
        known: Names of all columns of the run.

    Returns:
        A SELECT for the wanted columns of the block's rows in their order, and the report.

    Raises:
        InputError: The file was changed, cannot be read, or a column's type does not fit.
    """
    footer = _unchanged(block)
    used = {name.lower() for name in wanted}
    if is_remote(block.file.path):
        local = copy(footer, scratch)
        copy(footer, scratch, footer.spans(_chunks(session, local, block, used)))
    else:
        local = link(footer, scratch)
    columns = _columns(session, local, block.file.path)
    spelled = {name.lower(): name for name in columns}
    values = [
        _value(block.file.path, name, kind, columns, spelled) for name, kind in wanted.items()
    ]
    options = "hive_partitioning = false, union_by_name = false"
    where = ""
    if not block.is_whole:
        if _ROW in spelled:
            raise InputError(
                f"{block.file.path}: a column is called {_ROW}, so that the file cannot be read "
                "in parts; give the column another name"
            )
        options += f", {_ROW} = true"
        last = block.first_row + block.rows - 1
        where = f" WHERE {_ROW} BETWEEN {block.first_row} AND {last}"
    source = f"read_parquet({quote_text(local)}, {options})"
    taken = {name.lower() for name in known}
    report = BlockReport(
        block.file.path,
        block.rows,
        missing=tuple(n for n in known if n.lower() not in spelled) if block.is_first else (),
        ignored=tuple(n for n in columns if n.lower() not in taken) if block.is_first else (),
    )
    # Without any column there still are rows to count.
    return f"SELECT {', '.join(values) or 'true AS present'} FROM {source}{where}", report


def find_fault(
    block: RowGroups, wanted: Mapping[str, str], known: Collection[str]
) -> InputError | None:
    """Return what is wrong with a block's data, after a query over it failed; None if nothing is.

    The failed session may be of no use any more: this reads the block in one of its own.
    """
    with tempfile.TemporaryDirectory(prefix="tallyflow-") as scratch:
        session = open_session(scratch, [block.file.path])
        try:
            select, _ = load(session, scratch, block, wanted, known)
            session.execute(f"SELECT bit_xor(hash(COLUMNS(*))) FROM ({select})").fetchall()
        except duckdb.Error as error:
            return _unreadable(block.file.path, error)
        except InputError as error:
            return error
        finally:
            session.close()
    return None


def check_unchanged(block: RowGroups) -> None:
    """Fail if a file is not any more what it was when its block was cut.

    Raises:
        InputError: It was changed or deleted.
    """
    _unchanged(block)


def _unchanged(block: RowGroups) -> Footer:
    footer = read_footer(block.file)
    if footer.stamp != block.stamp:
        raise changed(block.file.path)
    return footer


def _sampled_columns(file: InputFile) -> dict[str, str | None]:
    footer = read_footer(file)
    footer.groups()
    with tempfile.TemporaryDirectory(prefix="tallyflow-") as scratch:
        session = open_session(scratch)
        try:
            # Of the footer only: DuckDB reads no more to tell the columns.
            return _columns(session, copy(footer, scratch), file.path)
        finally:
            session.close()


def _columns(session: duckdb.DuckDBPyConnection, local: str, path: str) -> dict[str, str | None]:
    """Return name and DuckDB type of a file's columns; None for decimals that DuckDB rounds.

    Args:
        session: May read the file.
        local: The file, or a copy with its footer.
        path: The file as matched.
    """
    try:
        schema = session.execute(
            "SELECT name, coalesce(num_children, 0), coalesce(precision, 0) "
            f"FROM parquet_schema({quote_text(local)})"
        ).fetchall()
        described = session.execute(
            f"DESCRIBE SELECT * FROM read_parquet({quote_text(local)}, hive_partitioning = false)"
        ).fetchall()
    except duckdb.Error as error:
        raise _unreadable(path, error) from error
    columns: dict[str, str | None] = {}
    seen: dict[str, str] = {}
    for (name, precision), row in zip(_top_fields(schema), described, strict=True):
        if name.lower() in seen:
            raise InputError(
                f"{path}: two columns have the names {seen[name.lower()]!r} and {name!r}, which "
                "are one in SQL; give one of them another name"
            )
        seen[name.lower()] = name
        columns[name] = str(row[1]) if precision <= _LARGEST_PRECISION else None
    return columns


def _chunks(
    session: duckdb.DuckDBPyConnection, local: str, block: RowGroups, used: Collection[str]
) -> list[Chunk]:
    """Return what the footer says of some columns, by their names in lower case, in a block."""
    try:
        chunks: list[Chunk] = session.execute(
            "SELECT path_in_schema, dictionary_page_offset, data_page_offset, "
            "total_compressed_size, bloom_filter_offset, bloom_filter_length "
            f"FROM parquet_metadata({quote_text(local)}) WHERE row_group_id >= ? "
            "AND row_group_id < ?",
            [block.first_group, block.first_group + block.groups],
        ).fetchall()
    except duckdb.Error as error:
        raise _unreadable(block.file.path, error) from error
    # The names of nested columns are joined by commas: too many are no harm.
    return [
        chunk
        for chunk in chunks
        if chunk[0].lower() in used
        or any(chunk[0].lower().startswith(f"{name}, ") for name in used)
    ]


def _top_fields(schema: Sequence[tuple[str, int, int]]) -> Iterator[tuple[str, int]]:
    """Yield name of each column, and the most digits of its decimals, from a flattened tree."""

    def end(place: int) -> int:
        after = place + 1
        for _ in range(schema[place][1]):
            after = end(after)
        return after

    place = 1
    while place < len(schema):
        after = end(place)
        yield schema[place][0], max(row[2] for row in schema[place:after])
        place = after


def _value(
    path: str, name: str, kind: str, columns: Mapping[str, str | None], spelled: Mapping[str, str]
) -> str:
    """Return SQL for a column of the run over the file."""
    found = spelled.get(name.lower())
    if found is None:
        return f"CAST(NULL AS {kind}) AS {quote_name(name)}"
    stored = columns[found]
    if stored is None:
        raise InputError(
            f"{path}: column {found} has decimals of more than {_LARGEST_PRECISION} digits, the "
            "most that DuckDB has; write it with fewer, or as a text"
        )
    if not widens(stored, kind):
        raise no_fit(path, found, stored, kind)
    value = quote_name(found)
    if stored != casts.spelled(kind):
        value = f"CAST({value} AS {kind})"
    return f"{value} AS {quote_name(name)}"


def _unreadable(path: str, error: duckdb.Error) -> InputError:
    """Return the error for a file that DuckDB cannot read, without the copy's name."""
    text = str(error)
    with contextlib.suppress(ValueError, KeyError):
        text = json.loads(text[text.index("{") :])["exception_message"]
    reason = next(iter(text.splitlines()), type(error).__name__)
    return InputError(f"{path}: cannot be read as Parquet: {reason}; write the file again")
