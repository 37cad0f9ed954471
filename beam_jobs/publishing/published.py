"""What is published of a dataset, over many partitions."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from beam_jobs.datasets.partition import Grain, Partition
from beam_jobs.errors import UsageError
from beam_jobs.filesystems import join_path
from beam_jobs.publishing import manifest as manifests
from beam_jobs.publishing.conditional_files import open_store
from beam_jobs.publishing.manifest import Manifest, Version
from beam_jobs.publishing.partition_folder import RESULTS, PartitionFolder, read_manifest

_FOLDERS: Mapping[Grain, str] = {
    "hour": "date=*/hour=*",
    "day": "date=*",
    "week": "week=*",
    "month": "month=*",
}
# After the name of every partition's folder.
_AFTER_ALL = "~"
_READ_AT_ONCE = 10


def published(
    storage: str, dataset: str, grain: Grain, first: Partition, last: Partition
) -> list[tuple[Partition, Version]]:
    """Return the published partitions of a range with what readers see of them, in their order.

    Args:
        storage: The storage root.
        dataset: Name of the dataset.
        grain: Of the partitions.
        first: The first of the range.
        last: The last of the range, too.

    Raises:
        InputError: A manifest is none of this version.
    """
    found = published_manifests(storage, dataset, grain, first, last)
    return [(partition, manifest.version) for partition, manifest in found]


def published_manifests(
    storage: str,
    dataset: str,
    grain: Grain,
    first: Partition | None = None,
    last: Partition | None = None,
) -> list[tuple[Partition, Manifest]]:
    """Return the manifests of a range of partitions, in their order, as `published` does.

    Args:
        storage: The storage root.
        dataset: Name of the dataset.
        grain: Of the partitions.
        first: The first of the range; None for the first that is published.
        last: The last of the range, too; None for the last that is published.
    """
    partitions = published_partitions(storage, dataset, grain, first, last)
    folders = [PartitionFolder(storage, dataset, partition) for partition in partitions]
    with ThreadPoolExecutor(_READ_AT_ONCE) as pool:
        read = pool.map(read_manifest, folders)
        pairs = zip(partitions, read, strict=True)
        return [(partition, found.manifest) for partition, found in pairs if found]


def published_partitions(
    storage: str,
    dataset: str,
    grain: Grain,
    first: Partition | None = None,
    last: Partition | None = None,
) -> list[Partition]:
    """Return the published partitions of a range in their order, by one listing."""
    store = open_store(join_path(storage, f"{RESULTS}/{dataset}"))
    paths = store.match(
        f"{_FOLDERS[grain]}/{manifests.FILE_NAME}",
        first.folder if first else "",
        last.next.folder if last else _AFTER_ALL,
    )
    partitions = []
    for path in paths:
        key = "T".join(part.partition("=")[2] for part in path.split("/")[:-1])
        with contextlib.suppress(UsageError):  # a folder of someone else's
            partitions.append(Partition.parse(key, grain))
    return sorted(partitions)
