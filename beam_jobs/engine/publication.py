"""What becomes of a run's results: staged while they are computed, published together, reported.

No Beam here: `beam_jobs.engine.transforms` calls these on its workers.
"""

from __future__ import annotations

import datetime
import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from beam_jobs.engine import states
from beam_jobs.engine.profile import read_profile
from beam_jobs.engine.reports import Findings
from beam_jobs.engine.results import write_rejects, write_result
from beam_jobs.engine.run_report import (
    AggregateReport,
    Drift,
    DriftFound,
    Launch,
    Profile,
    RejectFound,
    Rejects,
    RunReport,
)
from beam_jobs.engine.states_files import fingerprint, write_states
from beam_jobs.errors import InputError, TallyflowError
from beam_jobs.output_files import delete_file, move_file, write_file, write_text
from beam_jobs.sql import Plan
from beam_jobs.sql.functions import APPROXIMATE

_LOG = logging.getLogger(__name__)

_SHOWN_REJECTS = 3
_SHOWN_COLUMNS = 5
_REPORTED_REJECTS = 10

# The numbers of a relation of a plan and of a partition, and their combined states as Arrow stream.
MergedStates = tuple[int, int, bytes]


@dataclass(frozen=True)
class StagedFile:
    """A file that waits until all results of the run are complete.

    Attributes:
        staged: Where it waits: at its path, if nobody reads there before all are complete.
        path: Where it belongs.
    """

    staged: str
    path: str


@dataclass(frozen=True)
class Target:
    """Where one query's result goes.

    Attributes:
        name: Of the query.
        plan: The query.
        result: Its file.
        states: The files of its states, one for each relation; none if they are not kept.
        is_printed: Whether the result's file is only made to be printed.
    """

    name: str
    plan: Plan
    result: StagedFile
    states: tuple[StagedFile, ...] = ()
    is_printed: bool = False

    @property
    def files(self) -> tuple[StagedFile, ...]:
        """All of its files."""
        return (self.result, *self.states)


def stage(target: Target, merged: Sequence[MergedStates]) -> int:
    """Compute the result of a query and write it, and its states, where they wait.

    Args:
        target: The query.
        merged: Its combined states.

    Returns:
        How many rows the result has.

    Raises:
        TallyflowError: The query fails on its aggregates, or a place cannot be written.
    """
    plan = target.plan
    with tempfile.TemporaryDirectory(prefix="tallyflow-") as scratch:
        local = str(Path(scratch) / f"result{Path(target.result.path).suffix}")
        relations = [_tables(merged, number) for number in range(len(plan.relations))]
        with states.finalized(plan, relations, scratch) as session:
            rows = write_result(session, local)
        _put(local, target.result)
        for number, file in enumerate(target.states):
            local = str(Path(scratch) / f"states{number}.parquet")
            write_states(local, plan, number, _tables(merged, number))
            _put(local, file)
    return rows


def profile_of(plan: Plan, merged: Sequence[MergedStates]) -> Profile:
    """Compute the profile of the columns from the combined states of its plan."""
    relations = [_tables(merged, number) for number in range(len(plan.relations))]
    with (
        tempfile.TemporaryDirectory(prefix="tallyflow-") as scratch,
        states.finalized(plan, relations, scratch) as session,
    ):
        return read_profile(session, plan.columns)


def _tables(merged: Sequence[MergedStates], relation: int) -> Iterator[pa.Table]:
    """Yield the tables of one relation, one after another: together they may be large."""
    return (states.from_bytes(stream) for number, _, stream in merged if number == relation)


def _put(local: str, file: StagedFile) -> None:
    try:
        write_file(local, file.staged)
    except TallyflowError as error:
        raise TallyflowError(str(error).replace(file.staged, file.path)) from error


