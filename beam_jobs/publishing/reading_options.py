"""What the command lines that read published partitions share."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Collection, Iterable, Sequence

from beam_jobs.datasets.partition import Grain, Partition
from beam_jobs.errors import InputError, UsageError
from beam_jobs.filesystems import join_path
from beam_jobs.publishing import manifest as manifests
from beam_jobs.publishing.conditional_files import open_store
from beam_jobs.publishing.partition_folder import RESULTS
from beam_jobs.publishing.published import published_partitions


def add_period(parser: argparse.ArgumentParser) -> None:
    """Add the option --period."""
    parser.add_argument(
        "--period",
        choices=("week", "month"),
        help="a rollup: 2013-01-28 is then the week that begins on that Monday, 2013-01 the month",
    )


def grain_of(storage: str, dataset: str, period: Grain | None, key: str | None) -> Grain:
    """Return of which length the partitions are that a command is about.

    Args:
        storage: The storage root.
        dataset: Name of the dataset.
        period: As it was given.
        key: Of a partition, if one was given: that of an hour has a ``T``.

    Raises:
        UsageError: The dataset has no published partitions of that length; it says what there is.
    """
    if period:
        return period
    if key is not None:
        return "hour" if "T" in key else "day"
    for grain in ("day", "hour"):
        if published_partitions(storage, dataset, grain):
            return grain
    raise unknown_dataset(storage, dataset)


def unknown_dataset(storage: str, dataset: str) -> UsageError:
    """Return the error for a dataset of which nothing is published; it names what there is."""
    names = dataset_names(storage)
    if dataset in names:
        return UsageError(f"{dataset}: no days or hours are published; is --period missing?")
    place = join_path(storage, RESULTS)
    if not names:
        return UsageError(f"{dataset}: nothing is published in {place}; is --storage right?")
    return UsageError(f"{dataset}: nothing is published in {place}; {nearest(dataset, names)}")


def none_published(
    dataset: str, grain: Grain, first: Partition | None, last: Partition | None
) -> InputError:
    """Return the error for a range, maybe without an end, in which nothing is published."""
    ends = (f"from {first.key}" if first else "", f"to {last.key}" if last else "")
    return InputError(f"{dataset}: no {grain} is published {' '.join(filter(None, ends))}".rstrip())


def dataset_names(storage: str) -> list[str]:
    """Return the names of the datasets that have published partitions."""
    store = open_store(join_path(storage, RESULTS))
    patterns = (f"*/*/{manifests.FILE_NAME}", f"*/*/*/{manifests.FILE_NAME}")
    paths = [path for pattern in patterns for path in store.match(pattern, "", "~")]
    return sorted({path.partition("/")[0] for path in paths})


def nearest(name: str, names: Iterable[str]) -> str:
    """Return a hint for a name that is not among those there are."""
    there = sorted(names)
    close = difflib.get_close_matches(name, there, n=1)
    return f"did you mean {close[0]}?" if close else f"there are: {', '.join(there)}"


def parse_partition(key: str | None, grain: Grain) -> Partition | None:
    """Return the partition of a key, None without one.

    Raises:
        UsageError: It is none of the grain's keys.
    """
    return None if key is None else Partition.parse(key, grain)


def print_columns(rows: Sequence[tuple[str, ...]], right: Collection[str] = ()) -> None:
    """Print rows of text as columns, the first row being their names.

    Args:
        rows: The rows.
        right: Names of the columns that are aligned to the right.
    """
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.rjust(width) if name in right else cell.ljust(width)
            for name, cell, width in zip(rows[0], row, widths, strict=True)
        ]
        sys.stdout.write("  ".join(cells).rstrip() + "\n")
