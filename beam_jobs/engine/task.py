"""What a command line asks for, and the run that it becomes."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from beam_jobs.datasets.partition import Partition
from beam_jobs.engine.lookups import find_lookups
from beam_jobs.engine.profile import MOST_COLUMNS
from beam_jobs.engine.run import Output, Run
from beam_jobs.engine.states_files import problem as states_problem
from beam_jobs.errors import QueryError, UsageError
from beam_jobs.files import InputFile
from beam_jobs.formats.find_layout import find_layout
from beam_jobs.formats.formats import FileFormat
from beam_jobs.formats.layout import Layout
from beam_jobs.sql import Plan, plan_query

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Asked:
    """One query that a command line asks for.

    Attributes:
        query: The SQL.
        path: Of the result; None for a table to print.
        states: Where its states are to be kept; None for nowhere.
    """

    query: str
    path: str | None
    states: str | None


@dataclass(frozen=True)
class Task:
    """What a command line asks for, whichever of the two forms it has.

    Attributes:
        pattern: Of the files to read.
        file_format: What is known of their layout.
        queries: The queries by name.
        lookups: Paths of the tables that they may join, by name.
        rejects_path: Where the rejects go; None for nowhere.
        report_path: Where the run report goes; None for nowhere.
        max_rejects: How many rejects are allowed.
        fails_on_drift: Whether no file may lack a column or have a new one.
        has_profile: Whether the columns are profiled.
        allow_empty: Whether no file at all is an empty result.
        run_id: Of the run.
        dataset: Name of the dataset; None for a query by itself.
        partition: Its partition.
    """

    pattern: str
    file_format: FileFormat
    queries: Mapping[str, Asked]
    lookups: Mapping[str, str]
    rejects_path: str | None
    report_path: str | None
    max_rejects: int
    fails_on_drift: bool
    has_profile: bool
    allow_empty: bool
    run_id: str
    dataset: str | None = None
    partition: Partition | None = None


def plan_run(task: Task, files: Sequence[InputFile], folder: str) -> Run:
    """Find out the files' layout and plan the queries over it.

    Args:
        task: What is asked for.
        files: The files to read.
        folder: For results that are only printed.

    Raises:
        UsageError: A query is refused; or there is neither a file nor a declaration to tell the
            columns.
    """
    layout = find_layout(files, task.file_format)
    lookups = find_lookups(task.lookups)
    columns = {lookup.name: lookup.columns for lookup in lookups}
    try:
        plans = {
            name: plan_query(asked.query, layout.input_columns, columns)
            for name, asked in task.queries.items()
        }
    except QueryError as error:
        if files or layout.columns:
            raise
        raise UsageError(
            f"no file matches {task.pattern!r} to tell the columns: declare them with --columns"
        ) from error
    return Run(
        pattern=task.pattern,
        files=files,
        layout=layout,
        outputs=[
            Output(
                name,
                plan,
                task.queries[name].path or f"{folder}/result.parquet",
                _states(task, name, plan),
                is_printed=task.queries[name].path is None,
            )
            for name, plan in plans.items()
        ],
        run_id=task.run_id,
        lookups=lookups,
        has_profile=task.has_profile and _can_profile(layout),
        dataset=task.dataset,
        partition=task.partition,
        rejects_path=task.rejects_path,
        report_path=task.report_path,
        max_rejects=task.max_rejects,
        fails_on_drift=task.fails_on_drift,
    )


def _can_profile(layout: Layout) -> bool:
    count = len(layout.columns)
    if count > MOST_COLUMNS:
        _LOG.warning("no profile: %d columns are more than %d", count, MOST_COLUMNS)
    return count <= MOST_COLUMNS


def _states(task: Task, name: str, plan: Plan) -> str | None:
    """Return where to keep the states of a query, None for nowhere.

    Raises:
        UsageError: They cannot be kept, and are asked for on the command line.
    """
    path = task.queries[name].states
    if path is None or not (reason := states_problem(plan)):
        return path
    if task.dataset is None:
        raise UsageError(f"{path}: cannot be written: {reason}; cast them in the query")
    _LOG.warning("aggregate %s: its states are not kept: %s", name, reason)
    return None
