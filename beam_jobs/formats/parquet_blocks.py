"""Cuts Parquet files into pieces of row groups, and makes them the table ``input``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import duckdb

from beam_jobs.engine.inputs import path_literals
from beam_jobs.engine.parts import PartEnd, Piece, Share, SmallFile
from beam_jobs.engine.reports import BlockReport
from beam_jobs.errors import InputError
from beam_jobs.formats.layout import Layout
from beam_jobs.formats.parquet_files import RowGroups, check_unchanged, find_fault, load, row_groups
from beam_jobs.formats.parquet_scratch import release
from beam_jobs.sql.shape import INPUT

_READ = "_read"


@dataclass(frozen=True)
class ParquetPiece(Piece):
    """Row groups of a Parquet file, which are still to be read: `data` is empty."""

    groups: RowGroups


def cut(share: Share) -> Iterator[SmallFile | Piece | PartEnd]:
    """Cut parts into pieces; of the files only the footers are read.

    Raises:
        InputError: A file is no Parquet file, is broken or was changed.
    """
    for part in share.parts:
        for groups in row_groups(part.file, part.start, part.end):
            piece = ParquetPiece(part, bytearray(), groups.is_first, groups)
            yield SmallFile((piece,), part.file.size) if groups.is_whole else piece
        if not part.is_whole:
            # A row group is of one part, whatever the parts: the footer says where it begins.
            yield PartEnd(part, part.start, part.end)


def create_input(
    session: duckdb.DuckDBPyConnection,
    scratch: str,
    block: Sequence[Piece],
    layout: Layout,
    wanted: Mapping[str, str],
) -> list[BlockReport]:
    """Make the session's table ``input`` anew: queries read the files themselves.

    Args:
        session: May read the files.
        scratch: Its folder.
        block: The row groups.
        layout: Of the run.
        wanted: Name to DuckDB type of the columns to read, those of the paths among them.

    Raises:
        InputError: A file was changed, cannot be read, or a column's type does not fit.
    """
    in_files, in_paths = layout.divided(wanted)
    selects, reports = [], []
    for piece in cast("Sequence[ParquetPiece]", block):
        select, report = load(session, scratch, piece.groups, in_files, layout.columns)
        added = "".join(f", {value}" for value in path_literals(piece.part.file.path, in_paths))
        selects.append(f"SELECT *{added} FROM ({select})")
        reports.append(report)
    union = " UNION ALL ".join(selects)
    session.execute(f"CREATE OR REPLACE TEMP VIEW {INPUT} AS {union}")
    return reports


def read_input(session: duckdb.DuckDBPyConnection) -> None:
    """Read what ``input`` is, once for all queries.

    Raises:
        duckdb.Error: The data is broken; `fault_of` tells.
    """
    session.execute(f"CREATE OR REPLACE TEMP TABLE {_READ} AS FROM {INPUT}")
    session.execute(f"CREATE OR REPLACE TEMP VIEW {INPUT} AS FROM {_READ}")


def finish(scratch: str, block: Sequence[Piece]) -> None:
    """Delete what was copied of a block that has been read.

    Raises:
        InputError: A file was changed meanwhile.
    """
    for piece in cast("Sequence[ParquetPiece]", block):
        check_unchanged(piece.groups)
    release(scratch)


def fault_of(
    block: Sequence[Piece], layout: Layout, wanted: Mapping[str, str]
) -> InputError | None:
    """Return what is wrong with a block's files, after a query over it failed; None if nothing."""
    pieces = cast("Sequence[ParquetPiece]", block)
    in_files, _ = layout.divided(wanted)
    faults = (find_fault(piece.groups, in_files, layout.columns) for piece in pieces)
    return next(filter(None, faults), None)
