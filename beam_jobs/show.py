r"""Shows the published results of a dataset.

    python -m beam_jobs.show flights by_origin --date 2013-01-01
    python -m beam_jobs.show flights by_origin --from 2013-01-01 --to 2013-01-31

It follows the manifests: what it shows is one complete version of each partition.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import logging
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from beam_jobs import options
from beam_jobs.datasets.partition import Partition
from beam_jobs.engine.results import check_result_ending, write_result
from beam_jobs.engine.run_report import RunReport, Usage
from beam_jobs.errors import InputError, UsageError
from beam_jobs.filesystems import join_path
from beam_jobs.output_files import write_file
from beam_jobs.publishing.manifest import Version
from beam_jobs.publishing.partition_folder import PartitionFolder
from beam_jobs.publishing.published import published_manifests, published_partitions
from beam_jobs.publishing.published_results import (
    SHOWN_ROWS,
    PublishedResult,
    print_result,
    result_view,
)
from beam_jobs.publishing.reading_options import (
    add_period,
    dataset_names,
    grain_of,
    nearest,
    none_published,
    parse_partition,
    print_columns,
    unknown_dataset,
)
from beam_jobs.publishing.stored_documents import find_document

_LOG = logging.getLogger(__name__)

_EXAMPLES = """
examples:
  # the newest day of an aggregate; without an aggregate: which there are
  python -m beam_jobs.show flights by_origin
  python -m beam_jobs.show flights
  # one day; the days of January, with a column `partition` first
  python -m beam_jobs.show flights by_origin --date 2013-01-01
  python -m beam_jobs.show flights by_origin --from 2013-01-01 --to 2013-01-31
  # a week, a month: rollups
  python -m beam_jobs.show flights by_origin --period week --date 2013-01-07
  python -m beam_jobs.show flights by_origin --period month --date 2013-01
  # an hour of an hourly dataset
  python -m beam_jobs.show clicks by_page --date 2013-01-31T05
  # into a file
  python -m beam_jobs.show flights by_origin --from 2013-01-01 --output january.parquet

exit status:
  0  all that was asked for is shown
  1  a partition is not published, or does not have the aggregate; the others are shown
  2  the call has to change: an option, a name, or a date that is none
