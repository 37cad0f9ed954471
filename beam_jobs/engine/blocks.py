"""Blocks: what is read and aggregated at a time, some 16 MB of one large or many small files.

Cutting is sequential and cheap; loading is what costs, and runs on several threads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import IO, Protocol, cast

import duckdb
import pyarrow as pa

from beam_jobs.engine import counts, parts
from beam_jobs.engine.inputs import create_input
from beam_jobs.engine.parts import Block, Part, PartEnd, Piece, Share, SmallFile, in_blocks
from beam_jobs.engine.reports import BlockReport
from beam_jobs.engine.session import open_session
from beam_jobs.errors import InputError
from beam_jobs.files import changed, check_unchanged, open_input, read_after
from beam_jobs.filesystems import is_remote
from beam_jobs.formats import avro_cut, avro_files, csv_load, json_lines, lines, parquet_blocks
from beam_jobs.formats.csv_cut import CsvCutter, CsvPiece, unproven
from beam_jobs.formats.formats import Encoding
from beam_jobs.formats.layout import Layout

# Each file of a block is a table of its own, which DuckDB reads one after another.
_BLOCK_FILES = 1000
# Each Parquet file of a block is a part of one SQL statement.
_PARQUET_FILES = 50


class Cutter(Protocol):
    """Cuts the files of one format into pieces."""

    def whole(self, part: Part, data: bytearray) -> Piece:
        """Return a small file as one piece; `data` is all of it."""

    def sections(self, part: Part, stream: IO[bytes], head: bytearray) -> Iterator[Piece | PartEnd]:
        """Cut a part of a large file, or a large file of which `head` has been read."""


class BlockSession:
    """A DuckDB session that blocks are loaded into, one after another.

    Args:
        scratch: A folder of its own.

    Attributes:
        connection: The session; another one after `open`.
    """

    def __init__(self, scratch: str) -> None:
        self.scratch = scratch
        self.connection = open_session(scratch)
        self._files: list[str] = []

    def open(self, files: list[str]) -> None:
        """Open the session anew if it may not read some files: it is locked."""
        if files != self._files:
            self.connection.close()
            local = [path for path in files if not is_remote(path)]
            self.connection = open_session(self.scratch, local)
            self._files = files

    def close(self) -> None:
        """Close the session."""
        self.connection.close()


@dataclass(frozen=True)
class BlockReader:
    """Reads files in blocks.

    Attributes:
        layout: How the files are read.
        wanted: Name to DuckDB type of the columns to read, those of the files' paths among them.
    """

    layout: Layout
    wanted: Mapping[str, str]

    def cut(self, share: Share) -> Iterator[Block | PartEnd]:
        """Cut a share into blocks.

        Yields:
            Blocks of small files; and for each larger part its blocks, and then its `PartEnd`.

        Raises:
            InputError: A file cannot be read, or its header is broken.
        """
        most_files = _PARQUET_FILES if self.layout.name == "parquet" else _BLOCK_FILES
        return in_blocks(self._cut(share), most_files)

    def _cut(self, share: Share) -> Iterator[SmallFile | Piece | PartEnd]:
        match self.layout.name:
            case "counts":
                return counts.cut(share)
            case "csv":
                return _cut(share, CsvCutter(self.layout, self._in_files), self.layout.encoding)
            case "parquet":
                return parquet_blocks.cut(share)
            case "avro":
                return avro_cut.cut_share(share)
            case _:
                return _cut(share, lines.LineCutter(), self.layout.encoding)

    def unproven(self, part: Part) -> Block:
        """Return a whole file as a block that needs no proof of where its records end.

        Raises:
            InputError: There is no other way to read the file, which is broken.
        """
        if self.layout.name == "csv":
            return [unproven(part)]
        raise InputError(f"{part.file.path}: the file is broken; write it again")

    def load(
        self, session: BlockSession, block: Block, *, is_queried_once: bool = False
    ) -> list[BlockReport]:
        """Load a block into the session's table ``input``.

        Args:
            session: The session.
            block: The block.
            is_queried_once: Whether only one query follows, which may then read the files itself.

        Returns:
            What was found, for each piece.

        Raises:
            InputError: A file cannot be read, or its header is broken.
            duckdb.Error: The same, of a file that DuckDB reads itself: `fault_of` tells.
        """
        if self.layout.name == "parquet":
            session.open([piece.part.file.path for piece in block])
            reports = parquet_blocks.create_input(
                session.connection, session.scratch, block, self.layout, self.wanted
            )
            if not is_queried_once:
                parquet_blocks.read_input(session.connection)
            return reports
        found = [self._load_piece(session.connection, piece) for piece in block]
        tables = [(p.part.file.path, table) for p, (table, _) in zip(block, found, strict=True)]
        create_input(session.connection, tables, *self.layout.divided(self.wanted))
        return [report for _, report in found]

    def finish(self, session: BlockSession, block: Block) -> None:
        """Finish a block that was loaded, and queried.

        Raises:
            InputError: A file was changed meanwhile.
        """
        if self.layout.name == "parquet":
            parquet_blocks.finish(session.scratch, block)

    def fault_of(self, block: Block) -> InputError | None:
        """Return what is wrong with a block's files, after loading or a query failed."""
        if self.layout.name == "parquet":
            return parquet_blocks.fault_of(block, self.layout, self.wanted)
        return None

    @property
    def _in_files(self) -> dict[str, str]:
        """The columns to read in the files."""
        return self.layout.divided(self.wanted)[0]

    def _load_piece(
        self, session: duckdb.DuckDBPyConnection, piece: Piece
    ) -> tuple[pa.Table, BlockReport]:
        match self.layout.name:
            case "counts":
                return counts.load(piece)
            case "csv":
                return csv_load.load(session, cast("CsvPiece", piece), self.layout, self._in_files)
            case "json":
                return self._load_json(session, piece)
            case "avro":
                avro = cast("avro_cut.AvroPiece", piece)
                path = piece.part.file.path
                return avro_files.load(
                    avro.header, avro.run, path, self._in_files, self.layout.columns
                )
            case _:
                return lines.load_text(piece, self.layout.encoding)

    def _load_json(
        self, session: duckdb.DuckDBPyConnection, piece: Piece
    ) -> tuple[pa.Table, BlockReport]:
        table, report = json_lines.load(
            session,
            memoryview(piece.data),
            piece.part.file.path,
            self._in_files,
            self.layout.columns,
        )
        # The keys of a file are those of its first block.
        return table, report if piece.is_first else replace(report, missing=(), ignored=())


def _cut(share: Share, cutter: Cutter, encoding: Encoding) -> Iterator[SmallFile | Piece | PartEnd]:
    """Cut parts that are read as streams of bytes."""
    for part in share.parts:
        as_stored = encoding == "utf-8" and not part.file.is_compressed
        with open_input(part.file, encoding) as stream:
            head = read_after(stream, b"", _head_bytes(part, as_stored))
            if part.is_whole and len(head) <= parts.BLOCK_BYTES:
                if as_stored and len(head) != part.file.size:
                    raise changed(part.file.path)
                yield SmallFile((cutter.whole(part, head),), len(head))
                if as_stored and is_remote(part.file.path):
                    continue  # To check it takes a call more: the length alone has to do.
            else:
                yield from cutter.sections(part, stream, head)
        check_unchanged(part.file)


def _head_bytes(part: Part, as_stored: bool) -> int:
    """Return how much of a file to read to know whether it is small."""
    if part.start:
        return 0
    # Decompressed, or as UTF-8, a file may be longer than it is stored.
    return 1 + (min(parts.BLOCK_BYTES, part.file.size) if as_stored else parts.BLOCK_BYTES)
