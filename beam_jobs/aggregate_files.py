r"""Runs SQL over files: one query given on the command line, or all aggregates of a dataset.

    python -m beam_jobs.aggregate_files --input 'data/flights/date=2013-01-*/*.csv' \
        --query 'SELECT origin, count(*) AS flights FROM input GROUP BY origin'
    python -m beam_jobs.aggregate_files --dataset dags/datasets/flights.yaml --date 2013-01-01

The files are read once, whatever the number of queries.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from beam_jobs import options
from beam_jobs.aggregate_options import parse_args
from beam_jobs.dataset import load_dataset
from beam_jobs.describe import describe
from beam_jobs.errors import QueryError, UsageError
from beam_jobs.files import InputFile, join_path, open_input
from beam_jobs.find_layout import find_layout
from beam_jobs.format_options import given_format
from beam_jobs.formats import FileFormat
from beam_jobs.layout import Layout
from beam_jobs.lookups import find_lookups
from beam_jobs.profile import MOST_COLUMNS
from beam_jobs.results import print_profile, print_table
from beam_jobs.run import Output, Run, run
from beam_jobs.run_files import check_outputs, find_files
from beam_jobs.run_report import RunReport
from beam_jobs.sql import Plan, parse_query, plan_query
from beam_jobs.states_files import problem as states_problem

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
        dataset: Name of the dataset; None for a query by itself.
        partition: Its date.
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
    dataset: str | None = None
    partition: str | None = None


def main(argv: Sequence[str]) -> None:
    """Run the job.

    Raises:
        TallyflowError: The run failed; nothing was published.
    """
    arguments = parse_args(argv)
    job = arguments.job
    task = _query_task(job) if job.dataset is None else _dataset_task(job)
    for asked in task.queries.values():
        # A mistake in a query is found before any file is looked at.
        parse_query(asked.query, list(task.lookups))
    files = find_files(task.pattern, task.file_format.compression, allow_empty=task.allow_empty)
    with tempfile.TemporaryDirectory(prefix="tallyflow-") as folder:
        work = _plan(task, files, folder)
        if job.describe:
            sys.stdout.write(describe(work))
            return
        if work.has_profile and not work.report_path:
            # The profile is printed from it.
            work = replace(work, report_path=f"{folder}/report.json")
        check_outputs(_outputs(work, folder), task.pattern, files)
        run(work, job.runner, arguments.beam)
        _print(work, job.runner)


def _outputs(work: Run, folder: str) -> list[str]:
    """Return all files that a run writes, those in a temporary folder left out."""
    paths = [path for output in work.outputs for path in (output.path, *output.states_paths)]
    named = [*paths, work.rejects_path, work.report_path]
    return [path for path in named if path and not path.startswith(f"{folder}/")]


def _print(work: Run, runner: str) -> None:
    """Print what is for people: the table of the result, and the profile."""
    for output in work.outputs:
        if output.is_printed:
            print_table(output.path)
    is_query = work.dataset is None and runner == options.LOCAL_RUNNER
    if is_query and work.profile is not None and work.report_path:
        with open_input(InputFile(work.report_path, 0)) as stream:
            report = RunReport.of_json(stream.read(), work.report_path)
        if report.profile:
            print_profile(report.profile)


def _query_task(job: argparse.Namespace) -> Task:
    return Task(
        pattern=job.input,
        file_format=given_format(job),
        queries={"query": Asked(job.query, job.output, job.states)},
        lookups=dict(job.lookup or ()),
        rejects_path=f"{job.output}.rejects.jsonl" if job.output else None,
        report_path=job.report,
        max_rejects=job.max_rejects or 0,
        fails_on_drift=job.on_drift == "fail",
        has_profile=job.profile,
        allow_empty=job.allow_empty,
    )


def _dataset_task(job: argparse.Namespace) -> Task:
    dataset = load_dataset(job.dataset)
    folder = job.output or join_path(
        job.storage, f"results/{dataset.name}/date={job.date.isoformat()}"
    )
    return Task(
        pattern=job.input or join_path(job.storage, dataset.input_pattern(job.date)),
        file_format=dataset.file_format,
        queries={
            name: Asked(
                aggregate.query,
                join_path(folder, f"{name}.{dataset.output_format}"),
                join_path(folder, f"states/{name}.parquet"),
            )
            for name, aggregate in dataset.aggregates.items()
        },
        lookups={name: join_path(job.storage, path) for name, path in dataset.lookups.items()},
        rejects_path=join_path(folder, "rejects.jsonl"),
        report_path=join_path(folder, "report.json"),
        max_rejects=dataset.max_rejects,
        fails_on_drift=dataset.on_drift == "fail",
        has_profile=dataset.profile,
        allow_empty=job.allow_empty or dataset.when_missing == "publish_empty",
        dataset=dataset.name,
        partition=job.date.isoformat(),
    )


def _plan(task: Task, files: Sequence[InputFile], folder: str) -> Run:
    """Find out the files' layout and plan the queries over it.

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


if __name__ == "__main__":
    options.run_main(main)
