"""Lookup tables: small files that a query joins to its input."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from beam_jobs.engine.blocks import BlockReader, BlockSession
from beam_jobs.engine.parts import Part, PartEnd, Share
from beam_jobs.engine.reports import BlockReport
from beam_jobs.engine.session import quote_name
from beam_jobs.errors import InputError, UsageError
from beam_jobs.files import InputFile, check_unchanged, match_files
from beam_jobs.formats.find_layout import find_layout
from beam_jobs.formats.formats import FileFormat
from beam_jobs.formats.layout import Layout
from beam_jobs.sql.plan import create_lookups
from beam_jobs.sql.shape import INPUT

# Of the file as it is stored; each worker thread has a copy of the table.
_MAX_BYTES = 64 * 1024 * 1024
# Of the table in memory: a compressed file may hold much more than its size.
_MAX_TABLE_BYTES = 4 * _MAX_BYTES
_FILLED = "tallyflow_lookups"
_IS_FILLED = f"SELECT getvariable('{_FILLED}')"


@dataclass(frozen=True)
class Lookup:
    """A lookup table whose columns are fixed for the run.

    Attributes:
        name: In queries.
        file: What it is read from.
        layout: How.
    """

    name: str
    file: InputFile
    layout: Layout

    @property
    def columns(self) -> Mapping[str, str]:
        """Name to DuckDB type."""
        return self.layout.columns


def find_lookups(paths: Mapping[str, str]) -> list[Lookup]:
    """Find out the columns of lookup tables, and that all of their records can be read.

    Args:
        paths: Name to path or URL.

    Raises:
        UsageError: There is no such file, its ending tells no format, or it is too large.
        InputError: A record cannot be read; it names the file and the line.
    """
    lookups = [_find(name, path) for name, path in paths.items()]
    for lookup in lookups:
        read_table(lookup)
    return lookups


def _find(name: str, path: str) -> Lookup:
    files = match_files(path)
    if len(files) != 1:
        found = f"{len(files)} files match" if files else "there is no such file"
        raise UsageError(f"lookup {name}: {path}: {found}; name one file")
    (file,) = files
    if file.size > _MAX_BYTES:
        raise UsageError(
            f"lookup {name}: {file.path}: has {file.size:,} bytes; the limit is {_MAX_BYTES:,}: "
            "keep only the rows and columns that the queries need"
        )
    try:
        layout = find_layout(files, FileFormat())
    except UsageError as error:
        raise UsageError(f"lookup {name}: {error}") from error
    if layout.name == "text":
        raise UsageError(
            f"lookup {name}: {file.path}: text lines are no table; "
            "write .csv, .tsv, .jsonl, .parquet or .avro"
        )
    if not layout.columns:
        raise UsageError(f"lookup {name}: {file.path}: has no columns; is it empty?")
    return Lookup(name, file, layout)


def read_table(lookup: Lookup) -> list[pa.Table]:
    """Read a lookup table, in the tables of its blocks.

    Raises:
        InputError: A record cannot be read, the file has changed, or it is too large.
    """
    where = f"lookup {lookup.name}: {lookup.file.path}"
    check_unchanged(lookup.file)
    tables = []
    size = 0
    for table in _read_blocks(lookup):
        tables.append(table)
        size += table.nbytes
        if size > _MAX_TABLE_BYTES:
            raise InputError(
                f"{where}: takes more than {_MAX_TABLE_BYTES:,} bytes in memory: keep only the "
                "rows and columns that the queries need"
            )
    return tables


def _read_blocks(lookup: Lookup) -> Iterator[pa.Table]:
    reader = BlockReader(lookup.layout, lookup.columns)
    part = Part(0, lookup.file, 0, lookup.file.size)
    found = BlockReport(lookup.file.path, 0)
    cut = list(reader.cut(Share(0, (part,))))
    if any(isinstance(one, PartEnd) and not one.is_proven for one in cut):
        cut = [reader.unproven(part)]
    with tempfile.TemporaryDirectory(prefix="tallyflow-") as scratch:
        session = BlockSession(scratch)
        for block in cut:
            if isinstance(block, PartEnd):
                continue
            try:
                reports = reader.load(session, block)
                rows: pa.Table = session.connection.sql(f"FROM {INPUT}").to_arrow_table()
                reader.finish(session, block)
            except (InputError, duckdb.Error) as error:
                raise reader.fault_of(block) or error from error
            for report in reports:
                found = found.followed_by(report)
            if found.reject_count:
                raise InputError(f"lookup {lookup.name}: {found.rejects[0]}")
            yield rows
        session.close()


class LookupTables:
    """Fills the lookup tables of a worker's sessions; each file is read once.

    Args:
        lookups: The tables.
    """

    def __init__(self, lookups: Sequence[Lookup]) -> None:
        self._lookups = lookups
        self._tables = {lookup.name: read_table(lookup) for lookup in lookups}

    def fill(self, session: duckdb.DuckDBPyConnection) -> None:
        """Create the lookup tables of a session, with their rows, unless it has them."""
        if not self._lookups or session.execute(_IS_FILLED).fetchall() == [(True,)]:
            return
        create_lookups(session, {lookup.name: lookup.columns for lookup in self._lookups})
        for lookup in self._lookups:
            for table in self._tables[lookup.name]:
                session.register("_lookup_rows", table)
                session.execute(f"INSERT INTO {quote_name(lookup.name)} FROM _lookup_rows")
                session.unregister("_lookup_rows")
        session.execute(f"SET VARIABLE {_FILLED} = true")
