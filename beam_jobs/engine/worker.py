"""What a worker does with its share of the files: read it once, and aggregate it block by block.

No Beam here: `beam_jobs.engine.transforms` carries shares in and states out.
"""

from __future__ import annotations

import contextlib
import ctypes
import queue
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from beam_jobs.engine import states
from beam_jobs.engine.blocks import BlockReader, BlockSession
from beam_jobs.engine.memory import AT_WORK
from beam_jobs.engine.parts import Block, PartEnd, Share
from beam_jobs.engine.reports import BlockReport, Findings
from beam_jobs.errors import InputError
from beam_jobs.sql import Plan

Watch = Callable[[Block, Sequence[BlockReport]], None]
# Which states are of one kind: the number of the query and that of its relation.
StatesKey = tuple[int, int]
# To combine the states of a share's blocks takes 20 ms; so few rows travel as they are.
_FEW_ROWS = 10_000
# Blocks are numbered in the order of the input: a share has less than 2^24 of them.
_BLOCK_BITS = 24
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3


@dataclass(frozen=True)
class PartFound:
    """What was found in a part of a file that is read in several.

    Attributes:
        share: The number of the share that it is.
        end: Where the records of the part begin and end.
        report: What was found in them.
    """

    share: int
    end: PartEnd
    report: BlockReport


@dataclass(frozen=True)
class ShareStates:
    """The states of one kind of a share.

    Attributes:
        table: In the order of the input.
        are_combined: Whether it has one row for each group, and not several.
    """

    table: pa.Table
    are_combined: bool


@dataclass(frozen=True)
class ShareFound:
    """What was found in a share.

    Attributes:
        states: Of each kind. If the share is one part of a file, they hold if it is proven that its
            records begin where they were found to begin.
        findings: Of the whole files.
        part: Of the one part, if the share is one.
    """

    states: dict[StatesKey, ShareStates]
    findings: Findings
    part: PartFound | None = None


@dataclass
class _Computed:
    """What was computed from a block: the reports of its pieces and the states of each kind."""

    block: Block
    reports: list[BlockReport]
    tables: dict[StatesKey, pa.Table]