@dataclass(frozen=True)
class Publication:
    """The last step of a run.

    Attributes:
        targets: The queries.
        launch: What was known of the run before it began.
        max_rejects: How many rejects are allowed.
        fails_on_drift: Whether no file may lack a column or have a new one.
        rejects_path: Where the rejects go; None for nowhere.
        report_path: Where the run report goes; None for nowhere.
    """

    targets: Sequence[Target]
    launch: Launch
    max_rejects: int
    fails_on_drift: bool
    rejects_path: str | None
    report_path: str | None

    def publish(
        self, rows: Mapping[int, int], profile: Profile | None, findings: Findings
    ) -> list[str]:
        """Put the staged results of all queries in their places, unless the findings forbid it.

        Args:
            rows: Of each query's result, by the query's number.
            profile: Of the columns.
            findings: In all files.

        Returns:
            The paths of the results.

        Raises:
            InputError: More rejects than allowed, or drift; only rejects and report were written.
        """
        _log_drift(findings)
        problem = self._problem(findings)
        if self.rejects_path is not None:
            _write_rejects(findings, self.rejects_path)
        if problem is None:
            for target in self.targets:
                for file in target.files:
                    if file.staged != file.path:
                        move_file(file.staged, file.path)
        if self.report_path is not None:
            write_text(self._report(rows, profile, findings, problem).to_json(), self.report_path)
        if problem is not None:
            raise InputError(problem)
        return [target.result.path for target in self.targets]

    def _problem(self, findings: Findings) -> str | None:
        """Return why there is to be no result."""
        if findings.reject_count > self.max_rejects:
            return self._too_many(findings)
        if self.fails_on_drift and (findings.missing or findings.ignored):
            found = [f"{what} in {first}" for what, first in _drifted(findings)]
            more = "; …" if len(found) > _SHOWN_COLUMNS else ""
            return (
                f"the files have other columns than the run: {'; '.join(found[:_SHOWN_COLUMNS])}"
                f"{more}; nothing was published: change the declared columns, or allow it with "
                "on_drift ignore"
            )
        return None

    def _too_many(self, findings: Findings) -> str:
        count = findings.reject_count
        shown = "; ".join(map(str, findings.rejects[:_SHOWN_REJECTS]))
        where = f"; all in {self.rejects_path}" if self.rejects_path else ""
        noun = "record" if count == 1 else "records"
        return (
            f"{count} malformed {noun}, --max_rejects allows {self.max_rejects}; "
            f"nothing was published: {shown}{'; …' if count > _SHOWN_REJECTS else ''}{where}"
        )

    def _report(
        self,
        rows: Mapping[int, int],
        profile: Profile | None,
        findings: Findings,
        problem: str | None,
    ) -> RunReport:
        finished = datetime.datetime.now(datetime.UTC)
        return RunReport(
            **dict(self.launch),
            finished=finished,
            seconds=round((finished - self.launch.started).total_seconds(), 3),
            complete=problem is None,
            problem=problem,
            rows=findings.rows,
            rejects=Rejects(
                count=findings.reject_count,
                limit=self.max_rejects,
                path=self.rejects_path if findings.reject_count else None,
                first=tuple(
                    RejectFound(**reject.__dict__)
                    for reject in findings.rejects[:_REPORTED_REJECTS]
                ),
            ),
            drift=Drift(missing=_drift(findings.missing), new=_drift(findings.ignored)),
            aggregates=tuple(
                _aggregate(target, rows[number]) for number, target in enumerate(self.targets)
            ),
            profile=profile,
        )


def _aggregate(target: Target, rows: int) -> AggregateReport:
    return AggregateReport(
        name=target.name,
        query=target.plan.query,
        fingerprint=fingerprint(target.plan),
        result=None if target.is_printed else target.result.path,
        states=tuple(file.path for file in target.states),
        rows=rows,
        columns=dict(target.plan.result),
        approximate={name: APPROXIMATE[name] for name in target.plan.approximate},
    )


def _drift(found: Mapping[str, tuple[int, str]]) -> tuple[DriftFound, ...]:
    return tuple(
        DriftFound(column=column, files=files, first_file=first)
        for column, (files, first) in found.items()
    )


def _drifted(findings: Findings) -> Iterator[tuple[str, str]]:
    """Yield what is the matter with each column, and the first file where it is."""
    for column, (_, first) in findings.missing.items():
        yield f"{column} is missing", first
    for column, (_, first) in findings.ignored.items():
        yield f"{column} is new", first


def _log_drift(findings: Findings) -> None:
    """Log which columns are missing from or new in which files."""
    for drift, what in (
        (findings.missing, "read as NULL"),
        (findings.ignored, "not in the run's columns, ignored"),
    ):
        for column, (files, first) in drift.items():
            _LOG.warning(
                "column %s: %s in %d of the files, the first %s", column, what, files, first
            )


def _write_rejects(findings: Findings, path: str) -> None:
    if not findings.rejects:
        delete_file(path)  # of an earlier run of the same partition
        return
    with tempfile.TemporaryDirectory(prefix="tallyflow-") as scratch:
        local = str(Path(scratch) / "rejects.jsonl")
        write_rejects(findings.rejects, local)
        write_file(local, path)
