"""Lists, publishes, restores and discards the partitions of a dataset.

python -m beam_jobs.partitions list flights
python -m beam_jobs.partitions restore flights --date 2013-01-01
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from beam_jobs import options
from beam_jobs.datasets.partition import Partition
from beam_jobs.errors import UsageError
from beam_jobs.publishing.conditional_files import open_store
from beam_jobs.publishing.manifest import Manifest
from beam_jobs.publishing.partition_folder import RUNS, PartitionFolder, run_id_of
from beam_jobs.publishing.partition_store import discard, restore
from beam_jobs.publishing.published import published_manifests
from beam_jobs.publishing.reading_options import (
    add_period,
    dataset_names,
    grain_of,
    none_published,
    parse_partition,
    print_columns,
    unknown_dataset,
)

_LOG = logging.getLogger(__name__)

_EXAMPLES = """
examples:
  # what is published, and which versions of it are kept
  python -m beam_jobs.partitions list flights
  python -m beam_jobs.partitions list flights --from 2013-01-01 --to 2013-01-31
  python -m beam_jobs.partitions list flights --period week
  # the numbers of a day were wrong: show the ones before again, or those of a certain version
  python -m beam_jobs.partitions restore flights --date 2013-01-01
  python -m beam_jobs.partitions restore flights --date 2013-01-01 --version 2
  # publish what a run with --stage_only wrote, if the dataset's checks let it; or throw it away
  python -m beam_jobs.partitions publish dags/datasets/flights.yaml --date 2013-01-01 --run_id r1
  python -m beam_jobs.partitions discard flights --date 2013-01-01 --run_id r1

exit status:
  0  done
  1  the work failed: a check, another run was faster, a file cannot be read or written
  2  the call has to change: an option, a name, a version that is not kept
"""
_HEADER = ("partition", "version", "published (UTC)", "rows", "run id", "versions kept")


def main(argv: Sequence[str]) -> None:
    """Run the command.

    Raises:
        TallyflowError: It could not be done.
    """
    job = _parser().parse_args(argv)
    job.command(job)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m beam_jobs.partitions",
        description="List, restore, publish and discard what runs of a dataset computed.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    listing = commands.add_parser("list", help="what is published")
    listing.set_defaults(command=_list)
    listing.add_argument("dataset", metavar="DATASET", help="name of the dataset")
    listing.add_argument("--from", dest="first", metavar="KEY", help="the first partition")
    listing.add_argument("--to", dest="last", metavar="KEY", help="the last partition")
    add_period(listing)
    restoring = commands.add_parser("restore", help="let readers see an older version again")
    restoring.set_defaults(command=_restore)
    restoring.add_argument("dataset", metavar="DATASET", help="name of the dataset")
    _add_date(restoring)
    restoring.add_argument(
        "--version",
        type=options.natural_number,
        metavar="N",
        help="which (default: the one before the current one)",
    )
    add_period(restoring)
    publishing = commands.add_parser("publish", help="audit and publish a run")
    publishing.set_defaults(command=_publish)
    publishing.add_argument(
        "dataset", metavar="FILE", type=Path, help="the dataset's YAML file, which has the checks"
    )
    _add_date(publishing)
    _add_run(publishing)
    discarding = commands.add_parser("discard", help="delete a run that is not published")
    discarding.set_defaults(command=_discard)
    discarding.add_argument("dataset", metavar="DATASET", help="name of the dataset")
    _add_date(discarding)
    _add_run(discarding)
    add_period(discarding)
    for command in (listing, restoring, publishing, discarding):
        options.add_storage(command)
    return parser


def _add_date(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--date", metavar="KEY", required=True, help="the partition")


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--run_id", metavar="NAME", required=True, help="the run")


def _folder(job: argparse.Namespace) -> PartitionFolder:
    grain = grain_of(job.storage, job.dataset, job.period, job.date)
    return PartitionFolder(job.storage, job.dataset, Partition.parse(job.date, grain))


def _list(job: argparse.Namespace) -> None:
    grain = grain_of(job.storage, job.dataset, job.period, job.first or job.last)
    first, last = parse_partition(job.first, grain), parse_partition(job.last, grain)
    found = published_manifests(job.storage, job.dataset, grain, first, last)
    if not found and (first or last) and job.dataset in dataset_names(job.storage):
        raise none_published(job.dataset, grain, first, last)
    if not found:
        raise unknown_dataset(job.storage, job.dataset)
    rows = [_row(partition, manifest) for partition, manifest in found]
    print_columns([_HEADER, *rows], right=("version", "rows"))


def _row(partition: Partition, manifest: Manifest) -> tuple[str, ...]:
    version = manifest.version
    return (
        partition.key,
        str(version.number),
        f"{version.published:%Y-%m-%d %H:%M:%S}",
        f"{version.rows:,}",
        version.run_id,
        ", ".join(str(one.number) for one in manifest.versions),
    )


def _restore(job: argparse.Namespace) -> None:
    folder = _folder(job)
    version = restore(folder, job.version)
    _LOG.info(
        "restored: version %d of %s, published on %s by run %s",
        version.number,
        folder,
        f"{version.published:%Y-%m-%d %H:%M} UTC",
        version.run_id,
    )


def _publish(job: argparse.Namespace) -> None:
    from beam_jobs.datasets.dataset import load_dataset
    from beam_jobs.publishing.dataset_run import DatasetRun

    dataset = load_dataset(job.dataset)
    partition = Partition.parse(job.date, dataset.grain)
    folder = PartitionFolder(job.storage, dataset.name, partition)
    DatasetRun(dataset, folder, run_id_of(job.run_id)).publish()


def _discard(job: argparse.Namespace) -> None:
    folder, run_id = _folder(job), run_id_of(job.run_id)
    if not open_store(folder.path).find(f"{RUNS}/{run_id}"):
        raise UsageError(f"{folder}: there is no run {run_id} to discard in {folder.path}/{RUNS}")
    if not discard(folder, run_id):
        raise UsageError(
            f"{folder}: run {run_id} is published, and so is not discarded; it goes when enough "
            "newer ones are published"
        )
    _LOG.info("discarded: run %s of %s", run_id, folder)


if __name__ == "__main__":
    options.run_main(main)
