"""Blocks: the pieces of a file that are read and aggregated one after another."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import duckdb

from beam_jobs.csv_load import load_carefully, load_proven_blocks
from beam_jobs.files import InputFile, open_input
from beam_jobs.layout import Layout
from beam_jobs.records import load_counts, load_text
from beam_jobs.reports import BlockReport

BlockReader = Callable[[duckdb.DuckDBPyConnection, InputFile, Layout], Iterator[BlockReport]]

_TEXT_BLOCK_BYTES = 32 * 1024 * 1024


def read_blocks(
    session: duckdb.DuckDBPyConnection, file: InputFile, layout: Layout
) -> Iterator[BlockReport]:
    """Load a file block by block; yields a report while the block is in the table ``input``.

    Args:
        session: Its table ``input`` is made anew for each block.
        file: The file.
        layout: Of the run.

    Raises:
        InputError: The file cannot be read, or its header is broken.
        NotProvenError: It has to be read by `read_whole`; what was yielded is to be forgotten.
    """
    match layout.name:
        case "csv":
            with open_input(file.path) as stream:
                yield from load_proven_blocks(session, stream, file.path, layout)
        case "text":
            first_line = 1
            for block in _whole_lines(file):
                yield load_text(session, block, first_line, file.path, layout)
                first_line += block.count(b"\n")
        case "counts":
            lines, size = _count(file)
            yield load_counts(session, lines, size, file.path, layout)


def read_whole(
    session: duckdb.DuckDBPyConnection, file: InputFile, layout: Layout
) -> Iterator[BlockReport]:
    """Load a CSV file as one block, whatever is in it; as `read_blocks` otherwise."""
    with open_input(file.path) as header, open_input(file.path) as records:
        yield load_carefully(session, header, records, file.path, layout)


def _count(file: InputFile) -> tuple[int, int]:
    """Return a file's lines and bytes; a last line without an end is a line too."""
    lines = size = 0
    last = b"\n"
    with open_input(file.path) as stream:
        while chunk := stream.read(_TEXT_BLOCK_BYTES):
            lines += chunk.count(b"\n")
            size += len(chunk)
            last = chunk[-1:]
    return lines + (last != b"\n"), size


def _whole_lines(file: InputFile) -> Iterator[bytes]:
    """Yield a file in blocks that end at the end of a line."""
    rest: list[bytes] = []
    with open_input(file.path) as stream:
        while chunk := stream.read(_TEXT_BLOCK_BYTES):
            cut = chunk.rfind(b"\n") + 1
            if cut:
                yield b"".join((*rest, chunk[:cut]))
                rest = []
            rest.append(chunk[cut:])
    if last := b"".join(rest):
        yield last
