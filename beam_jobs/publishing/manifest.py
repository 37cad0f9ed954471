"""The manifest of a partition: the one document that says which files are published.

It is replaced in one step, so that readers see one version of the partition or another, entirely.
Whoever shows partitions reads it, DAG files too: nothing heavy is imported here.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import AfterValidator, Field

from beam_jobs.documents import Document, Part
from beam_jobs.errors import InputError

FILE_NAME = "manifest.json"


def _check_path(path: str) -> str:
    """Return a path as it is; a reader that follows it stays in the partition's folder."""
    folder, *names = path.split("/")
    if folder != "runs" or not names or {"", ".", ".."}.intersection(names):
        raise ValueError(f"{path!r} is not below runs/")
    return path


_Path = Annotated[str, AfterValidator(_check_path)]


class PublishedAggregate(Part):
    """The files of one aggregate. Paths are relative to the partition's folder."""

    result: _Path
    rows: int
    states: tuple[_Path, ...] = Field(description="One for each relation; empty if none are kept.")
    fingerprint: str = Field(description="Of the query and of the types of what it reads.")


class Contents(Part):
    """What a run has to publish. Paths are relative to the partition's folder."""

    rows: int = Field(description="Records that were aggregated.")
    aggregates: Mapping[str, PublishedAggregate]
    report: _Path = Field(description="The run report.")
    sources: Mapping[str, str] = Field(
        default={},
        description="Of a rollup: the run id of each partition that it was computed from, by key.",
    )

    @property
    def files(self) -> tuple[str, ...]:
        """All files that it names."""
        found = [self.report]
        for aggregate in self.aggregates.values():
            found += [aggregate.result, *aggregate.states]
        return tuple(found)


class Version(Contents):
    """One complete result of a partition."""

    number: int = Field(description="Counts the publications of the partition, from 1.")
    run_id: str
    published: datetime.datetime


class Begun(Document):
    """What a run writes into its folder before anything else."""

    kind = "beginning of a run"

    dataset: str
    partition: str
    run_id: str
    began: datetime.datetime
    base: int = Field(
        description="The newest version of the partition when the run began, 0 for none: it may "
        "replace that one, and no other."
    )


class Manifest(Document):
    """What is published of a partition, and what was before.

    Attributes:
        dataset: Name of the dataset.
        partition: Key of the partition.
        current: Number of the version that readers see.
        versions: Those whose files are kept, the newest first, the current one among them.
    """

    kind = "manifest of this version"

    dataset: str
    partition: str
    current: int
    versions: tuple[Version, ...]

    @property
    def version(self) -> Version:
        """The version that readers see."""
        return next(one for one in self.versions if one.number == self.current)

    @property
    def newest(self) -> int:
        """Number of the version that was published last; another is current after a restore."""
        return max(one.number for one in self.versions)

    def of_run(self, run_id: str) -> Version | None:
        """The kept version that a run published."""
        return next((one for one in self.versions if one.run_id == run_id), None)

    def followed_by(self, version: Version, keep: int) -> Self:
        """The manifest that publishes one more version.

        Args:
            version: The new one.
            keep: How many versions to keep, at least one: beside the new one the one that it
                replaces, and then the newest.
        """
        others = sorted(self.versions, key=lambda one: (one.number == self.current, one.number))
        kept = [version, *reversed(others)][: max(1, keep)]
        kept.sort(key=lambda one: -one.number)
        return self.model_copy(update={"current": version.number, "versions": tuple(kept)})

    @classmethod
    def of_json(cls, text: str | bytes, path: str) -> Self:
        """Reads a manifest; as any document, and its current version has to be listed."""
        manifest = super().of_json(text, path)
        if manifest.current not in {one.number for one in manifest.versions}:
            raise InputError(f"{path}: its current version {manifest.current} is not listed")
        return manifest