class Worker:
    """Computes the states of every query over shares, each block on one of several threads.

    Args:
        reader: Reads the files.
        plans: The queries.
        threads: How many.
        prepare: Is called with a session before each block: makes the tables beside ``input``.
    """

    def __init__(
        self,
        reader: BlockReader,
        plans: Sequence[Plan],
        threads: int,
        prepare: Callable[[duckdb.DuckDBPyConnection], None] = lambda _: None,
    ) -> None:
        _keep_freed_memory()
        self._reader = reader
        self._prepare = prepare
        self._plans = plans
        self._is_one_query = sum(len(plan.relations) for plan in plans) == 1
        self._threads = threads
        self._scratch = tempfile.TemporaryDirectory(prefix="tallyflow-")
        self._pool = ThreadPoolExecutor(threads)
        self._sessions: queue.SimpleQueue[BlockSession] = queue.SimpleQueue()
        for number in range(threads):
            folder = Path(self._scratch.name) / str(number)
            folder.mkdir()
            self._sessions.put(BlockSession(str(folder)))

    def close(self) -> None:
        """End the threads, close their sessions and delete what they spilled."""
        self._pool.shutdown()
        while not self._sessions.empty():
            self._sessions.get().close()
        self._scratch.cleanup()

    def compute(self, share: Share, watch: Watch = lambda *_: None) -> ShareFound:
        """Read a share and compute the states of every query over it.

        Args:
            share: The share.
            watch: Is called for each block that is computed, in the order of the input.

        Raises:
            InputError: A file cannot be read, or a query fails on its values.
        """
        with AT_WORK:
            return self._found(share, watch)

    def _found(self, share: Share, watch: Watch) -> ShareFound:
        collected: list[_Computed] = []
        part_end: PartEnd | None = None
        for position, found in self._in_order(self._reader.cut(share), share.number << _BLOCK_BITS):
            if isinstance(found, _Computed):
                watch(found.block, found.reports)
                collected.append(found)
            elif not found.part.is_whole:
                part_end = found
            elif not found.is_proven:
                collected = [one for one in collected if one.block[0].part != found.part]
                collected.append(self._compute(self._reader.unproven(found.part), position))
        reports = _by_file(collected)
        kinds = {key: [one.tables[key] for one in collected] for key in self._kinds()}
        found_states = {key: self._together(key, tables) for key, tables in kinds.items() if tables}
        if part_end is None:
            findings = Findings.sum(map(Findings.of, reports))
            return ShareFound(found_states, findings)
        empty = BlockReport(part_end.part.file.path, 0)
        return ShareFound(
            found_states if part_end.is_proven else {},
            Findings(),
            PartFound(share.number, part_end, reports[0] if reports else empty),
        )

    def _kinds(self) -> Iterator[StatesKey]:
        for number, plan in enumerate(self._plans):
            for relation in range(len(plan.relations)):
                yield number, relation

    def _in_order(
        self, blocks: Iterable[Block | PartEnd], position: int
    ) -> Iterator[tuple[int, _Computed | PartEnd]]:
        """Compute blocks on all threads.

        Yields:
            A position in the input, from the given one on, and what is found there, in this order.
        """
        waiting: deque[tuple[int, Future[_Computed] | PartEnd]] = deque()
        for number, block in enumerate(blocks, position):
            if isinstance(block, PartEnd):
                waiting.append((number, block))
            else:
                waiting.append((number, self._pool.submit(self._compute, block, number)))
            # One block more than threads, so that none of them waits for the next to be read.
            while len(waiting) > self._threads + 1:
                yield _result(*waiting.popleft())
        while waiting:
            yield _result(*waiting.popleft())

    def _compute(self, block: Block, position: int) -> _Computed:
        session = self._sessions.get()
        try:
            reports = self._reader.load(session, block, is_queried_once=self._is_one_query)
            self._prepare(session.connection)
            tables = {
                (number, relation): states.partial_states(
                    session.connection,
                    self._plans[number],
                    relation,
                    block[0].part.file.path,
                    position,
                )
                for number, relation in self._kinds()
            }
            self._reader.finish(session, block)
        except (InputError, duckdb.Error) as error:
            raise self._reader.fault_of(block) or error from error
        finally:
            self._sessions.put(session)
        return _Computed(block, reports, tables)

    def _together(self, key: StatesKey, tables: list[pa.Table]) -> ShareStates:
        """Return the states of all blocks as one table, combined if that makes it much smaller."""
        if len(tables) == 1:
            return ShareStates(tables[0], are_combined=True)
        if sum(table.num_rows for table in tables) <= _FEW_ROWS:
            return ShareStates(pa.concat_tables(tables), are_combined=False)
        number, relation = key
        combined = states.combine(self._plans[number], relation, tables, self._scratch.name)
        return ShareStates(combined, are_combined=True)


def _keep_freed_memory() -> None:
    """Have glibc keep the memory of a block for the next one: a seventh of all time is saved.

    By itself it returns large pieces to the system, which clears them when they are used again.
    The numbers are those of mallopt(3). Other systems' allocators do without.
    """
    with contextlib.suppress(OSError, AttributeError):
        allocator = ctypes.CDLL(None)
        allocator.mallopt(_M_MMAP_THRESHOLD, 32 * 1024 * 1024)
        allocator.mallopt(_M_TRIM_THRESHOLD, 1024 * 1024 * 1024)


def _result(position: int, found: Future[_Computed] | PartEnd) -> tuple[int, _Computed | PartEnd]:
    return position, found if isinstance(found, PartEnd) else found.result()


def _by_file(collected: Iterable[_Computed]) -> list[BlockReport]:
    """Return one report for each file."""
    reports: dict[int, BlockReport] = {}
    for one in collected:
        for piece, report in zip(one.block, one.reports, strict=True):
            before = reports.get(piece.part.number)
            reports[piece.part.number] = before.followed_by(report) if before else report
    return list(reports.values())
