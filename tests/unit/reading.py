"""Reads a file in parts as workers do, for tests: the rows of ``input`` and what was found."""

from __future__ import annotations

import functools
import itertools
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from beam_jobs.engine.blocks import BlockReader, BlockSession
from beam_jobs.engine.parts import Block, Part, PartEnd, Share
from beam_jobs.engine.reports import BlockReport
from beam_jobs.engine.transforms import follow_each_other
from beam_jobs.engine.worker import PartFound
from beam_jobs.files import InputFile
from beam_jobs.formats.layout import Layout

Rows = list[tuple[Any, ...]]


_FOLDER = tempfile.TemporaryDirectory(prefix="tallyflow-")


@functools.cache
def _session() -> BlockSession:
    return BlockSession(_FOLDER.name)


class Reading:
    """Reads one file.

    Args:
        path: The file.
        layout: How it is read.
        wanted: The columns to read; all of them otherwise.
    """

    def __init__(self, path: Path, layout: Layout, wanted: Mapping[str, str] | None = None) -> None:
        self.path = str(path)
        self.layout = layout
        self.reader = BlockReader(layout, wanted or layout.input_columns)
        self.session = _session()
        self.blocks = 0

    def whole(self) -> tuple[Rows, BlockReport]:
        """Read the file as one part."""
        size = Path(self.path).stat().st_size
        part = Part(0, InputFile(self.path, size), 0, size)
        rows, report, end = self._read(part)
        if end is not None and not end.is_proven:
            return self.carefully()
        return rows, report

    def carefully(self) -> tuple[Rows, BlockReport]:
        """Read a CSV file without any proof of where its records end."""
        size = Path(self.path).stat().st_size
        return self._load(self.reader.unproven(Part(0, InputFile(self.path, size), 0, size)))

    def in_parts(self, cuts: Sequence[int]) -> tuple[Rows, BlockReport] | None:
        """Read the file in parts; None if it has to be read as a whole."""
        size = Path(self.path).stat().st_size
        file = InputFile(self.path, size)
        if not cuts:
            return self.whole()
        rows: Rows = []
        found: list[PartFound] = []
        for number, (start, end) in enumerate(itertools.pairwise([0, *cuts, size])):
            more, report, part_end = self._read(Part(0, file, start, end))
            assert part_end is not None
            rows += more
            found.append(PartFound(number, part_end, report))
        if not follow_each_other(found):
            return None
        total = found[0].report
        for part in found[1:]:
            total = total.followed_by(part.report)
        return rows, total

    def counts(self, cuts: Sequence[int]) -> tuple[Rows, BlockReport]:
        """Read the rows of a file that is only counted, one for each piece of it."""
        found = self.in_parts(cuts)
        assert found is not None
        return found

    def _read(self, part: Part) -> tuple[Rows, BlockReport, PartEnd | None]:
        rows: Rows = []
        report = BlockReport(self.path, 0)
        end: PartEnd | None = None
        for found in self.reader.cut(Share(0, (part,))):
            if isinstance(found, PartEnd):
                end = found
            else:
                more, block_report = self._load(found)
                rows += more
                report = report.followed_by(block_report)
        return rows, report, end

    def _load(self, block: Block) -> tuple[Rows, BlockReport]:
        self.blocks += 1
        (report,) = self.reader.load(self.session, block)
        rows = self.session.connection.execute(
            "SELECT COLUMNS(lambda c: c <> 'filename') FROM input"
        ).fetchall()
        assert report.rows == len(rows) or self.layout.name == "counts"
        return rows, report
