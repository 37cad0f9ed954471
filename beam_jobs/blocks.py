"""Blocks: the pieces of a file that are read and aggregated one after another."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb

from beam_jobs.files import InputFile, local_plain_file, open_input
from beam_jobs.layout import Layout
from beam_jobs.records import BlockReport, load_counts, load_csv, load_text
from beam_jobs.session import open_session

_TEXT_BLOCK_BYTES = 32 * 1024 * 1024


def read_blocks(
    file: InputFile, layout: Layout, scratch: str
) -> Iterator[tuple[duckdb.DuckDBPyConnection, BlockReport]]:
    """Yield a session with the table ``input``, and a report, for each block of a file.

    Args:
        file: The file.
        layout: Of the run.
        scratch: Folder for copies and for spilling, on local disk.

    Raises:
        InputError: The file cannot be read, or its header is broken.
    """
    match layout.name:
        case "csv":
            with local_plain_file(file.path, scratch) as local:
                session = open_session([local], scratch)
                yield session, load_csv(session, local, file.path, layout)
        case "text":
            first_line = 1
            for block in _whole_lines(file):
                session = open_session(scratch=scratch)
                yield session, load_text(session, block, first_line, file.path, layout)
                first_line += block.count(b"\n")
        case "counts":
            session = open_session(scratch=scratch)
            lines, size = _count(file)
            yield session, load_counts(session, lines, size, file.path, layout)


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
