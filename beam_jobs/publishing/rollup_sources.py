"""Finds what a rollup is computed from: manifests, run reports, files of states, lookup tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat

from beam_jobs.datasets.dataset_model import Dataset
from beam_jobs.datasets.partition import Partition
from beam_jobs.engine.run_report import RunReport
from beam_jobs.engine.states_files import fingerprint
from beam_jobs.errors import InputError
from beam_jobs.files import local_copy
from beam_jobs.filesystems import join_path
from beam_jobs.publishing.manifest import Version
from beam_jobs.publishing.partition_folder import PartitionFolder, read_manifest
from beam_jobs.publishing.published import published
from beam_jobs.publishing.rollups import LookupColumns, Part, parts_of, plan_rollup
from beam_jobs.publishing.stored_documents import read_document
from beam_jobs.sql import Plan, parse_query

# Of requests to Cloud Storage; its client keeps ten connections.
_AT_ONCE = 10


@dataclass(frozen=True)
class Rollup:
    """A period that can be computed.

    Attributes:
        dataset: As it is declared now.
        folder: Of the period.
        published: What is published of it; None if nothing is.
        base: Number of the version that was published last, 0 for none.
        parts: What it is computed from, in the order of time.
        plans: Of its aggregates.
    """

    dataset: Dataset
    folder: PartitionFolder
    published: Version | None
    base: int
    parts: Sequence[Part]
    plans: Mapping[str, Plan]

    @property
    def sources(self) -> dict[str, str]:
        """The run of each part, by its key."""
        return {part.partition.key: part.version.run_id for part in self.parts}

    @property
    def is_published(self) -> bool:
        """Whether what is published is what would be computed."""
        if self.published is None or self.published.sources != self.sources:
            return False
        # A run id that is not kept any more may come again, and is another run then.
        if any(part.version.published > self.published.published for part in self.parts):
            return False
        ending = f".{self.dataset.output_format}"
        found = self.published.aggregates
        fingerprints = {name: aggregate.fingerprint for name, aggregate in found.items()}
        return fingerprints == {n: fingerprint(plan) for n, plan in self.plans.items()} and all(
            aggregate.result.endswith(ending) for aggregate in found.values()
        )


def find_rollup(dataset: Dataset, storage: str, period: Partition) -> Rollup:
    """Find what a week or month is computed from, and prove that it goes together.

    Raises:
        RollupRefusedError: Partitions are missing, or do not merge.
        UsageError: The dataset begins later, or a lookup table is not there any more.
    """
    folder = PartitionFolder(storage, dataset.name, period)
    found = read_manifest(folder)
    parts = read_parts(dataset, storage, parts_of(dataset, period))
    command = (
        f"python -m beam_jobs.aggregate_files --dataset dags/datasets/{dataset.name}.yaml "
        f"--storage {storage} --date"
    )
    plans = plan_rollup(dataset, period, parts, lookup_columns(dataset, storage), command)
    return Rollup(
        dataset=dataset,
        folder=folder,
        published=found.manifest.version if found else None,
        base=found.manifest.newest if found else 0,
        parts=parts,
        plans=plans,
    )


def read_parts(dataset: Dataset, storage: str, partitions: Sequence[Partition]) -> list[Part]:
    """Read what is published of a range of partitions, in their order.

    Raises:
        InputError: A manifest or a report is none, or a report is not there any more.
    """
    found = published(storage, dataset.name, dataset.grain, partitions[0], partitions[-1])
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        folders = [PartitionFolder(storage, dataset.name, partition).path for partition, _ in found]
        versions = [version for _, version in found]
        names = [version.report for version in versions]
        reports = pool.map(read_document, repeat(RunReport), folders, names)
        return [
            Part(partition, folder, version, report)
            for (partition, version), folder, report in zip(found, folders, reports, strict=True)
        ]


def local_files(name: str, parts: Sequence[Part], relations: int, scratch: str) -> list[list[str]]:
    """Return the files of an aggregate's states by relation, those of each in the parts' order.

    Args:
        name: Of the aggregate.
        parts: Where they are.
        relations: How many relations its query has.
        scratch: A folder of its own, where those of Cloud Storage are copied to.

    Raises:
        InputError: A file is not there any more or cannot be read, or there are too few.
    """
    wanted = []
    for number, part in enumerate(parts):
        paths = part.version.aggregates[name].states
        if len(paths) != relations:
            raise InputError(
                f"{part.folder}: the states of {name} should be {relations} files, and the "
                f"manifest names {len(paths)}; compute the partition again"
            )
        wanted += [
            (join_path(part.folder, path), f"{scratch}/{number}.{relation}.parquet")
            for relation, path in enumerate(paths)
        ]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = list(pool.map(local_copy, *zip(*wanted, strict=True)))
    return [found[relation::relations] for relation in range(relations)]


def lookup_columns(dataset: Dataset, storage: str) -> LookupColumns:
    """Return the columns of the lookup tables that a dataset's queries join, as they are now.

    Raises:
        UsageError: A table's file is not there.
        InputError: It cannot be read.
    """
    joined = set[str]()
    for aggregate in dataset.aggregates.values():
        joined.update(parse_query(aggregate.query, list(dataset.lookups)).lookups)
    paths = {
        name: join_path(storage, path)
        for name, path in dataset.lookups.items()
        if name.lower() in joined
    }
    if not paths:
        return {}
    from beam_jobs.engine.lookups import find_lookups

    return {lookup.name: lookup.columns for lookup in find_lookups(paths)}
