"""Checks dataset files, their queries included, without reading any data.

    python -m beam_jobs.check_datasets dags/datasets

Exits with 0 when all are good, with 2 when one is not.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from beam_jobs.checks.check_conditions import parse_condition
from beam_jobs.checks.check_types import check_types
from beam_jobs.datasets.dataset import DatasetError, dataset_files, line_of, load_dataset
from beam_jobs.datasets.dataset import render_problem as render
from beam_jobs.datasets.dataset_model import Dataset
from beam_jobs.datasets.dataset_schema import render_schema
from beam_jobs.datasets.partition_paths import path_columns
from beam_jobs.datasets.yaml_document import FieldPath, Problem
from beam_jobs.errors import QueryError, UsageError
from beam_jobs.files import content_ending
from beam_jobs.formats.casts import can_be_read, is_type
from beam_jobs.formats.csv_layout import checked
from beam_jobs.formats.formats import ENDINGS, FormatName
from beam_jobs.formats.layout import FILENAME, Layout
from beam_jobs.sql import parse_query, plan_query

_EXAMPLE = """\
example:
  python -m beam_jobs.check_datasets                             every dataset of dags/datasets
  python -m beam_jobs.check_datasets dags/datasets/flights.yaml  one dataset

  A good dataset prints a line such as
    ok flights: 3 aggregates
  and a mistake one such as
    dags/datasets/flights.yaml:7: aggregate: unknown field; did you mean 'aggregates'?

After a change to the fields of a dataset, publish the schema that editors complete them by:
  python -m beam_jobs.check_datasets --write_schema docs/dataset.schema.json

exit status:
  0  every dataset is good
  2  at least one is not, or there is none
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    parser = _build_parser()
    options = parser.parse_args(arguments)
    if options.write_schema:
        try:
            options.write_schema.write_text(render_schema(), encoding="utf-8")
        except OSError as error:
            parser.error(f"--write_schema {options.write_schema}: {error.strerror}")
    status = 0
    for file in _files(options.paths):
        try:
            dataset = check_dataset(file)
        except DatasetError as error:
            sys.stderr.write(f"{error}\n")
            status = error.exit_code
        else:
            count = len(dataset.aggregates)
            noun = "aggregate" if count == 1 else "aggregates"
            sys.stdout.write(f"ok {dataset.name}: {count} {noun}\n")
    return status


def check_dataset(path: Path) -> Dataset:
    """Reads a dataset file and checks its column types and queries too.

    Raises:
        DatasetError: The file cannot be read or has mistakes; it lists all of them.
    """
    dataset = load_dataset(path)
    problems = [*_dialect_problems(dataset), *_type_problems(path, dataset)]
    # A query over columns of unknown types would fail for that reason alone.
    problems = problems or list(_query_problems(path, dataset))
    if problems:
        raise DatasetError([render(path, problem) for problem in problems])
    return dataset


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m beam_jobs.check_datasets",
        description="Check dataset files, their queries included, without reading any data.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "paths",
        nargs="*",
        type=Path,
        default=[Path("dags/datasets")],
        metavar="PATH",
        help="dataset files, or folders of them (default: dags/datasets)",
    )
    parser.add_argument(
        "--write_schema",
        type=Path,
        metavar="FILE",
        help="first write the JSON schema of a dataset file to FILE",
    )
    return parser


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    """Yields what the paths of the command line stand for; a folder without datasets for itself.

    A file that ends in .yml, which Airflow would overlook, is among them: reading it says so.
    """
    for path in paths:
        yield from (dataset_files(path) + sorted(path.glob("*.yml"))) or [path]


def _format(dataset: Dataset) -> FormatName:
    """Return the format of a dataset's files, which may be told by the ending of its pattern."""
    return dataset.format or ENDINGS.get(content_ending(dataset.pattern), "csv")


def _dialect_problems(dataset: Dataset) -> Iterator[Problem]:
    try:
        checked(dataset.file_format)
    except UsageError as error:
        yield Problem(1, (), str(error))


def _type_problems(path: Path, dataset: Dataset) -> Iterator[Problem]:
    for column, kind in (dataset.columns or {}).items():
        field: FieldPath = ("columns", column)
        if not is_type(kind):
            text = f"{kind!r} is not a type of DuckDB, such as VARCHAR or DECIMAL(10, 2)"
            yield Problem(line_of(path, field), field, text)
        elif _format(dataset) == "csv" and not can_be_read(kind):
            text = f"a CSV value cannot be {kind!r}: read it as VARCHAR and convert it in the query"
            yield Problem(line_of(path, field), field, text)


def _query_problems(path: Path, dataset: Dataset) -> Iterator[Problem]:
    columns = _input_columns(dataset)
    results = {}
    for name, aggregate in dataset.aggregates.items():
        try:
            query = parse_query(aggregate.query, list(dataset.lookups))
            # The columns of a lookup table are known when it is read.
            if columns is not None and not query.lookups:
                results[name] = plan_query(aggregate.query, columns).result
        except QueryError as error:
            yield _problem(path, ("aggregates", name, "query"), error)
    if columns is not None and FILENAME not in (dataset.columns or {}):
        del columns[FILENAME]  # The profile has only what is in the files and in their paths.
    for name, check in dataset.checks.items():
        try:
            condition = parse_condition(check.condition, dataset.aggregates)
            check_types(condition, columns, results, has_profile=dataset.profile)
        except QueryError as error:
            yield _problem(path, ("checks", name, "condition"), error)


def _input_columns(dataset: Dataset) -> dict[str, str] | None:
    """Return name and type of the columns of ``input``, None if they are not declared."""
    columns = {"line": "VARCHAR"} if _format(dataset) == "text" else dataset.columns
    if columns is None:
        return None
    in_path = path_columns([dataset.input_pattern(dataset.first_partition)])
    return Layout(_format(dataset), columns, in_path).input_columns


def _problem(path: Path, field: FieldPath, error: QueryError) -> Problem:
    text = " ".join(error.problem.split())
    return Problem(line_of(path, field, error.position), field, text)


if __name__ == "__main__":
    sys.exit(main())
