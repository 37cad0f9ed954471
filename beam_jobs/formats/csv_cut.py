"""Cuts CSV files into blocks of whole records, at newlines that are proven to end one.

A worker that begins amid a file guesses where a record begins. The guess is proven afterwards: when
the part before, whose own beginning is proven, ends at the same place.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO

from beam_jobs.engine import parts
from beam_jobs.engine.parts import Part, PartEnd, Piece
from beam_jobs.files import open_input, read_after
from beam_jobs.formats.csv_columns import FileColumns
from beam_jobs.formats.csv_records import MAX_RECORD
from beam_jobs.formats.layout import Layout
from beam_jobs.formats.quoting import RecordEnds, guess_record, record_ends

_BOM = b"\xef\xbb\xbf"
_LOOK_BYTES = 64 * 1024


class NotProvenError(Exception):
    """Where the records of a file end cannot be proven; it has to be read as a whole."""


@dataclass(frozen=True)
class CsvPiece(Piece):
    """Whole records of a CSV file, its header left out.

    Attributes:
        columns: Of the file; None for a file to be read carefully as a whole, without `data`.
    """

    columns: FileColumns | None = None


def unproven(part: Part) -> CsvPiece:
    """Return a file as a piece that is to be read carefully."""
    return CsvPiece(part, bytearray(), is_first=True)


class CsvCutter:
    """Cuts CSV files.

    Args:
        layout: Of the run.
        wanted: Name to DuckDB type of the columns to read.
    """

    def __init__(self, layout: Layout, wanted: Mapping[str, str]) -> None:
        self._layout = layout
        self._wanted = wanted
        self._of_header: dict[bytes, FileColumns] = {}

    def whole(self, part: Part, data: bytearray) -> Piece:
        """Return a small file as one piece.

        Raises:
            InputError: The header is broken or has none of the run's columns, or is UTF-16.
        """
        data = data.removeprefix(_BOM)
        data += b"" if data.endswith(b"\n") or not data else b"\n"
        skipped, data = self._without_skipped(data)
        try:
            self._check_whole(data)
            return self._first_piece(part, skipped, data)
        except NotProvenError:
            return unproven(part)

    def sections(self, part: Part, stream: IO[bytes], head: bytearray) -> Iterator[Piece | PartEnd]:
        """Cut a part of a large file, or a large file as a whole.

        Args:
            part: The part.
            stream: The file's plain bytes, those in `head` read already.
            head: Its first bytes; none for a part that begins amid the file.

        Raises:
            InputError: The header is broken or has none of the run's columns, or is UTF-16.
        """
        first = at = part.start
        columns: FileColumns | None = None
        skipped = bytearray()
        try:
            if part.start:
                first = at = self._find_record(part, stream)
                with open_input(part.file) as beginning:
                    columns = self._read_columns(beginning, part)
            else:
                skipped, rest = self._without_skipped(head.removeprefix(_BOM))
                at, head = len(head) - len(rest), rest
            limit = None if part.is_whole else part.end
            for data in self._whole_records(stream, at, head, limit):
                at += len(data)
                piece = (
                    CsvPiece(part, data, is_first=False, columns=columns)
                    if columns
                    else self._first_piece(part, skipped, data)
                )
                columns = piece.columns
                yield piece
        except NotProvenError:
            yield PartEnd(part, first, at, is_proven=False)
        else:
            yield PartEnd(part, first, at)

    def _whole_records(
        self, stream: IO[bytes], at: int, data: bytearray, limit: int | None
    ) -> Iterator[bytearray]:
        """Yield the records that begin before a limit, in blocks.

        Args:
            stream: The bytes after `data`.
            at: Where `data` begins in the file.
            data: What was read already.
            limit: Place in the file; None for its end.

        Raises:
            NotProvenError: It cannot be told where the records end.
        """
        rest = b""
        while limit is None or at < limit:
            if not data:
                left = (
                    parts.BLOCK_BYTES if limit is None else max(_LOOK_BYTES, limit - at - len(rest))
                )
                data = read_after(stream, rest, min(parts.BLOCK_BYTES, left))
                if len(data) == len(rest):
                    break
            if data.endswith(b"\r"):
                data += stream.read(1)
            ends = self._ends(data)
            past = limit is not None and at + len(data) >= limit
            end = (ends.at_or_after(max(1, (limit or 0) - at)) or 0) if past else ends.last
            if len(data) - end > MAX_RECORD and not (past and end):
                raise NotProvenError
            rest = bytes(data[end:])
            if end:
                del data[end:]
                yield data
                at += end
            data = bytearray()
        else:
            return
        if rest:
            data = bytearray(rest if rest.endswith(b"\n") else rest + b"\n")
            self._check_whole(data)
            yield data

    def _find_record(self, part: Part, stream: IO[bytes]) -> int:
        """Return where the first record of a part begins, as well as that can be told from here."""
        before = part.start - 1
        stream.seek(before)
        window = b""
        while len(window) <= MAX_RECORD:
            more = stream.read(max(_LOOK_BYTES, len(window)))
            window += more or b"\n"  # The end of the file ends a record.
            place = guess_record(window, self._layout.dialect)
            if place is not None:
                stream.seek(before + place)
                return before + place
            if not more:
                break
        raise NotProvenError

    def _ends(self, data: bytearray) -> RecordEnds:
        ends = record_ends(data, self._layout.dialect)
        if ends is None:
            raise NotProvenError
        return ends

    def _check_whole(self, data: bytearray) -> None:
        if self._ends(data).last != len(data):
            raise NotProvenError

    def _without_skipped(self, data: bytearray) -> tuple[bytearray, bytearray]:
        """Cut off the lines at the beginning of a file that are none of its records."""
        end = _end_of_lines(data, self._layout.dialect.skip_lines)
        return data[:end], data[end:]

    def _first_piece(self, part: Part, skipped: bytearray, data: bytearray) -> CsvPiece:
        """Return the first piece of a file, the header taken off."""
        line = bytes(data[: data.find(b"\n") + 1])
        columns = self._of_header.get(line)
        if columns is None:
            columns = self._read_columns(io.BytesIO(skipped + data), part)
            if columns.first_line == self._layout.dialect.skip_lines + 2:
                self._of_header[line] = columns
        end = _end_of_lines(data, columns.first_line - 1 - self._layout.dialect.skip_lines)
        del data[:end]  # the header
        return CsvPiece(part, data, is_first=True, columns=columns.of(part.file.path))

    def _read_columns(self, stream: IO[bytes], part: Part) -> FileColumns:
        columns = FileColumns.read(stream, part.file.path, self._layout, self._wanted)
        if not columns.names and part.file.size:
            raise NotProvenError  # Nothing but empty lines so far: the header is still to come.
        return columns


def _end_of_lines(data: bytearray, count: int) -> int:
    """Return where a number of lines ends, or the end where there are fewer."""
    end = 0
    for _ in range(count):
        end = data.find(b"\n", end) + 1 or len(data)
    return end