"""
_NAMED = 5


def main(argv: Sequence[str]) -> None:
    """Run the command.

    Raises:
        InputError: A partition is not published, or its results cannot be read.
        UsageError: The dataset or the aggregate is unknown.
    """
    job = _parse(argv)
    found, missing = _find(job)
    if job.aggregate is None:
        _list_aggregates(found)
    else:
        results = [
            PublishedResult(folder, version, job.aggregate)
            for folder, version in found
            if job.aggregate in version.aggregates
        ]
        names = {name for _, version in found for name in version.aggregates}
        if found and not results:
            raise UsageError(
                f"{job.dataset} has no aggregate {job.aggregate!r}; {nearest(job.aggregate, names)}"
            )
        missing += [
            folder.partition for folder, version in found if job.aggregate not in version.aggregates
        ]
        if results:
            _warn_of_changed_queries(results)
            _show(results, job)
    if missing:
        raise InputError(_not_published(job, sorted(missing)))


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m beam_jobs.show",
        description="Show the published results of a dataset.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("dataset", metavar="DATASET", help="name of the dataset")
    parser.add_argument(
        "aggregate", metavar="AGGREGATE", nargs="?", help="name of the aggregate; all are listed"
    )
    parser.add_argument("--date", metavar="KEY", help="one partition (default: the newest)")
    parser.add_argument("--from", dest="first", metavar="KEY", help="the first of several")
    parser.add_argument("--to", dest="last", metavar="KEY", help="the last of several")
    add_period(parser)
    parser.add_argument(
        "--limit", type=options.natural_number, metavar="N", help="show the first N rows only"
    )
    parser.add_argument(
        "--output",
        type=options.path,
        metavar="PATH",
        help="write the rows to this .csv, .jsonl or .parquet file, in place of printing a table",
    )
    options.add_storage(parser)
    job = parser.parse_args(argv)
    if job.date and (job.first or job.last):
        parser.error("--date is one partition, --from and --to are several; give one or the others")
    if job.output:
        if job.aggregate is None:
            parser.error("--output needs an AGGREGATE")
        check_result_ending(job.output)
    return job


def _find(job: argparse.Namespace) -> tuple[list[tuple[PartitionFolder, Version]], list[Partition]]:
    """Return what is published of what was asked for, and the partitions that are not."""
    storage, dataset = job.storage, job.dataset
    grain = grain_of(storage, dataset, job.period, job.date or job.first or job.last)
    first = parse_partition(job.date or job.first, grain)
    last = parse_partition(job.date or job.last, grain)
    if first is None and last is None:
        first = last = next(reversed(published_partitions(storage, dataset, grain)), None)
    if first and last and first > last:
        raise UsageError(f"--from {first.key} is after --to {last.key}")
    pairs = published_manifests(storage, dataset, grain, first, last)
    if not pairs and dataset not in dataset_names(storage):
        raise unknown_dataset(storage, dataset)
    if not pairs and not (first and last):
        raise none_published(dataset, grain, first, last)
    there = [partition for partition, _ in pairs]
    wanted = between(first or there[0], last or there[-1]) if there or (first and last) else []
    found = [
        (PartitionFolder(storage, dataset, partition), manifest.version)
        for partition, manifest in pairs
    ]
    return found, [partition for partition in wanted if partition not in set(there)]


def between(first: Partition, last: Partition) -> list[Partition]:
    """Return the partitions of a range, both ends included."""
    found = []
    while first <= last:
        found.append(first)
        first = first.next
    return found


def _list_aggregates(found: Sequence[tuple[PartitionFolder, Version]]) -> None:
    """Print what there is to show, of the newest partition, and what that cost."""
    for folder, version in found[-1:]:
        rows = [
            (name, f"{aggregate.rows:,}", join_path(folder.path, aggregate.result))
            for name, aggregate in version.aggregates.items()
        ]
        sys.stdout.write(f"{folder}, version {version.number}\n")
        print_columns([("aggregate", "rows", "file"), *rows], right=("rows",))
        if usage := _usage(folder, version):
            sys.stdout.write(f"used on Dataflow: {usage}\n")


def _usage(folder: PartitionFolder, version: Version) -> Usage | None:
    """What the job of a version used; None for a rollup, whose report is of another kind."""
    with contextlib.suppress(InputError):  # It is said in passing.
        report = find_document(RunReport, folder.path, version.report)
        return report.usage if report else None
    return None


def _warn_of_changed_queries(results: Sequence[PublishedResult]) -> None:
    for before, after in itertools.pairwise(results):
        prints = [one.version.aggregates[one.aggregate].fingerprint for one in (before, after)]
        if prints[0] != prints[1]:
            _LOG.warning(
                "%s is another query, or reads other types, from %s on",
                after.aggregate,
                after.folder.partition.key,
            )


def _show(results: Sequence[PublishedResult], job: argparse.Namespace) -> None:
    several = not job.date and bool(job.first or job.last)
    with result_view(results, by_partition=several, limit=job.limit) as session:
        if job.output is None:
            print_result(session, job.limit or SHOWN_ROWS)
            return
        with tempfile.TemporaryDirectory(prefix="tallyflow-") as folder:
            local = f"{folder}/result{Path(job.output).suffix}"
            rows = write_result(session, local)
            write_file(local, job.output)
    _LOG.info("%s rows in %s", f"{rows:,}", job.output)


def _not_published(job: argparse.Namespace, missing: Sequence[Partition]) -> str:
    named = ", ".join(partition.key for partition in missing[:_NAMED])
    more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
    return f"{' '.join(filter(None, (job.dataset, job.aggregate)))}: not published: {named}{more}"


if __name__ == "__main__":
    options.run_main(main)
