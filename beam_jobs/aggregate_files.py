r"""Runs SQL over files: one query given on the command line, or all aggregates of a dataset.

    python -m beam_jobs.aggregate_files --input 'data/flights/date=2013-01-*/*.csv' \
        --query 'SELECT origin, count(*) AS flights FROM input GROUP BY origin'
    python -m beam_jobs.aggregate_files --dataset dags/datasets/flights.yaml --date 2013-01-01

The files are read once, whatever the number of queries.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace

from beam_jobs import options
from beam_jobs.aggregate_options import parse_args
from beam_jobs.datasets.dataset import load_dataset
from beam_jobs.datasets.partition import Partition
from beam_jobs.datasets.staged_dataset import fetch_dataset
from beam_jobs.engine.describe import describe
from beam_jobs.engine.results import print_profile, print_table
from beam_jobs.engine.run import Run, run
from beam_jobs.engine.run_files import check_outputs, find_files
from beam_jobs.engine.run_report import RunReport
from beam_jobs.engine.task import Asked, Task, plan_run
from beam_jobs.files import InputFile, open_input
from beam_jobs.formats.format_options import given_format
from beam_jobs.publishing.dataset_run import DatasetRun
from beam_jobs.publishing.partition_folder import PartitionFolder, new_run_id
from beam_jobs.sql import parse_query


def main(argv: Sequence[str]) -> None:
    """Run the job.

    Raises:
        TallyflowError: The run failed; nothing was published.
    """
    arguments = parse_args(argv)
    job = arguments.job
    of = None if job.dataset is None else _dataset_run(job)
    task = _query_task(job) if of is None else of.task(allow_empty=job.allow_empty)
    for asked in task.queries.values():
        # A mistake in a query is found before any file is looked at.
        parse_query(asked.query, list(task.lookups))
    if of is None or job.describe:
        _execute(task, arguments)
        return
    with of.begun(is_local=job.runner == options.LOCAL_RUNNER):
        _execute(task, arguments, of)
    if not job.stage_only:
        of.publish()


def _execute(task: Task, arguments: options.Arguments, of: DatasetRun | None = None) -> None:
    """Run what is asked for, or describe it; print what is for people."""
    job = arguments.job
    files = find_files(task.pattern, task.file_format.compression, allow_empty=task.allow_empty)
    with tempfile.TemporaryDirectory(prefix="tallyflow-") as folder:
        work = plan_run(task, files, folder)
        if job.describe:
            sys.stdout.write(describe(work))
            return
        if work.has_profile and not work.report_path:
            # The profile is printed from it.
            work = replace(work, report_path=f"{folder}/report.json")
        if of is not None:
            work = replace(work, changes=of.changes(task.pattern, files))
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
        run_id=new_run_id(),
    )


def _dataset_run(job: argparse.Namespace) -> DatasetRun:
    with tempfile.TemporaryDirectory(prefix="tallyflow-") as folder:
        dataset = load_dataset(fetch_dataset(job.dataset, folder))
    partition = Partition.parse(job.date, dataset.grain)
    return DatasetRun(
        dataset,
        PartitionFolder(job.storage, dataset.name, partition),
        job.run_id or new_run_id(),
        pattern=job.input,
    )


if __name__ == "__main__":
    options.run_main(main)
