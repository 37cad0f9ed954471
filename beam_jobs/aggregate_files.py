r"""Runs SQL over files: one query given on the command line, or all aggregates of a dataset.

    python -m beam_jobs.aggregate_files --input 'data/flights/date=2013-01-*/*.csv' \
        --query 'SELECT origin, count(*) AS flights FROM input GROUP BY origin'
    python -m beam_jobs.aggregate_files --dataset dags/datasets/flights.yaml --date 2013-01-01

The files are read once, whatever the number of queries.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from beam_jobs import options
from beam_jobs.dataset import load_dataset
from beam_jobs.errors import QueryError, UsageError
from beam_jobs.files import InputFile, join_path
from beam_jobs.find_layout import find_layout
from beam_jobs.format_options import add_format_options, given_format
from beam_jobs.formats import OPTION_FORMATS, FileFormat
from beam_jobs.results import print_table
from beam_jobs.run import Run, check_outputs, find_files, run
from beam_jobs.sql import parse_query, plan_query

_EXAMPLES = """
examples:
  # one query over January; without --output it prints a table
  python -m beam_jobs.aggregate_files --input 'data/flights/date=2013-01-*/*.csv' \\
    --query 'SELECT origin, count(*) AS flights, avg(dep_delay) AS delay FROM input GROUP BY origin'
  # the same into a file
  python -m beam_jobs.aggregate_files … --output delays.parquet
  # all aggregates of a dataset for one day, as its DAG runs them
  python -m beam_jobs.aggregate_files --dataset dags/datasets/flights.yaml --date 2013-01-01

the query:
  One SELECT that aggregates the table input, in DuckDB's SQL. Its columns are those of the files,
  the name=value folders of their paths, and filename.
"""


@dataclass(frozen=True)
class Task:
    """What a command line asks for, whichever of the two forms it has.

    Attributes:
        pattern: Of the files to read.
        file_format: What is known of their layout.
        queries: The queries, by the path of their result; the path is None for a table to print.
        rejects_path: Where the rejects go; None for nowhere.
        max_rejects: How many rejects are allowed.
        allow_empty: Whether no file at all is an empty result.
    """

    pattern: str
    file_format: FileFormat
    queries: dict[str | None, str]
    rejects_path: str | None
    max_rejects: int
    allow_empty: bool


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the job's command line."""
    parser = options.job_parser(
        "beam_jobs.aggregate_files",
        "Run SQL over files: one query (--input, --query), or all aggregates of a dataset "
        "(--dataset, --date).",
        _EXAMPLES,
    )
    query = parser.add_argument_group("one query")
    query.add_argument(
        "--input",
        type=options.path,
        metavar="PATTERN",
        help="files to read: a path or gs:// URL, with * (within a folder) and ** (any folders); "
        "quote it; with --dataset it stands in for the dataset's own pattern",
    )
    query.add_argument("--query", metavar="SQL", help="SELECT … FROM input …")
    query.add_argument(
        "--output",
        type=options.path,
        metavar="PATH",
        help="write the result to this .csv, .jsonl or .parquet file, in place of printing it; "
        "with --dataset: the folder of the results (default: ROOT/results/<dataset>/date=<date>)",
    )
    dataset = parser.add_argument_group("a dataset")
    dataset.add_argument("--dataset", metavar="FILE", type=Path, help="the dataset's YAML file")
    dataset.add_argument("--date", metavar="YYYY-MM-DD", type=_iso_date, help="the partition")
    dataset.add_argument(
        "--storage",
        type=options.path,
        metavar="ROOT",
        default=os.environ.get("TALLYFLOW_STORAGE") or "data",
        help="folder or gs:// URL that holds the files and the results of all datasets "
        "(default: $TALLYFLOW_STORAGE, or data)",
    )
    add_format_options(parser)
    return parser


def _iso_date(text: str) -> date:
    try:
        found = date.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.isoformat() != text:  # 20130131 is a date of ISO 8601, too
        raise argparse.ArgumentTypeError(f"{text!r} is not a date like 2013-01-31")
    return found


def parse_args(argv: Sequence[str]) -> options.Arguments:
    """Parse the job's command line, Beam's options included.

    Raises:
        SystemExit: With status 2, after an error message.
        UsageError: The output's ending names no format.
    """
    parser = build_parser()
    arguments = options.parse(parser, argv)
    job = arguments.job
    if job.dataset is None:
        if job.input is None or job.query is None:
            parser.error("give --input and --query, or --dataset and --date")
        if job.date is not None:
            parser.error("--date goes with --dataset")
        options.check_output(parser, job.output, job.runner)
        return arguments
    if job.date is None:
        parser.error("--dataset needs --date, the partition to compute")
    for name in ("query", "format", *OPTION_FORMATS, "max_rejects"):
        if getattr(job, name) is not None:
            parser.error(f"--{name} does not go with --dataset, whose file says it")
    return arguments


def main(argv: Sequence[str]) -> None:
    """Run the job.

    Raises:
        TallyflowError: The run failed; nothing was published.
    """
    arguments = parse_args(argv)
    job = arguments.job
    task = _query_task(job) if job.dataset is None else _dataset_task(job)
    for query in task.queries.values():
        parse_query(query)  # A mistake in a query is found before any file is looked at.
    files = find_files(task.pattern, task.allow_empty)
    check_outputs([path for path in task.queries if path], task.pattern, files)
    with tempfile.TemporaryDirectory(prefix="tallyflow-") as folder:
        table = f"{folder}/result.parquet"
        queries = {path or table: query for path, query in task.queries.items()}
        run(_plan(task, files, queries), job.runner, arguments.beam)
        if table in queries:
            print_table(table)


def _query_task(job: argparse.Namespace) -> Task:
    return Task(
        pattern=job.input,
        file_format=given_format(job),
        queries={job.output: job.query},
        rejects_path=f"{job.output}.rejects.jsonl" if job.output else None,
        max_rejects=job.max_rejects or 0,
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
            join_path(folder, f"{name}.{dataset.output_format}"): aggregate.query
            for name, aggregate in dataset.aggregates.items()
        },
        rejects_path=join_path(folder, "rejects.jsonl"),
        max_rejects=dataset.max_rejects,
        allow_empty=job.allow_empty or dataset.when_missing == "publish_empty",
    )


def _plan(task: Task, files: Sequence[InputFile], queries: dict[str, str]) -> Run:
    """Find out the files' layout and plan the queries over it.

    Raises:
        UsageError: A query is refused; or there is neither a file nor a declaration to tell the
            columns.
    """
    layout = find_layout(files, task.file_format)
    try:
        plans = {path: plan_query(query, layout.input_columns) for path, query in queries.items()}
    except QueryError as error:
        if files or layout.columns:
            raise
        raise UsageError(
            f"no file matches {task.pattern!r} to tell the columns: declare them with --columns"
        ) from error
    return Run(files, layout, plans, task.rejects_path, task.max_rejects)


if __name__ == "__main__":
    options.run_main(main)
