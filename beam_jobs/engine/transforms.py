"""The Beam side of a run: transforms that wire the engine's plain functions together.

Beam carries shares of files, states and reports; a record never becomes an element.

    shares ─▶ ComputeStates ─▶ states by query and hash of the group ─▶ MergeStates ─▶ Finalize
                   │                                                                      │
                   ├▶ parts of large files ─▶ CheckParts ─▶ files to be read as a whole   ▼
                   └▶ findings ──────────────────────────────────────────────────────▶ Publish
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import apache_beam as beam
import duckdb
from apache_beam.metrics import Metrics

from beam_jobs.engine import progress, states
from beam_jobs.engine.blocks import BlockReader
from beam_jobs.engine.lookups import Lookup, LookupTables
from beam_jobs.engine.parts import Part, Share
from beam_jobs.engine.publication import MergedStates, Publication, Target, profile_of, stage
from beam_jobs.engine.reports import Findings
from beam_jobs.engine.run_report import Profile
from beam_jobs.engine.worker import PartFound, Worker
from beam_jobs.errors import UsageError
from beam_jobs.sql import Plan
from beam_jobs.version import VERSION

METRICS = "tallyflow"
_FINDINGS = "findings"
_PARTS = "parts"

# Of a query and a relation of its plan, the states whose keys have one hash.
StatesKey = tuple[int, int, int]
# The states of one share: its number, by which they sort in the order of the input; the number of
# the file of which it is one part, -1 for whole files; whether each group has one row; and an Arrow
# IPC stream.
SpreadStates = tuple[int, int, bool, bytes]


class ComputeStates(beam.DoFn):
    """Reads a share of the files and computes the states of every query over it, in one read.

    Args:
        reader: Reads the files.
        plans: The queries.
        partitions: Into how many the states of a query with groups are spread.
        threads: How many blocks are computed at a time.
        lookups: The tables that the queries join.

    Yields:
        ``(StatesKey, SpreadStates)``; `Findings` of whole files with the tag ``findings``; and
        ``(file's number, PartFound)`` of parts of files with the tag ``parts``.
    """

    def __init__(
        self,
        reader: BlockReader,
        plans: Sequence[Plan],
        partitions: int,
        threads: int,
        lookups: Sequence[Lookup],
    ) -> None:
        self._reader = reader
        self._lookups = lookups
        self._plans = plans
        self._partitions = partitions
        self._threads = threads
        self._launched_with = _versions()
        self._worker: Worker | None = None
        self._bytes = Metrics.counter(METRICS, "bytes")

    def setup(self) -> None:
        """Open the sessions that serve all shares of this instance: opening one takes 15 ms.

        Raises:
            UsageError: The worker is not what the job was planned for.
        """
        if (here := _versions()) != self._launched_with:
            raise UsageError(
                f"this worker has {here}, and the job was launched with {self._launched_with}; "
                "make its image or wheel anew from the launcher's requirements"
            )
        tables = LookupTables(self._lookups)
        self._worker = Worker(self._reader, self._plans, self._threads, tables.fill)

    def process(self, element: Share) -> Iterator[object]:
        """Process one share; raises `InputError` where a file cannot be read."""
        assert self._worker is not None  # noqa: S101 - made by setup
        with progress.of_share(element) as shown:
            found = self._worker.compute(element, shown.block)
        file = -1 if found.part is None else found.part.end.part.number
        for (query, relation), found_states in found.states.items():
            keys = self._plans[query].relations[relation].keys
            spread = states.partition(found_states.table, keys, self._partitions)
            for partition, rows in enumerate(spread):
                if rows.num_rows:
                    value = (element.number, file, found_states.are_combined, states.to_bytes(rows))
                    yield (query, relation, partition), value
        if found.part is None:
            yield beam.pvalue.TaggedOutput(_FINDINGS, found.findings)
        else:
            yield beam.pvalue.TaggedOutput(_PARTS, (file, found.part))
        self._bytes.inc(sum(part.end - part.start for part in element.parts))

    def teardown(self) -> None:
        """End the threads and delete what they spilled."""
        if self._worker is not None:
            self._worker.close()


def _versions() -> dict[str, str]:
    """What a plan, and the states that it makes, depend on."""
    return {"duckdb": duckdb.__version__, "tallyflow": VERSION}


class CheckParts(beam.DoFn):
    """Proves that the parts of a file hold all of its records, each once.

    The first part begins at the beginning of the file. If each of the others begins where the one
    before ends, it begins at the beginning of a record.

    Yields:
        The `Findings` of a file that is proven; its number with the tag ``unproven``; and the file
        as a share to be read as a whole with the tag ``whole``.
    """

    UNPROVEN = "unproven"
    WHOLE = "whole"

    def process(self, element: tuple[int, Iterable[PartFound]]) -> Iterator[object]:
        """Process the parts of one file."""
        number, found = element
        parts = sorted(found, key=lambda part: part.end.part.start)
        if follow_each_other(parts):
            total = parts[0].report
            for part in parts[1:]:
                total = total.followed_by(part.report)
            yield Findings.of(total)
        else:
            file = parts[0].end.part.file
            whole = Share(parts[0].share, (Part(number, file, 0, file.size),))
            yield beam.pvalue.TaggedOutput(self.UNPROVEN, number)
            yield beam.pvalue.TaggedOutput(self.WHOLE, whole)


def follow_each_other(parts: Sequence[PartFound]) -> bool:
    """Whether each part of a file is proven and ends where the next one, or the file, does.

    Args:
        parts: All parts of the file, in their order.
    """
    at = 0
    for part in parts:
        if not part.end.is_proven or part.end.first != at:
            return False
        at = part.end.last
    # What a line's end is added to, at the end of a file, ends behind it.
    return at >= parts[0].end.part.file.size


class MergeStates(beam.DoFn):
    """Merges the states of one relation of a query, of the groups of one partition."""

    def __init__(self, plans: Sequence[Plan]) -> None:
        self._plans = plans

    def process(
        self,
        element: tuple[StatesKey, Iterable[SpreadStates]],
        unproven: Sequence[int] = (),
    ) -> Iterator[tuple[int, tuple[int, int, bytes]]]:
        """Process one partition; yields the query's number, and its merged states."""
        (query, relation, partition), found = element
        left_out = frozenset(unproven)
        held = sorted(share for share in found if share[1] not in left_out)
        if len(held) == 1 and held[0][2]:
            merged = held[0][3]
        else:
            with tempfile.TemporaryDirectory(prefix="tallyflow-") as scratch:
                tables = (states.from_bytes(stream) for *_, stream in held)
                combined = states.combine(self._plans[query], relation, tables, scratch)
            merged = states.to_bytes(combined)
        yield query, (relation, partition, merged)


class FinalizeQuery(beam.DoFn):
    """Computes the result of one query, which waits for publication then."""

    def __init__(self, targets: Sequence[Target], profile: Plan | None) -> None:
        self._targets = targets
        self._profile = profile

    def process(
        self, element: tuple[int, Iterable[MergedStates]]
    ) -> Iterator[tuple[int, int | Profile]]:
        """Process one query; yields its number, and its rows or what the profile is."""
        query, found = element
        merged = sorted(found)
        if query < len(self._targets):
            yield query, stage(self._targets[query], merged)
        elif self._profile is not None:
            yield query, profile_of(self._profile, merged)


class SumFindings(beam.CombineFn):
    """Adds up findings."""

    def create_accumulator(self) -> Findings:
        """Return the findings of nothing."""
        return Findings()

    def add_input(self, accumulator: Findings, element: Findings) -> Findings:
        """Return both together."""
        return Findings.sum([accumulator, element])

    def merge_accumulators(self, accumulators: Iterable[Findings]) -> Findings:
        """Return all together."""
        return Findings.sum(accumulators)

    def extract_output(self, accumulator: Findings) -> Findings:
        """Return them."""
        return accumulator


class Publish(beam.DoFn):
    """Publishes the staged results of all queries, unless there are too many rejects."""

    def __init__(self, step: Publication) -> None:
        self._step = step

    def process(
        self, element: tuple[None, Iterable[tuple[int, int | Profile]]], findings: Findings
    ) -> Iterator[str]:
        """Yield the path of each published result.

        Raises:
            InputError: Nothing was published; it says why.
        """
        _count(findings)
        done = dict(element[1])
        rows = {query: found for query, found in done.items() if isinstance(found, int)}
        profile = next((found for found in done.values() if isinstance(found, Profile)), None)
        yield from self._step.publish(rows, profile, findings)


def _count(findings: Findings) -> None:
    """Count what was found, for the runner to show."""
    for name, count in (
        ("files", findings.files),
        ("rows", findings.rows),
        ("rejects", findings.reject_count),
    ):
        Metrics.counter(METRICS, name).inc(count)


@dataclass  # not frozen: Beam keeps its own attributes on a transform
class AggregateFiles(beam.PTransform):
    """Runs queries over files and publishes their results.

    Attributes:
        reader: Reads the files.
        publication: The queries, and what becomes of their results.
        profile: The plan of the columns' profile; None for no profile.
        lookups: The tables that the queries join.
        partitions: Into how many the states of a query with groups are spread.
        threads: How many blocks a worker computes at a time.
        has_parts: Whether a share may be a part of a file.
    """

    reader: BlockReader
    publication: Publication
    profile: Plan | None
    lookups: Sequence[Lookup]
    partitions: int
    threads: int
    has_parts: bool

    def expand(self, shares: beam.PCollection) -> beam.PCollection:
        """Expand over a collection of shares."""
        targets = self.publication.targets
        plans = [target.plan for target in targets]
        if self.profile is not None:
            plans.append(self.profile)
        computed = shares | "Spread" >> beam.Reshuffle() | "ComputeStates" >> self._compute(plans)
        found_states, findings = [computed.states], [computed[_FINDINGS]]
        left_out = {}
        if self.has_parts:
            checked = (
                computed[_PARTS]
                | "Parts" >> beam.GroupByKey()
                | "CheckParts"
                >> beam.ParDo(CheckParts()).with_outputs(
                    CheckParts.UNPROVEN, CheckParts.WHOLE, main=_FINDINGS
                )
            )
            again = checked[CheckParts.WHOLE] | "Whole" >> beam.Reshuffle()
            whole = again | "ComputeWhole" >> self._compute(plans)
            found_states.append(whole.states)
            findings += [checked[_FINDINGS], whole[_FINDINGS]]
            left_out = {"unproven": beam.pvalue.AsList(checked[CheckParts.UNPROVEN])}
        merged = (
            found_states
            | "States" >> beam.Flatten()
            | "Partitions" >> beam.GroupByKey()
            | "MergeStates" >> beam.ParDo(MergeStates(plans), **left_out)
        )
        total = (
            findings
            | "Findings" >> beam.Flatten()
            | "SumFindings" >> beam.CombineGlobally(SumFindings())
        )
        # A query without any states, as over no files, has a result too.
        every_query = shares.pipeline | "Queries" >> beam.Create(
            [(number, None) for number in range(len(plans))]
        )
        grouped = {"states": merged, "every": every_query} | beam.CoGroupByKey()
        return (
            grouped
            | "Merged" >> beam.MapTuple(lambda number, found: (number, found["states"]))
            | "Finalize" >> beam.ParDo(FinalizeQuery(targets, self.profile))
            | "Together" >> beam.GroupBy(lambda _: None)
            | "Publish"
            >> beam.ParDo(Publish(self.publication), findings=beam.pvalue.AsSingleton(total))
        )

    def _compute(self, plans: Sequence[Plan]) -> beam.ParDo:
        compute = ComputeStates(self.reader, plans, self.partitions, self.threads, self.lookups)
        return beam.ParDo(compute).with_outputs(_FINDINGS, _PARTS, main="states")
