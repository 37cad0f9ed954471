"""The Beam side of a run: transforms that wire the engine's plain functions together.

Beam carries files, states and block reports; a record never becomes an element.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import apache_beam as beam
from apache_beam.metrics import Metrics

from beam_jobs import states
from beam_jobs.blocks import BlockReader, read_blocks, read_whole
from beam_jobs.csv_load import NotProvenError
from beam_jobs.errors import InputError, TallyflowError
from beam_jobs.files import InputFile, delete_file, move_file, write_file
from beam_jobs.layout import Layout
from beam_jobs.reports import BlockReport, Reject
from beam_jobs.results import write_rejects, write_result
from beam_jobs.session import open_session
from beam_jobs.sql import Plan

_LOG = logging.getLogger(__name__)

METRICS = "tallyflow"
_REPORTS = "reports"
_SHOWN_REJECTS = 3

# The states of one block: the file's number among the run's, the block's within the file, and the
# states as an Arrow IPC stream. They sort in the order of the input.
BlockStates = tuple[int, int, bytes]


@dataclass(frozen=True)
class Target:
    """Where one query's result goes.

    Attributes:
        plan: The query.
        staged: Where the result waits until all results of the run are complete.
        path: Where it is published.
    """

    plan: Plan
    staged: str
    path: str


class ComputeStates(beam.DoFn):
    """Reads a file and computes the states of every query over each of its blocks, in one read.

    Yields:
        ``(query's number, BlockStates)``, and a `BlockReport` per block with the tag ``reports``.
    """

    def __init__(self, layout: Layout, plans: Sequence[Plan]) -> None:
        self._layout = layout
        self._plans = plans
        self._counters = {
            name: Metrics.counter(METRICS, name) for name in ("files", "bytes", "rows", "rejects")
        }

    def setup(self) -> None:
        """Open the session that serves all files of this instance: opening one takes 15 ms."""
        self._scratch = tempfile.TemporaryDirectory(prefix="tallyflow-")
        self._session = open_session(self._scratch.name)

    def process(self, element: tuple[int, InputFile]) -> Iterator[object]:
        """Process one file; raises `InputError` where it cannot be read."""
        number, file = element
        try:
            # Nothing leaves before the last block: only then all of them are proven.
            found = list(self._compute(number, file, read_blocks))
        except NotProvenError:
            found = list(self._compute(number, file, read_whole))
        for report, block_states in found:
            yield from block_states
            yield beam.pvalue.TaggedOutput(_REPORTS, report)
            self._counters["rows"].inc(report.rows)
            self._counters["rejects"].inc(report.reject_count)
        self._counters["files"].inc()
        self._counters["bytes"].inc(file.size)

    def _compute(
        self, number: int, file: InputFile, read: BlockReader
    ) -> Iterator[tuple[BlockReport, list[tuple[int, BlockStates]]]]:
        """Yield the report of each block, and its states by the query's number."""
        for block, report in enumerate(read(self._session, file, self._layout)):
            computed = []
            for query, plan in enumerate(self._plans):
                table = states.partial_states(self._session, plan, file.path)
                computed.append((query, (number, block, states.to_bytes(table))))
            yield report, computed

    def teardown(self) -> None:
        """Close the session and delete what it spilled."""
        self._session.close()
        self._scratch.cleanup()


class FinalizeQuery(beam.DoFn):
    """Merges the states of one query and writes its result where it waits for publication."""

    def __init__(self, targets: Sequence[Target]) -> None:
        self._targets = targets

    def process(self, element: tuple[int, Iterable[BlockStates]]) -> Iterator[int]:
        """Process one query; yields its number when its result is staged."""
        number, blocks = element
        target = self._targets[number]
        with tempfile.TemporaryDirectory(prefix="tallyflow-") as scratch:
            ordered = sorted(blocks, key=lambda block: block[:2])
            tables = (states.from_bytes(stream) for _, _, stream in ordered)
            result = states.finalize(target.plan, tables, scratch)
            local = str(Path(scratch) / f"result{Path(target.path).suffix}")
            write_result(result, local)
            try:
                write_file(local, target.staged)
            except TallyflowError as error:
                raise TallyflowError(str(error).replace(target.staged, target.path)) from error
        yield number


class Publish(beam.DoFn):
    """Publishes the staged results of all queries, unless there are too many rejects."""

    def __init__(
        self, targets: Sequence[Target], rejects_path: str | None, max_rejects: int
    ) -> None:
        self._targets = targets
        self._rejects_path = rejects_path
        self._max_rejects = max_rejects

    def process(
        self, element: tuple[None, Iterable[int]], reports: Sequence[BlockReport]
    ) -> Iterator[str]:
        """Yield the path of each published result.

        Raises:
            InputError: More rejects than allowed; nothing was published.
        """
        rejects = [reject for report in reports for reject in report.rejects]
        count = sum(report.reject_count for report in reports)
        if self._rejects_path is not None:
            self._write_rejects(rejects, self._rejects_path)
        if count > self._max_rejects:
            raise InputError(self._too_many(count, rejects))
        _report_drift(reports)
        _, numbers = element
        for number in sorted(numbers):
            target = self._targets[number]
            move_file(target.staged, target.path)
            yield target.path

    def _write_rejects(self, rejects: Sequence[Reject], path: str) -> None:
        if not rejects:
            delete_file(path)  # of an earlier run of the same partition
            return
        with tempfile.TemporaryDirectory(prefix="tallyflow-") as scratch:
            local = str(Path(scratch) / "rejects.jsonl")
            write_rejects(rejects, local)
            write_file(local, path)

    def _too_many(self, count: int, rejects: Sequence[Reject]) -> str:
        first = sorted(rejects, key=lambda reject: (reject.file, reject.line))
        shown = "; ".join(str(reject) for reject in first[:_SHOWN_REJECTS])
        where = f"; all in {self._rejects_path}" if self._rejects_path else ""
        noun = "record" if count == 1 else "records"
        return (
            f"{count} malformed {noun}, --max_rejects allows {self._max_rejects}; "
            f"nothing was published: {shown}{'; …' if count > _SHOWN_REJECTS else ''}{where}"
        )


def _report_drift(reports: Sequence[BlockReport]) -> None:
    """Log which columns are missing from or new in which files."""
    for what, kind in (
        ("missing", "read as NULL"),
        ("ignored", "not in the run's columns, ignored"),
    ):
        files: dict[str, list[str]] = {}
        for report in reports:
            for column in getattr(report, what):
                files.setdefault(column, []).append(report.file)
        for column, found in files.items():
            _LOG.warning(
                "column %s: %s in %d of the files, the first %s",
                column,
                kind,
                len(found),
                min(found),
            )


@dataclass  # not frozen: Beam keeps its own attributes on a transform
class AggregateFiles(beam.PTransform):
    """Runs queries over files and publishes their results.

    Attributes:
        layout: How the files are read.
        targets: The queries, and where their results go.
        rejects_path: Where the rejects go; None for nowhere.
        max_rejects: How many rejects are allowed.
    """

    layout: Layout
    targets: Sequence[Target]
    rejects_path: str | None
    max_rejects: int

    def expand(self, files: beam.PCollection) -> beam.PCollection:
        """Expand over a collection of ``(file's number, InputFile)``."""
        plans = [target.plan for target in self.targets]
        computed = (
            files
            | "Spread" >> beam.Reshuffle()
            | "ComputeStates"
            >> beam.ParDo(ComputeStates(self.layout, plans)).with_outputs(_REPORTS, main="states")
        )
        # A query without any block, as over no files, has a result too.
        every_query = files.pipeline | "Queries" >> beam.Create(
            [(number, None) for number in range(len(plans))]
        )
        grouped = {"blocks": computed.states, "every": every_query} | beam.CoGroupByKey()
        return (
            grouped
            | "Blocks" >> beam.MapTuple(lambda number, found: (number, found["blocks"]))
            | "Finalize" >> beam.ParDo(FinalizeQuery(self.targets))
            | "Together" >> beam.GroupBy(lambda _: None)
            | "Publish"
            >> beam.ParDo(
                Publish(self.targets, self.rejects_path, self.max_rejects),
                reports=beam.pvalue.AsList(computed[_REPORTS]),
            )
        )
