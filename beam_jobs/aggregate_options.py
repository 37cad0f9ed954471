"""The command line of the job `beam_jobs.aggregate_files`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from beam_jobs import options
from beam_jobs.datasets.dataset_fields import check_lookup_name
from beam_jobs.errors import UsageError
from beam_jobs.formats.format_options import add_format_options
from beam_jobs.formats.formats import OPTION_FORMATS
from beam_jobs.publishing.partition_folder import run_id_of

_EXAMPLES = """
examples:
  # one query over January; without --output it prints a table
  python -m beam_jobs.aggregate_files --input 'data/flights/date=2013-01-*/*.csv' \\
    --query 'SELECT origin, count(*) AS flights, avg(dep_delay) AS delay FROM input GROUP BY origin'
  # the same into a file
  python -m beam_jobs.aggregate_files … --output delays.parquet
  # what would be read and computed, without running; and a profile of all columns
  python -m beam_jobs.aggregate_files … --describe
  python -m beam_jobs.aggregate_files … --profile
  # join a small file
  python -m beam_jobs.aggregate_files --input 'flights/*.csv' --lookup airlines=airlines.csv \\
    --query 'SELECT name, count(*) AS n FROM input JOIN airlines USING (carrier) GROUP BY name'
  # all aggregates of a dataset for one day, audited and published; and a look at them
  python -m beam_jobs.aggregate_files --dataset dags/datasets/flights.yaml --date 2013-01-01
  python -m beam_jobs.show flights by_origin --date 2013-01-01

the query:
  One SELECT that aggregates the table input, in DuckDB's SQL. Its columns are those of the files,
  the name=value folders of their paths, and filename.
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the job's command line."""
    parser = options.job_parser(
        "beam_jobs.aggregate_files",
        "Run SQL over files: one query (--input, --query), or all aggregates of a dataset "
        "(--dataset, --date).",
        _EXAMPLES,
    )
    _add_query_options(parser)
    dataset = parser.add_argument_group("a dataset")
    dataset.add_argument(
        "--dataset",
        metavar="FILE",
        type=options.path,
        help="the dataset's YAML file: a path or gs:// URL",
    )
    dataset.add_argument(
        "--date", metavar="KEY", help="the partition: 2013-01-31, or 2013-01-31T05 if it is an hour"
    )
    dataset.add_argument(
        "--run_id",
        metavar="NAME",
        type=_run_id,
        help="a name of this run that no other run of the partition has, which names its folder, "
        "too (default: a new one)",
    )
    options.add_flag(
        dataset,
        "--stage_only",
        help="write the results into the run's folder, but do not audit and publish them; "
        "beam_jobs.partitions does",
    )
    options.add_storage(dataset)
    _add_report_options(parser)
    add_format_options(parser)
    return parser


def _add_query_options(parser: argparse.ArgumentParser) -> None:
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
        "--lookup",
        type=_lookup,
        metavar="NAME=PATH",
        action="append",
        default=None,
        help="a small file (.csv, .tsv, .jsonl, .parquet, at most 64 MB) that the query may join "
        "by this name; may be given several times",
    )
    query.add_argument(
        "--output",
        type=options.path,
        metavar="PATH",
        help="write the result to this .csv, .jsonl or .parquet file, in place of printing it",
    )
    query.add_argument(
        "--states",
        type=options.path,
        metavar="PATH",
        help="write the mergeable states to this .parquet file, too; those of distinct values go "
        "beside it, as PATH.1.parquet",
    )
    query.add_argument(
        "--on_drift",
        choices=("ignore", "fail"),
        help="where files lack a column of the run, or have one that others do not: read NULL, "
        "leave it out, and say so (ignore, the default), or fail",
    )


def _add_report_options(parser: argparse.ArgumentParser) -> None:
    report = parser.add_argument_group("what is in the files, and what was done")
    options.add_flag(
        report,
        "--describe",
        help="print the files, their columns and the plan of each query, and do not run",
    )
    options.add_flag(
        report,
        "--profile",
        help="print a profile of all columns, too: nulls, distinct values, range, mean, "
        "quantiles, frequent values; computed in the same read",
    )
    report.add_argument(
        "--report",
        type=options.path,
        metavar="PATH",
        help="write the run report to this .json file; a dataset's is report.json, beside its "
        "results",
    )


def _lookup(text: str) -> tuple[str, str]:
    name, separator, path = text.partition("=")
    if not separator:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=PATH")
    try:
        return check_lookup_name(name), options.path(path)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{name!r} {error}") from error


def _run_id(text: str) -> str:
    try:
        return run_id_of(text)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


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
        _check_query(parser, job)
        return arguments
    if options.is_template(arguments) and not job.stage_only:
        parser.error(
            "--dataset needs --stage_only in a flex template, whose job nobody waits for here; "
            "beam_jobs.partitions publishes its results"
        )
    if job.date is None:
        parser.error("--dataset needs --date, the partition to compute")
    of_dataset = ("query", "lookup", "format", *OPTION_FORMATS, "max_rejects", "on_drift")
    for name in (*of_dataset, "output", "states", "report"):
        if getattr(job, name) is not None:
            said = "whose file says it" if name in of_dataset else "whose runs have folders"
            parser.error(f"--{name} does not go with --dataset, {said}")
    if job.profile:
        parser.error("--profile does not go with --dataset, whose file says it")
    return arguments


def _check_query(parser: argparse.ArgumentParser, job: argparse.Namespace) -> None:
    if job.input is None or job.query is None:
        parser.error("give --input and --query, or --dataset and --date")
    for name in ("date", "run_id", "stage_only"):
        if getattr(job, name):
            parser.error(f"--{name} goes with --dataset")
    names = [name.lower() for name, _ in job.lookup or ()]
    if twice := next((name for name in names if names.count(name) > 1), None):
        parser.error(f"--lookup {twice}: two tables have this name")
    for name, ending in (("states", ".parquet"), ("report", ".json")):
        path = getattr(job, name)
        if path is not None and not path.endswith(ending):
            parser.error(f"--{name} {path}: must end in {ending}")
    if not job.describe:
        options.check_output(parser, job.output, job.runner)
    if job.profile and job.runner != options.LOCAL_RUNNER and not job.report:
        parser.error(f"--profile needs --report with --runner={job.runner}: nothing is printed")
