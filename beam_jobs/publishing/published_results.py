"""Reads published results with DuckDB: one aggregate of one or more partitions."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import duckdb
from pydantic import BaseModel, ValidationError

from beam_jobs.engine.session import quote_name, quote_text
from beam_jobs.errors import InputError
from beam_jobs.filesystems import is_remote, join_path
from beam_jobs.publishing.conditional_files import open_store
from beam_jobs.publishing.manifest import Version
from beam_jobs.publishing.partition_folder import PartitionFolder

SHOWN_ROWS = 50
_COPIED_AT_ONCE = 10
_WIDTH_WITHOUT_TERMINAL = 160


class PublishedResult(NamedTuple):
    """The result of one aggregate of one partition.

    Attributes:
        folder: Of the partition.
        version: What is published of it.
        aggregate: Name of the aggregate, which the version has.
    """

    folder: PartitionFolder
    version: Version
    aggregate: str

    @property
    def path(self) -> str:
        """Of the file."""
        return join_path(self.folder.path, self.version.aggregates[self.aggregate].result)


@contextlib.contextmanager
def result_view(
    results: Sequence[PublishedResult], *, by_partition: bool, limit: int | None = None
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a session whose view ``result`` has all rows, in the order of partitions and files.

    Args:
        results: Of one aggregate, at least one. A column that only some have is NULL in the others.
        by_partition: Whether the first column is to be ``partition``, with the partition's key.
        limit: How many rows it has at most.

    Raises:
        InputError: A file is gone or is not what it should be.
    """
    with tempfile.TemporaryDirectory(prefix="tallyflow-") as scratch:
        with ThreadPoolExecutor(_COPIED_AT_ONCE) as pool:
            paths = list(pool.map(_local, results, [scratch] * len(results)))
        tables = [
            table_function(path, _columns(result))
            for result, path in zip(results, paths, strict=True)
        ]
        selects = [
            f"SELECT {_key(result) if by_partition else ''}* FROM {table}"
            for result, table in zip(results, tables, strict=True)
        ]
        rows = " UNION ALL BY NAME ".join(selects) + (
            f" LIMIT {limit}" if limit is not None else ""
        )
        try:
            with duckdb.connect(":memory:") as session:
                session.execute(f"SET TimeZone = 'UTC'; CREATE VIEW result AS {rows}")
                yield session
        except duckdb.Error as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"{results[-1].path}: cannot be read: {reason}") from error


def print_result(session: duckdb.DuckDBPyConnection, rows: int = SHOWN_ROWS) -> None:
    """Print the view ``result`` as a table for people: its ends where it has more rows."""
    width = shutil.get_terminal_size((_WIDTH_WITHOUT_TERMINAL, 0)).columns
    session.table("result").show(max_width=width, max_rows=max(1, rows), null_value="NULL")


def _key(result: PublishedResult) -> str:
    return f"{quote_text(result.folder.partition.key)} AS {quote_name('partition')}, "


def _local(result: PublishedResult, scratch: str) -> str:
    """Return a path in the scratch folder that has a result, or leads to it."""
    local = Path(scratch) / f"{result.folder.partition.key}-{Path(result.path).name}"
    if is_remote(result.path):
        stored = open_store(result.folder.path).read(
            result.version.aggregates[result.aggregate].result
        )
        if stored is None:
            raise _gone(result)
        local.write_bytes(stored.data)
        return str(local)
    if not Path(result.path).exists():
        raise _gone(result)
    # DuckDB would take some signs of the path itself for a pattern.
    local.symlink_to(Path(result.path).resolve())
    return str(local)


def _gone(result: PublishedResult) -> InputError:
    return InputError(
        f"{result.path}: is gone, though version {result.version.number} of {result.folder} has "
        "it; was it published again just now? Look again"
    )


def table_function(path: str, columns: Mapping[str, str]) -> str:
    """Return the SQL that reads a result as `beam_jobs.engine.results` wrote it.

    Args:
        path: Of the local file.
        columns: Name and DuckDB type of its columns; Parquet needs none.
    """
    # Otherwise the name of a partition's folder is a column, in place of the result's own.
    options = [quote_text(path), "hive_partitioning = false"]
    if path.endswith(".parquet"):
        return f"read_parquet({', '.join(options)})"
    kinds = ", ".join(f"{quote_text(name)}: {quote_text(kind)}" for name, kind in columns.items())
    options.append(f"columns = {{{kinds}}}")
    if path.endswith(".jsonl"):
        return f"read_json({', '.join(options)}, format = 'newline_delimited')"
    return (
        f"read_csv({', '.join(options)}, auto_detect = false, header = true, delim = ',', "
        "quote = '\"', escape = '\"', nullstr = '', allow_quoted_nulls = false)"
    )


def _columns(result: PublishedResult) -> Mapping[str, str]:
    """Return name and type of each column, which only the report knows; of Parquet, nothing."""
    if result.path.endswith(".parquet"):
        return {}
    path = join_path(result.folder.path, result.version.report)
    stored = open_store(result.folder.path).read(result.version.report)
    try:
        report = _Report.model_validate_json(stored.data if stored else "")
    except ValidationError as error:
        raise InputError(f"{path}: does not tell the types of the columns: {error}") from error
    return {one.name: one.columns for one in report.aggregates}[result.aggregate]


class _Aggregate(BaseModel):
    """What the report of a run, or of a rollup, says of a result."""

    name: str
    columns: Mapping[str, str]


class _Report(BaseModel):
    aggregates: tuple[_Aggregate, ...]
